#!/usr/bin/env bash
# layer.sh NAME PACKAGES [BELOW]: prints the path of a tar with the files of Debian packages and their dependencies,
# without those of the packages BELOW. Each list is one argument, separated by spaces.
#
# The packages are unpacked, not installed: their scripts do not run, and the machine's own system is neither used nor
# changed. The tar stays in the cache of tools, keyed by apt's package lists.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
name=$1 packages=$2 below=${3:-}

mkdir -p "$(tools_dir)"
part=$(mktemp -d "$(tools_dir)/.part-layer-XXXXXX")
trap 'rm -rf "$part"' EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$part/archives/partial" "$part/root"
: >"$part/status"

# Runs apt as on a machine without any package.
bare_apt() {
    apt-get -o Dir::State::status="$part/status" -o Dir::Cache::archives="$part/archives" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User=root --no-install-recommends "$@"
}

# closure PACKAGE...: prints name and version of these packages and of all their dependencies.
closure() {
    [ $# -gt 0 ] || return 0
    bare_apt -s install "$@" 2>"$part/log" | awk '$1 == "Inst" {gsub(/[()]/, ""); print $2 "=" $3}' | sort
}

# Resolving takes seconds, so it runs only if the package lists, the arguments or this script have changed.
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
    # Packages write to /bin and to /usr/bin, which are one folder. `dpkg-deb --extract` would replace the link by a folder.
    for folder in bin sbin lib lib64; do
        mkdir -p "$part/root/usr/$folder"
        ln -s "usr/$folder" "$part/root/$folder"
    done
    for deb in "$part"/debs/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar --extract --directory "$part/root" --keep-directory-symlink
    done
    # Only scripts that are never called here need Perl.
    rm -rf "$part"/root/usr/share/{doc,man,info,locale,perl,perl5,lintian,bug} "$part"/root/usr/lib/*/perl* "$part"/root/usr/lib/*/libperl*
    tar --create --file "$part/layer.tar" --directory "$part/root" --numeric-owner --sort=name --mtime=@0 .
    mv "$part/layer.tar" "$tar"
    # Removes tars of older package lists that were unused for a week.
    find "$(tools_dir)" -maxdepth 1 -name "layer-$name-*.tar" -mtime +7 -delete
fi
echo "$tar"
