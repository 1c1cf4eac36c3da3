# Functions that the demos share: cleanup at the end, private MariaDB servers, a comparison of two of them. Source it with
# `work`, `began` and `pids` set, and with a function `look_around` that prints commands for KEEP=1.
# shellcheck shell=bash

say() { printf '%3ds  %s\n' "$((SECONDS - began))" "$*"; }
die() { echo "demo: $*" >&2; exit 1; }

cleanup() {
    local status=$?
    trap - EXIT INT TERM
    if [ "${KEEP:-}" = 1 ] && [ "$status" -eq 0 ]; then
        echo
        echo "Left running because of KEEP=1. To look around:"
        look_around
        echo "To stop and remove it:"
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

# start_database NAME PORT: starts a private MariaDB on loopback.
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

# Prints a line for each table and view, with a hash of its definition and rows.
fingerprint() {
    local table
    client "$1" -N -e "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' ORDER BY 1" | while read -r table; do
        printf '%s  ' "$table"
        mariadb-dump --no-defaults --socket="$work/$1.sock" -uroot --skip-comments --hex-blob --order-by-primary \
            --single-transaction shop "$table" | sha256sum | cut -c1-16
    done
}

secret() { printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {%s}\n' "$1" "$2"; }
