#!/usr/bin/env bash
# check.sh STATE: checks that a node works as a cluster: a Pod runs, a Job completes, a Service answers by its address and
# by its name, and a Pod reaches the API server with the token of its account and has the rights of its role only.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$(realpath "${1:?usage: check.sh STATE}")
export PATH=$PATH:/usr/sbin:/sbin KUBECONFIG=$state/kubeconfig
space=node-check
passed=0

kubectl() { "$here/enter.sh" "$state" kubectl -n $space "$@"; }
ok() { passed=$((passed + 1)); say "ok: $*"; }
undo() {
    local status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then kubectl get pods,events >&2 || true; fi
    kubectl delete namespace $space --wait=false >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lagan-check.XXXXXX")
trap undo EXIT
trap 'exit 130' INT TERM HUP

"$here/images.sh" shell "$scratch/shell.tar"
"$here/images.sh" nats "$scratch/nats.tar"
"$here/images.sh" load "$state" "$scratch/shell.tar" "$scratch/nats.tar"
kubectl create namespace $space >/dev/null
wait_for 30 kubectl get serviceaccount default || die "no default service account in a new namespace"
kubectl apply -f "$here/check.yaml" >/dev/null

kubectl wait --for=condition=Ready pod/nats pod/shell --timeout=60s >/dev/null || die "the Pods do not run"
ok "Pods run"
kubectl wait --for=condition=Complete job/once --timeout=60s >/dev/null || die "the Job does not complete"
[ "$(kubectl logs job/once)" = "done" ] || die "the Job's log can't be read"
ok "a Job completes, and its log can be read"

in_pod() { kubectl exec shell -- bash -c "$1"; }
# NATS greets every client that connects.
greets() { in_pod "exec 3<>/dev/tcp/$1/4222 && read -r word _ <&3 && [ \"\$word\" = INFO ]"; }
address=$(kubectl get service nats -o jsonpath='{.spec.clusterIP}')
wait_for 30 greets "$address" || die "the Service does not answer at $address"
ok "a Service answers at its address, $address"
wait_for 30 greets nats || die "the Service does not answer by its name"
greets nats.$space.svc.cluster.local || die "the Service does not answer by its full name"
ok "a Service answers by its name"
greets nats-0.nats-pods || die "the Pod has no name under its headless Service"
ok "a Pod answers by its name under a headless Service"

# ask PATH: prints the status of the API server's answer to a Pod that sends the token of its account.
ask() {
    in_pod "cd /var/run/secrets/kubernetes.io/serviceaccount
        printf 'GET /api/v1/namespaces/$space/$1 HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n' \"\$(cat token)\" |
        openssl s_client -quiet -verify_return_error -CAfile ca.crt -connect kubernetes.default.svc:443 2>/dev/null | head -n 1 | cut -d' ' -f2"
}
[ "$(ask pods/shell)" = 200 ] || die "a Pod can't do what its role allows: $(ask pods/shell)"
[ "$(ask secrets/shell)" = 403 ] || die "a Pod may do what no role allows: $(ask secrets/shell)"
ok "a Pod reaches the API server with the token of its account, and has the rights of its role only"
echo "$passed passed, 0 failed"
