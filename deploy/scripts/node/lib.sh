# shellcheck shell=bash disable=SC2034 # what is set here is read where it is sourced
# Words that the scripts of the node share. To be sourced, from any folder.

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

# Every process of a node carries its state folder in this variable of its environment, from the first instruction on.
# A pid file would have a moment in which the process runs and the file is not there yet.
members() {
    local environ
    grep -lszFx "LAGAN_NODE_MEMBER=$1" /proc/[0-9]*/environ | while read -r environ; do
        environ=${environ#/proc/}
        echo "${environ%/environ}"
    done
}

# The node's first process, as the machine numbers it: the member that is number 1 in a process namespace of its own.
init_of() {
    local pid
    for pid in $(members "$1"); do
        if grep -qsE '^NSpid:.*[[:space:]]1$' "/proc/$pid/status"; then echo "$pid"; return; fi
    done
    return 1
}
