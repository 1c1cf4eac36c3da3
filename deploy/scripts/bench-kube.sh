#!/usr/bin/env bash
# Measures, on a real kube-apiserver, the time from the creation of a BackupSession to the first byte of its dump, and
# the cost of 10,000 BackupConfigurations. As root it also measures the time from the creation of an empty Job to its
# first instruction, in a node that is started for this and removed.
#
#   LAGAN_BIN=target/release/lagan bench-kube.sh       SESSIONS and CONFIGURATIONS set the numbers, 0 for none
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${LAGAN_BIN:?is the path of the lagan binary to measure}"
node=deploy/scripts/node

cargo run --quiet --locked -p lagan-tests --bin bench-kube
if [ "$(id -u)" -ne 0 ]; then
    echo "skipped the empty Job: a node makes namespaces and cgroups, which needs root"
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
