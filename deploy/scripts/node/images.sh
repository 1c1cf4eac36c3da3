#!/usr/bin/env bash
# Makes the images that a node runs, as archives that containerd imports.
#
#   images.sh pause OUT             lagan-pause:1, which holds a Pod's namespaces open
#   images.sh shell OUT             shell:dev, with bash and coreutils, for checks
#   images.sh lagan OUT BINARY      lagan:dev, with MariaDB's client programs, as user 65532
#   images.sh mariadb OUT           mariadb:dev, with Debian's server; MARIADB_ROOT_PASSWORD sets the root password
#   images.sh nats OUT              nats:dev, with the nats-server of deploy/scripts/tools.sh or PATH
#   images.sh load STATE ARCHIVE... imports archives into the node whose state folder is STATE
set -euo pipefail
. "$(dirname "$0")/lib.sh"

path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
base_packages="libc6 libgcc-s1 bash dash coreutils sed grep mawk hostname tini ca-certificates base-files"
client_packages="$base_packages mariadb-client"
server_packages="$client_packages mariadb-server-core"

scratch=$(mktemp -d "${TMPDIR:-/tmp}/lagan-image.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' HUP INT TERM
top=$scratch/top

base_layer() { "$here/layer.sh" base "$base_packages"; }
client_layer() { "$here/layer.sh" mariadb-client "$client_packages" "$base_packages"; }
server_layer() { "$here/layer.sh" mariadb-server "$server_packages" "$client_packages"; }

# Makes the accounts, certificates and links that the packages' install scripts would make.
system() {
    mkdir -p "$top"/{etc/ssl/certs,root,usr/bin,usr/local/bin,var/lib} && mkdir -m 1777 "$top"/{tmp,run}
    cat >"$top/etc/passwd" <<TEXT
root:x:0:0:root:/root:/bin/sh
mysql:x:999:999:MariaDB:/var/lib/mysql:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
lagan:x:65532:65532:Lagan:/tmp:/usr/sbin/nologin
TEXT
    printf '%s\n' root:x:0: mysql:x:999: nogroup:x:65534: lagan:x:65532: >"$top/etc/group"
    echo 'hosts: files dns' >"$top/etc/nsswitch.conf"
    tar --extract --to-stdout --wildcards --file "$1" './usr/share/ca-certificates/*.crt' >"$top/etc/ssl/certs/ca-certificates.crt"
    ln -s mawk "$top/usr/bin/awk"
}

# archive OUT NAME CONFIG LAYER...: writes an image of these layers and of the files in $top.
archive() {
    local out=$1 name=$2 config=$3
    shift 3
    tar --create --file "$scratch/top.tar" --directory "$top" --numeric-owner --sort=name --mtime=@0 .
    python3 "$here/image.py" "$out" "$name" "$config" "$@" "$scratch/top.tar"
}

pause() {
    install -D "$(type -P pause)" "$top/pause"
    archive "$1" "$pause_image" '{"Entrypoint": ["/pause"], "User": "65535:65535"}'
}

shell() {
    local base
    base=$(base_layer)
    system "$base"
    archive "$1" shell:dev "{\"Entrypoint\": [\"/usr/bin/tini\", \"--\"], \"Cmd\": [\"sleep\", \"infinity\"], \"User\": \"65532:65532\", \"Env\": [\"PATH=$path\"]}" "$base"
}

lagan() {
    local base client
    base=$(base_layer) client=$(client_layer)
    system "$base"
    # Debug information is most of a development build, and every node would copy it.
    strip -o "$scratch/lagan" "$2" 2>/dev/null || cp "$2" "$scratch/lagan"
    install "$scratch/lagan" "$top/usr/local/bin/lagan"
    archive "$1" lagan:dev "{\"Entrypoint\": [\"/usr/bin/tini\", \"--\", \"lagan\"], \"User\": \"65532:65532\", \"Env\": [\"PATH=$path\", \"HOME=/tmp\"]}" \
        "$base" "$client"
}

mariadb() {
    local base client server
    base=$(base_layer) client=$(client_layer) server=$(server_layer)
    system "$base"
    install "$here/mariadb-entrypoint.sh" "$top/usr/local/bin/mariadb-entrypoint"
    install -d -o 999 -g 999 "$top/var/lib/mysql"
    archive "$1" mariadb:dev "{\"Entrypoint\": [\"/usr/bin/tini\", \"--\", \"mariadb-entrypoint\"], \"User\": \"999:999\", \"Env\": [\"PATH=$path\"], \"ExposedPorts\": {\"3306/tcp\": {}}}" \
        "$base" "$client" "$server"
}

nats() {
    local base
    eval "$("$root/deploy/scripts/tools.sh" demo)"
    base=$(base_layer)
    system "$base"
    install "$(type -P nats-server)" "$top/usr/local/bin/nats-server"
    ln -s usr/local/bin/nats-server "$top/nats-server"
    archive "$1" nats:dev "{\"Entrypoint\": [\"nats-server\"], \"User\": \"65532:65532\", \"Env\": [\"PATH=$path\"], \"ExposedPorts\": {\"4222/tcp\": {}}}" "$base"
}

load() {
    local state=$1 archive
    shift
    for archive in "$@"; do
        ctr --address "$state/containerd.sock" --namespace k8s.io images import "$archive" >"$scratch/import.log" 2>&1 ||
            die "can't import $archive: $(tail -n 3 "$scratch/import.log")"
    done
}

case ${1:-} in
pause | shell | lagan | mariadb | nats | load) "$@" ;;
*) die "usage: images.sh pause|shell|lagan|mariadb|nats OUT [BINARY], or images.sh load STATE ARCHIVE..." ;;
esac
