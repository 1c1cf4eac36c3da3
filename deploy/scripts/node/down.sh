#!/usr/bin/env bash
# down.sh STATE: stops a node and removes everything it made, the folder included; also after a failed up.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$(realpath "${1:?usage: down.sh STATE}")
[ -e "$state/id" ] || die "$state holds no node"
id=$(cat "$state/id")

# When the first process is killed, the kernel kills all others of its process namespace, containers included. The
# others are killed too, for the case that the namespace did not exist yet.
gone() {
    local pids
    pids=$(members "$state")
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086 # a list of numbers
    kill -KILL $pids 2>/dev/null
    return 1
}
wait_for 30 gone || die "still running: $(members "$state" | paste -sd' ')"

# Mounts, interfaces and nft tables end with the namespaces; cgroups do not.
cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "lagan-node-$id" 2>/dev/null; }
no_cgroups() {
    local top
    for top in $(cgroups); do find "$top" -depth -type d -exec rmdir {} + 2>/dev/null; done
    [ -z "$(cgroups)" ]
}
[ -z "$id" ] || wait_for 10 no_cgroups || die "can't remove: $(cgroups | paste -sd' ')"

# On one file system only: a file system of the machine that is mounted below must not be emptied.
wait_for 10 rm -rf --one-file-system "$state" || die "can't remove $state"
# Removing the folder under another node's mount would unmount it there.
grep -lszq '^LAGAN_NODE_MEMBER=' /proc/[0-9]*/environ || rmdir /var/lib/cni 2>/dev/null || true
