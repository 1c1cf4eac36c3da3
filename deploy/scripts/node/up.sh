#!/usr/bin/env bash
# Starts a Kubernetes cluster of one node on this machine, without Docker and without images from a registry.
#
#   up.sh [STATE]     STATE is the folder of the node [default: a new temporary folder]
#
# Prints lines for a shell to `eval`. down.sh STATE removes the node, whatever state it is in.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" -eq 0 ] || die "a node makes namespaces, mounts and cgroups: run this as root"
PATH=$PATH:/usr/sbin:/sbin
if [ -n "${1:-}" ]; then mkdir -p "$1"; else set -- "$(mktemp -d "${TMPDIR:-/tmp}/lagan-node.XXXXXX")"; fi
state=$(realpath "$1")
[ ! -e "$state/id" ] || die "$state has a node already; remove it with: $here/down.sh $state"
# The folder holds sockets, and Linux limits their paths to 107 bytes.
[ "${#state}" -lt 60 ] || die "the path of the state folder is too long: $state"

undo() {
    local status=$?
    trap - EXIT INT TERM HUP
    [ "$status" -ne 0 ] || return 0
    [ ! -s "$state/log/init.log" ] || tail -n 20 "$state/log/init.log" >&2
    "$here/down.sh" "$state"
    exit "$status"
}
trap undo EXIT
trap 'exit 130' INT TERM HUP

id=$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
echo "$id" >"$state/id"
mkdir -p "$state/etc" "$state/log" "$state/cni" /var/lib/cni

"$here/packages.sh"
programs=$("$here/programs.sh" | paste -sd:)
"$here/pki.sh" "$state"
cp "$state/etc/admin.kubeconfig" "$state/kubeconfig"
PATH=$programs:$PATH "$here/images.sh" pause "$state/pause.tar"

# In a process namespace all processes die with the first, so nothing of the node is left running.
LAGAN_NODE_MEMBER=$state PATH=$programs:$PATH setsid unshare --net --mount --pid --fork --kill-child --mount-proc \
    "$here/init.sh" "$state" "lagan-node-$id" >"$state/log/init.log" 2>&1 </dev/null &
booting=$!
until [ -e "$state/ready" ]; do
    kill -0 "$booting" 2>/dev/null || die "the node did not start"
    sleep 0.1
done

cat <<TEXT
export LAGAN_NODE='$state'
export KUBECONFIG='$state/kubeconfig'
export PATH='$programs':"\$PATH"
# The API server answers only inside the node's network; run a command there with
#   $here/enter.sh $state kubectl get nodes
# and remove the node with
#   $here/down.sh $state
TEXT
