#!/usr/bin/env bash
# The main job with real parts: a sample database is backed up on schedule, changed, backed up again, brought back
# into a second server and compared table by table. Everything lives in a temporary folder and is removed at the end;
# KEEP=1 leaves it running.
set -euo pipefail
cd "$(dirname "$0")/../.."

MEGABYTES=${MEGABYTES:-110}
began=$SECONDS
work=$(mktemp -d "${TMPDIR:-/tmp}/lagan-demo.XXXXXX")
pids=()

say() { printf '%3ds  %s\n' "$((SECONDS - began))" "$*"; }
die() { echo "demo: $*" >&2; exit 1; }

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    if [ "${KEEP:-}" = 1 ] && [ "$status" -eq 0 ]; then
        echo
        echo "Left running because of KEEP=1. Look around:"
        echo "  export LAGAN_DATA_DIR=$work/data"
        echo "  $lagan get sessions; $lagan describe session @latest; $lagan snapshots"
        echo "Stop and remove it:"
        echo "  kill ${pids[*]}; sleep 2; rm -rf $work"
        return
    fi
    [ "$status" -eq 0 ] || { echo "demo: failed; end of the logs:" >&2; tail -n 15 "$work"/*.log >&2 || true; }
    [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A private MariaDB on loopback: name, port.
start_database() {
    local dir=$work/$1 port=$2
    mariadb-install-db --no-defaults --user="$(id -un)" --auth-root-authentication-method=normal --datadir="$dir" \
        >"$work/$1-install.log" 2>&1 || die "mariadb-install-db failed: $(tail -n 3 "$work/$1-install.log")"
    mariadbd --no-defaults --user="$(id -un)" --datadir="$dir" --bind-address=127.0.0.1 --port="$port" \
        --socket="$work/$1.sock" --pid-file="$work/$1.pid" --event-scheduler=OFF >"$work/$1.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 300); do
        mariadb-admin --no-defaults --socket="$work/$1.sock" -uroot ping >/dev/null 2>&1 && break
        sleep 0.1
    done
    client "$1" -e "CREATE USER lagan@'127.0.0.1' IDENTIFIED BY '$database_password'; GRANT ALL ON *.* TO lagan@'127.0.0.1'"
}

client() { local name=$1; shift; mariadb --no-defaults --socket="$work/$name.sock" -uroot "$@"; }

# One line for each table and view: its name and a hash of its definition and rows.
fingerprint() {
    local table
    client "$1" -N -e "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1" | while read -r table; do
        printf '%s  ' "$table"
        mariadb-dump --no-defaults --socket="$work/$1.sock" -uroot --skip-comments --hex-blob --order-by-primary \
            --single-transaction shop "$table" | sha256sum | cut -c1-16
    done
}

secret() { printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {%s}\n' "$1" "$2"; }

cargo build --quiet --locked -p lagan -p lagan-tests --bin lagan --bin sample-db
target=${CARGO_TARGET_DIR:-target}/debug
lagan=$(realpath "$target/lagan")
say "built lagan"

database_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
repository_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
original_port=$(free_port)
copy_port=$(free_port)
start_database original "$original_port"
start_database copy "$copy_port"
client original -e 'CREATE DATABASE shop CHARACTER SET utf8mb4'
"$target/sample-db" --megabytes "$MEGABYTES" --seed 1 | client original shop
say "two private MariaDB servers run; one has a database \`shop\` of $MEGABYTES MB with views, triggers, routines, events and blobs"

# The quick start's manifests, with the addresses and passwords of this run.
mkdir "$work/manifests"
sed -e "s|mysql://127.0.0.1:3306/|mysql://127.0.0.1:$original_port/|" -e "s|/var/backups/lagan|$work/repository|" \
    -e "s|username: root|username: lagan|" -e "s|change-this-too|$database_password|" \
    -e "s|change-this-and-keep-a-copy|$repository_password|" deploy/examples/quickstart/shop.yaml >"$work/manifests/shop.yaml"
{
    secret copy-account "username: lagan, password: $database_password"
    printf -- '---\napiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {name: copy}\nspec:\n  type: mariadb\n  clientConfig: {url: "mysql://127.0.0.1:%s/"}\n  secret: {name: copy-account}\n' "$copy_port"
} >"$work/manifests/copy.yaml"

export LAGAN_DATA_DIR=$work/data NO_COLOR=1
"$lagan" up --manifests "$work/manifests" >"$work/up.log" 2>&1 &
pids+=($!)
for _ in $(seq 300); do grep -q "ready: NATS" "$work/up.log" && break; sleep 0.1; done
grep -q "ready: NATS" "$work/up.log" || die "lagan up is not ready"
say "lagan up reads deploy/examples/quickstart; waiting for the schedule's first minute"

for _ in $(seq 1200); do
    "$lagan" get sessions -o json | grep -q '"phase": "Succeeded"' && break
    sleep 0.1
done
"$lagan" get sessions | grep -q Succeeded || die "the schedule brought no backup"
say "the schedule fired by itself:"
"$lagan" get sessions | sed 's/^/        /'
# From here on the schedule would only get in the way of what is shown.
sed -i 's|"\* \* \* \* \*"|"0 3 * * *"|' "$work/manifests/shop.yaml"

"$target/sample-db" --megabytes "$MEGABYTES" --seed 1 --changes | client original shop
say "rows changed; a second backup, asked for by hand:"
for _ in $(seq 300); do "$lagan" get backupconfigurations | grep -q '0 3 \* \* \*' && break; sleep 0.1; done
"$lagan" backup shop --wait 2>&1 | grep -v -e '^●' -e waiting -e next | sed 's/^/        /'

say "restoring into the second server:"
"$lagan" restore shop --to copy --yes --wait 2>&1 | grep -e '^✔' -e '^✖' | sed 's/^/        /'
fingerprint original >"$work/original.txt"
fingerprint copy >"$work/copy.txt"
diff "$work/original.txt" "$work/copy.txt" || die "the copy differs"
say "compared: $(wc -l <"$work/original.txt") tables and views, each with the same definition and rows"

say "what the repository holds, by Lagan and by stock restic:"
"$lagan" snapshots | sed 's/^/        /'
export RESTIC_PASSWORD=$repository_password RESTIC_REPOSITORY=$work/repository
restic snapshots --compact | sed 's/^/        /'
restic check --read-data | tail -n 1 | sed 's/^/        /'
say "done"
