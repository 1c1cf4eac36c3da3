#!/usr/bin/env bash
# Follows Stash's tutorial on a real kube-apiserver: kubectl applies Secret, Repository, AppBinding, BackupConfiguration
# and a RestoreSession of group stash.appscode.com; `lagan engine` and `lagan worker` run beside it as they would in
# pods. Everything is in a temporary folder and removed at the end; KEEP=1 leaves it running.
set -euo pipefail
cd "$(dirname "$0")/../.."

MEGABYTES=${MEGABYTES:-60}
began=$SECONDS
work=$(mktemp -d "${TMPDIR:-/tmp}/lagan-demo-kube.XXXXXX")
pids=()
look_around() {
    echo "  export KUBECONFIG=$KUBECONFIG"
    echo "  $kubectl -n demo get repositories,backupconfigurations,backupsessions,restoresessions"
}
. deploy/scripts/demo-lib.sh

show() { sed 's/^/        /'; }
kube() { "$kubectl" -n demo "$@"; }
wait_for() { local what=$1; shift; for _ in $(seq 1800); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; die "$what: timed out after three minutes"; }

cargo build --quiet --locked -p lagan -p lagan-tests --bin lagan --bin sample-db --bin control-plane
target=$(realpath "${CARGO_TARGET_DIR:-target}/debug")
lagan=$target/lagan
kubectl=$LAGAN_CONTROL_PLANE/kubectl
say "built lagan"

setsid "$target/control-plane" "$work/plane" >"$work/plane.log" 2>&1 &
pids+=($!)
wait_for "kube-apiserver" test -s "$work/plane"
KUBECONFIG=$(tail -n 1 "$work/plane")
export KUBECONFIG NO_COLOR=1
say "kube-apiserver $("$kubectl" version -o yaml | sed -n '/serverVersion/,$ s/.*gitVersion: //p') runs, with Lagan's and Stash's kinds installed"

nats_port=$(free_port)
printf 'listen: 127.0.0.1:%s\njetstream { store_dir: "%s"\n sync_interval: always }\n' "$nats_port" "$work/nats" >"$work/nats.conf"
nats-server -c "$work/nats.conf" >"$work/nats.log" 2>&1 &
pids+=($!)
database_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
repository_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
original_port=$(free_port)
copy_port=$(free_port)
start_database original "$original_port"
start_database copy "$copy_port"
client original -e 'CREATE DATABASE shop CHARACTER SET utf8mb4'
"$target/sample-db" --megabytes "$MEGABYTES" --seed 1 | client original shop
say "nats-server and two private MariaDB servers run; one has a database \`shop\` of $MEGABYTES MB"

start_part() {
    local part=$1
    shift
    "$lagan" "$part" --kube --nats-url "nats://127.0.0.1:$nats_port" "$@" >"$work/$part.log" 2>&1 &
    pids+=($!)
    wait_for "lagan $part" grep -q ready "$work/$part.log"
}
# The databases run outside the cluster. The worker compares the plans' addresses, so it gets the same.
resolve=(--resolve "sample-mariadb.demo.svc:3306=127.0.0.1:$original_port"
    --resolve "restored-mariadb.demo.svc:3306=127.0.0.1:$copy_port")
start_part engine --stash-compat "${resolve[@]}"
start_part worker "${resolve[@]}"
say "lagan engine and lagan worker are ready"

app() {
    secret "$1-auth" "username: lagan, password: $database_password"
    printf -- '---\napiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {name: %s}\nspec:\n  type: kubedb.com/mariadb\n  version: 10.11.6\n  clientConfig: {service: {name: %s, port: 3306, scheme: mysql}}\n  secret: {name: %s-auth}\n' "$1" "$1" "$1"
}
"$kubectl" create namespace demo | show
{ app sample-mariadb; echo ---; app restored-mariadb; } | kube apply -f - | show
say "the tutorial: Secret, Repository and BackupConfiguration"
{
    secret gcs-secret "RESTIC_PASSWORD: $repository_password"
    cat <<YAML
---
apiVersion: stash.appscode.com/v1alpha1
kind: Repository
metadata: {name: gcs-repo}
spec:
  backend: {local: {mountPath: $work/repository}, storageSecretName: gcs-secret}
---
apiVersion: stash.appscode.com/v1beta1
kind: BackupConfiguration
metadata: {name: sample-mariadb-backup}
spec:
  schedule: "*/1 * * * *"
  task: {name: mariadb-backup-10.6.23, params: [{name: args, value: --databases shop}]}
  repository: {name: gcs-repo}
  target: {ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: sample-mariadb}}
  retentionPolicy: {name: keep-last-5, keepLast: 5, prune: true}
YAML
} | kube apply -f - | show
kube wait --for=condition=Ready --timeout=60s backupconfigurations.stash.appscode.com/sample-mariadb-backup >/dev/null
kube get backupconfigurations.stash.appscode.com | show

say "waiting for the first slot of the schedule"
sessions() { kube get backupsessions.stash.appscode.com "$@"; }
succeeded() { sessions -o name | grep -q . && sessions | grep -q Succeeded; }
wait_for "a backup by the schedule" succeeded
sessions | show
kube get repositories.stash.appscode.com | show
kube patch backupconfigurations.stash.appscode.com sample-mariadb-backup --type=merge -p '{"spec":{"paused":true}}' >/dev/null

say "restoring into the second server"
kube apply -f - <<'YAML' | show
apiVersion: stash.appscode.com/v1beta1
kind: RestoreSession
metadata: {name: sample-mariadb-restore}
spec:
  task: {name: mariadb-restore-10.6.23}
  repository: {name: gcs-repo}
  target:
    ref: {apiVersion: appcatalog.appscode.com/v1alpha1, kind: AppBinding, name: restored-mariadb}
    rules: [{snapshots: [latest]}]
YAML
kube wait --for=condition=Succeeded --timeout=180s restoresessions.stash.appscode.com/sample-mariadb-restore >/dev/null
kube get restoresessions.stash.appscode.com | show
fingerprint original >"$work/original.txt"
fingerprint copy >"$work/copy.txt"
diff "$work/original.txt" "$work/copy.txt" || die "the copy differs"
say "compared: $(wc -l <"$work/original.txt") tables and views, each with the same definition and rows"
say "Kubernetes Events:"
kube get events --sort-by=.lastTimestamp -o custom-columns=TYPE:.type,REASON:.reason,OBJECT:.involvedObject.kind,MESSAGE:.message | show
RESTIC_PASSWORD=$repository_password restic -r "$work/repository" check --read-data | tail -n 1 | show
say "done"
