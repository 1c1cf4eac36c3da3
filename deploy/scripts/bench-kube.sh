#!/usr/bin/env bash
# How long a BackupSession takes from its creation to the first byte of its dump, and what 10,000 BackupConfigurations
# cost, on a real kube-apiserver; as root also how long an empty Job takes to its first instruction, in a node that is
# made for it and removed.
#
#   LAGAN_BIN=target/release/lagan bench-kube.sh       SESSIONS and CONFIGURATIONS say how many, 0 for none
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${LAGAN_BIN:?is the path of the lagan binary to measure}"
node=deploy/scripts/node

cargo run --quiet --locked -p lagan-tests --bin bench-kube
if [ "$(id -u)" -ne 0 ]; then
    echo "an empty Job is measured as root only: a node makes namespaces and cgroups"
    exit
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/lagan-bench.XXXXXX")
cleanup() {
    local status=$?
    trap - EXIT INT TERM HUP
    [ ! -e "$work/node/id" ] || "$node/down.sh" "$work/node" || status=1
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
"$node/up.sh" "$work/node" >/dev/null
"$node/job-floor.sh" "$work/node" "${JOBS:-20}"
