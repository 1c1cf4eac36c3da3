#!/usr/bin/env bash
# enter.sh STATE COMMAND...: runs a command in the network of a node. Files are the machine's own. `ip netns exec` would
# not do: it mounts a new /sys and hides the cgroups.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$(realpath "${1:?usage: enter.sh STATE COMMAND...}")
shift
init=$(init_of "$state") || die "no node runs in $state"
# Every node has the same address, and kubectl would take one node's kinds for another's.
export KUBECACHEDIR=$state/cache
exec nsenter --net="/proc/$init/ns/net" -- "$@"
