#!/usr/bin/env bash
# init.sh STATE CGROUP: the first process of the node, in network, mount and process namespaces of its own. It starts one
# part after the other, then stays and reaps orphans. When it dies, the kernel kills every process of the node, Pods
# included, and mounts, interfaces and nft tables end with the namespaces.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$1 cgroup=$2

# daemon NAME COMMAND...: starts a daemon with a log of its own.
declare -A daemons
daemon() {
    local name=$1
    shift
    "$@" >"$state/log/$name.log" 2>&1 </dev/null &
    daemons[$name]=$!
}

# up NAME SECONDS COMMAND...: waits until the daemon answers, and prints the end of its log if it does not.
up() {
    local name=$1 seconds=$2
    shift 2
    local end=$((SECONDS + seconds))
    until "$@" >/dev/null 2>&1; do
        kill -0 "${daemons[$name]}" 2>/dev/null || die "$name has ended: $(tail -n 5 "$state/log/$name.log")"
        [ "$SECONDS" -lt "$end" ] || die "$name is not ready after $seconds s: $(tail -n 5 "$state/log/$name.log")"
        sleep 0.1
    done
    say "$name is ready"
}

kubectl() { command kubectl --kubeconfig "$state/kubeconfig" --cache-dir "$state/cache" "$@"; }

. "$here/mounts.sh"
. "$here/network.sh"
. "$here/containerd.sh"
. "$here/control-plane.sh"
. "$here/kubelet.sh"
. "$here/proxy.sh"
. "$here/dns.sh"

kubectl apply -f "$here/cluster.yaml" >"$state/log/cluster.log" 2>&1 || die "$(tail -n 3 "$state/log/cluster.log")"
. "$here/volumes.sh"
kubectl wait --for=condition=Ready "node/$node_name" --timeout=120s >/dev/null || die "the node is not ready: $(tail -n 5 "$state/log/kubelet.log")"
# Pods are rejected until the controller manager has created this account.
wait_for 30 kubectl get serviceaccount default || die "no default service account"
touch "$state/ready"

# While it waits, the shell reaps orphans of the containers. A daemon that ends is reported and not restarted, so that a
# test notices it.
while true; do
    for name in "${!daemons[@]}"; do
        if ! kill -0 "${daemons[$name]}" 2>/dev/null; then
            say "$name has ended: $(tail -n 3 "$state/log/$name.log")"
            unset "daemons[$name]"
        fi
    done
    sleep 1 &
    wait $! || true
done
