#!/usr/bin/env bash
# enter.sh STATE COMMAND...: runs a command in the network of a node, on the machine's own files. `ip netns exec` can't be
# used, because it mounts a new /sys that hides the cgroups.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$(realpath "${1:?usage: enter.sh STATE COMMAND...}")
shift
init=$(init_of "$state") || die "no node runs in $state"
# Every node has the same address, so a shared cache would mix up the kinds of different nodes.
export KUBECACHEDIR=$state/cache
exec nsenter --net="/proc/$init/ns/net" -- "$@"
