#!/usr/bin/env bash
# up-kube.sh start|stop: starts a kube-apiserver with etcd and Lagan's CRDs, or stops it.
set -euo pipefail
cd "$(dirname "$0")/../.."
state=${XDG_STATE_HOME:-$HOME/.local/state}/lagan-kube
record=$state/running

running() { [ -s "$record" ] && kill -0 "$(head -n 1 "$record")" 2>/dev/null; }

case ${1:-start} in
start)
    if ! running; then
        cargo build --quiet --locked -p lagan-tests --bin control-plane
        mkdir -p "$state"
        rm -f "$record"
        setsid "${CARGO_TARGET_DIR:-target}/debug/control-plane" "$record" >"$state/log" 2>&1 </dev/null &
        for _ in $(seq 1200); do running && break; sleep 0.1; done
        running || { echo "up-kube: it did not start:" >&2; tail -n 20 "$state/log" >&2; exit 1; }
    fi
    echo "export KUBECONFIG='$(tail -n 1 "$record")'"
    echo "# kubectl get crd; lagan engine --kube --nats-url ...; ./just down-kube stops it" >&2
    ;;
stop)
    if running; then
        pid=$(head -n 1 "$record")
        kill "$pid"
        while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
    rm -rf "$state"
    ;;
*) echo "usage: up-kube.sh start|stop" >&2; exit 2 ;;
esac
