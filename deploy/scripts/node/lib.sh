# shellcheck shell=bash disable=SC2034 # the sourcing scripts read these variables
# Names and functions that the scripts of the node share. It can be sourced from any folder.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)

# Addresses exist only inside the node's own network namespace.
node_name=lagan-node
node_address=10.77.0.1
pod_range=10.244.0.0/24
service_range=10.96.0.0/24
api=https://$node_address:6443
pause_image=lagan-pause:1

say() { echo "node: $*" >&2; }
die() { say "$*"; exit 1; }

# wait_for SECONDS COMMAND...: repeats the command until it succeeds.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

tools_dir() { echo "${LAGAN_TOOLS_DIR:-${XDG_CACHE_HOME:-${HOME:?"set LAGAN_TOOLS_DIR, XDG_CACHE_HOME or HOME"}/.cache}/lagan/tools}"; }

# Every process of a node has the state folder in this environment variable from its start. A pid file would be missing
# for a moment after the process has started.
members() {
    local environ
    grep -lszFx "LAGAN_NODE_MEMBER=$1" /proc/[0-9]*/environ | while read -r environ; do
        environ=${environ#/proc/}
        echo "${environ%/environ}"
    done
}

# Prints the machine's pid of the node's first process: the member whose pid is 1 in its process namespace.
init_of() {
    local pid
    for pid in $(members "$1"); do
        if grep -qsE '^NSpid:.*[[:space:]]1$' "/proc/$pid/status"; then echo "$pid"; return; fi
    done
    return 1
}
