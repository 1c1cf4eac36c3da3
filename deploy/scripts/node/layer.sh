#!/usr/bin/env bash
# layer.sh NAME PACKAGES [BELOW]: prints the path of a tar with the files of Debian packages and all that they depend on,
# without what the packages BELOW bring. Both lists are one word each, separated by spaces.
#
# The packages are unpacked, not installed: no script of theirs runs, and nothing of the machine's own system is used or
# changed. The tar stays in the cache of tools, keyed by the lists of packages that apt has.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
name=$1 packages=$2 below=${3:-}

mkdir -p "$(tools_dir)"
part=$(mktemp -d "$(tools_dir)/.part-layer-XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$part/archives/partial" "$part/root"
: >"$part/status"

# apt as it would be on a machine where nothing is installed.
bare_apt() {
    apt-get -o Dir::State::status="$part/status" -o Dir::Cache::archives="$part/archives" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User=root --no-install-recommends "$@"
}

# closure PACKAGE...: name and version of each package that these need, themselves included.
closure() {
    [ $# -gt 0 ] || return 0
    bare_apt -s install "$@" 2>"$part/log" | awk '$1 == "Inst" {gsub(/[()]/, ""); print $2 "=" $3}' | sort
}

# Resolving takes seconds, so it is done only when the lists of packages, the wish or this script have changed.
lists() { cat /var/lib/apt/lists/*Release 2>/dev/null; }
if [ -z "$(lists | head -c 1)" ]; then
    say "updating the list of packages"
    apt-get update -qq >&2
fi
tar=$(tools_dir)/layer-$name-$({ lists; echo "$packages, $below"; cat "$0"; } | sha256sum | cut -c1-16).tar
if [ -e "$tar" ]; then
    touch "$tar"
else
    # shellcheck disable=SC2086 # lists of words
    wanted=$(comm -23 <(closure $packages) <(closure $below))
    [ -n "$wanted" ] || die "apt can't resolve $packages: $(tail -n 3 "$part/log")"
    say "making the layer $name of $(echo "$wanted" | wc -l) Debian packages"
    mkdir "$part/debs"
    # shellcheck disable=SC2086
    (cd "$part/debs" && bare_apt -qq download $wanted >&2)
    # Packages write to /bin and /usr/bin; both are one. `dpkg-deb --extract` would put a folder in the link's place.
    for folder in bin sbin lib lib64; do
        mkdir -p "$part/root/usr/$folder"
        ln -s "usr/$folder" "$part/root/$folder"
    done
    for deb in "$part"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar --extract --directory "$part/root" --keep-directory-symlink
    done
    # Perl is needed by scripts that nothing here calls.
    rm -rf "$part"/root/usr/share/{doc,man,info,locale,perl,perl5,lintian,bug} "$part"/root/usr/lib/*/perl* "$part"/root/usr/lib/*/libperl*
    tar --create --file "$part/layer.tar" --directory "$part/root" --numeric-owner --sort=name --mtime=@0 .
    mv "$part/layer.tar" "$tar"
    # Those of older lists that nobody has used for a week.
    find "$(tools_dir)" -maxdepth 1 -name "layer-$name-*.tar" -mtime +7 -delete
fi
echo "$tar"
