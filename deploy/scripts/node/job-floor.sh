#!/usr/bin/env bash
# job-floor.sh STATE [COUNT]: measures how long a cluster takes to run an empty Job whose image is present, which is the
# least that a backup made of Jobs pays before its first byte. Prints one JSON object, and a line for people to stderr.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$(realpath "${1:?usage: job-floor.sh STATE [COUNT]}")
count=${2:-20}
export PATH=$PATH:/usr/sbin:/sbin KUBECONFIG=$state/kubeconfig
space=job-floor

kubectl() { "$here/enter.sh" "$state" kubectl -n $space "$@"; }
undo() {
    local status=$?
    trap - EXIT
    kubectl delete namespace $space --wait=false >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lagan-floor.XXXXXX")
trap undo EXIT
trap 'exit 130' INT TERM HUP

"$here/images.sh" shell "$scratch/shell.tar"
"$here/images.sh" load "$state" "$scratch/shell.tar"
kubectl create namespace $space >/dev/null
wait_for 30 kubectl get serviceaccount default || die "no default service account in a new namespace"
"$here/enter.sh" "$state" python3 "$here/job-floor.py" "$api" "$state/etc" $space "$count"
