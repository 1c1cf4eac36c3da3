#!/usr/bin/env bash
# Runs backups and restores in a real single-node Kubernetes cluster on this machine: it installs the chart, backs a
# database up by schedule and by hand, restores it into a second server and compares both, with manifests of lagan.dev
# and of Stash; then it runs several sessions at once while the workers are scaled. Everything is removed at the end.
#
#   LAGAN_BIN=target/debug/lagan demo-cluster.sh [demo|test]
#
# `demo` prints the output of kubectl at each step, `test` only the results. Both stop at the first failure. KEEP=1 leaves
# the cluster running.
set -euo pipefail
cd "$(dirname "$0")/../.."

mode=${1:-demo}
case $mode in demo | test) ;; *) echo "usage: demo-cluster.sh [demo|test]" >&2; exit 2 ;; esac
binary=$(realpath "${LAGAN_BIN:?is the path of the lagan binary to put into the image}")
began=$SECONDS
passed=0
node=deploy/scripts/node
manifests=$node/demo
work=$(mktemp -d "${TMPDIR:-/tmp}/lagan-cluster.XXXXXX")
state=$work/node

say() { printf '%3ds  %s\n' "$((SECONDS - began))" "$*"; }
die() { echo "demo-cluster: $*" >&2; exit 1; }
ok() { passed=$((passed + 1)); say "$*"; }
in_node() { "$node/enter.sh" "$state" "$@"; }
kubectl() { in_node kubectl --namespace demo "$@"; }
lagan_kubectl() { in_node kubectl --namespace lagan "$@"; }
helm() { in_node "$helm" --namespace lagan "$@"; }
# Prints objects as kubectl does, in `demo` only.
show() { [ "$mode" = test ] || kubectl get "$@" | sed 's/^/        /'; }

evidence() {
    {
        in_node kubectl get pods,pvc --all-namespaces --output wide
        kubectl get events --sort-by=.lastTimestamp | tail -n 15
        kubectl get backupconfigurations.lagan.dev,backupsessions.lagan.dev,restoresessions.lagan.dev
        kubectl get backupsessions.lagan.dev,restoresessions.lagan.dev,backupsessions.stash.appscode.com,restoresessions.stash.appscode.com \
            --output jsonpath='{range .items[?(@.status.phase!="Succeeded")]}{.kind} {.metadata.name}: {.status}{"\n"}{end}'
        lagan_kubectl get pods --output name | while read -r pod; do
            echo "== $pod"
            lagan_kubectl logs "$pod" --tail=15 --all-containers || lagan_kubectl describe "$pod" | tail -n 15
        done
    } 2>&1 | tail -n 200
}

cleanup() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [ "$status" -eq 0 ] && [ "${KEEP:-}" = 1 ]; then
        printf '\nLeft running because of KEEP=1. To look around:\n%s\nTo remove it:\n  %s; rm -rf %s\n' \
            "$(sed 's/^/  /' "$work/node.env")" "$node/down.sh $state" "$work"
        return
    fi
    if [ "$status" -ne 0 ]; then
        echo "demo-cluster: failed; state of the cluster:" >&2
        [ ! -e "$state/ready" ] || evidence >&2 || true
    fi
    [ ! -e "$state/id" ] || "$node/down.sh" "$state" || status=1
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# await SECONDS WHAT COMMAND...: waits until the command succeeds.
await() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "$what: timed out"
        sleep 0.3
    done
}

status_of() { kubectl get "$1" "$2" --output jsonpath="{.status.$3}"; }

ready() { [ "$(status_of "$1" "$2" phase)" = Ready ]; }
await_ready() { await 60 "$1/$2 is Ready" ready "$1" "$2"; }

# succeed KIND NAME SECONDS: waits until the session has ended, and fails unless it is Succeeded.
succeed() {
    local end=$((SECONDS + $3)) phase
    while true; do
        phase=$(status_of "$1" "$2" phase)
        case $phase in
        Succeeded) return ;;
        Failed | Skipped | Invalid) die "$1/$2 is $phase: $(status_of "$1" "$2" code) $(status_of "$1" "$2" message)" ;;
        esac
        [ "$SECONDS" -lt "$end" ] || die "$1/$2 is '$phase' after $3 s"
        sleep 0.3
    done
}

phases() { kubectl get backupsessions.lagan.dev --output jsonpath='{range .items[*]}{.status.phase}{"\n"}{end}'; }
one_succeeded() { phases | grep -q '^Succeeded$'; }
one_running() { phases | grep -q '^Running$'; }
all_ended() { ! phases | grep -qv -e '^Succeeded$' -e '^Failed$' -e '^Skipped$'; }

# Passwords go through a pipe: every user of the machine can read argv.
secret() { printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {%s}\n' "$1" "$2" | kubectl apply -f - >/dev/null; }

# sql POD ARGUMENT...: runs MariaDB's client in that Pod.
sql() {
    local pod=$1
    shift
    # shellcheck disable=SC2016 # the Pod's shell expands it
    kubectl exec --stdin "$pod" -- bash -c 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD exec mariadb --no-defaults -S /tmp/mysqld.sock -uroot "$@"' -- "$@"
}

# Prints a line for each table and view, with a hash of its definition and rows; then one for triggers and routines.
fingerprint() {
    # shellcheck disable=SC2016 # the Pod's shell expands it
    kubectl exec "$1" -- bash -c '
        set -euo pipefail
        export MYSQL_PWD=$MARIADB_ROOT_PASSWORD
        account="--no-defaults -S /tmp/mysqld.sock -uroot"
        dump() { mariadb-dump $account --skip-comments --hex-blob --order-by-primary --single-transaction "$@" | sha256sum | cut -c1-16; }
        mariadb $account -N -e "SELECT table_name FROM information_schema.tables WHERE table_schema = \"shop\" ORDER BY 1" | while read -r table; do
            echo "$table  $(dump --skip-triggers shop "$table")"
        done
        echo "(logic)  $(dump --no-create-info --no-data --triggers --routines --events shop)"'
}

# same WHAT: fails unless both servers hold the same data.
same() {
    fingerprint shop >"$work/shop.txt"
    fingerprint copy >"$work/copy.txt"
    diff "$work/shop.txt" "$work/copy.txt" >&2 || die "$1: the copy differs"
    [ "$(grep -c . "$work/shop.txt")" -gt 4 ] || die "$1: nothing to compare"
    [ "$mode" = test ] || sed 's/^/        /' "$work/copy.txt"
    ok "$1: $(grep -cv '^(' "$work/copy.txt") tables and views, triggers and routines are the same in both servers"
}

start_cluster() {
    eval "$(deploy/scripts/tools.sh demo)"
    command -v restic >/dev/null || die "restic is not on PATH"
    helm=$(deploy/scripts/go-tools.sh tests/helm)/helm
    # Helm's caches go with the cluster.
    export HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm
    "$node/up.sh" "$state" >"$work/node.env"
    eval "$(cat "$work/node.env")"
    ok "a Kubernetes node of $(in_node kubectl get nodes --output jsonpath='{.items[0].status.nodeInfo.kubeletVersion}') is ready"
    show nodes --output wide
    "$node/images.sh" lagan "$work/lagan.tar" "$binary"
    "$node/images.sh" mariadb "$work/mariadb.tar"
    "$node/images.sh" nats "$work/nats.tar"
    "$node/images.sh" load "$state" "$work"/{lagan,mariadb,nats}.tar
    rm -f "$work"/*.tar
    say "three images were made and put into the node"
}

install_chart() {
    in_node kubectl create namespace lagan >/dev/null
    in_node kubectl create namespace demo >/dev/null
    lagan_kubectl apply -f "$manifests/claim.yaml" >/dev/null
    helm install lagan deploy/helm/lagan --values "$manifests/values.yaml" --wait --timeout 3m >"$work/helm.log" 2>&1 ||
        die "helm install: $(tail -n 5 "$work/helm.log")"
    ok "the chart is installed, and everything in it is ready"
    show pods,services --namespace lagan
}

start_databases() {
    secret database-root "username: root, password: $(openssl rand -hex 16)"
    secret repository "RESTIC_PASSWORD: $repository_password"
    kubectl apply -f "$manifests/databases.yaml" >/dev/null
    kubectl wait --for=condition=Ready pod/shop pod/copy --timeout=120s >/dev/null || die "MariaDB does not start"
    sql shop <"$manifests/sample.sql"
    ok "two MariaDB servers run; \`shop\` has a database of $(sql shop -N -e "SELECT ROUND(SUM(data_length) / 1e6) FROM information_schema.tables WHERE table_schema = 'shop'") MB"
}

back_up_on_schedule() {
    kubectl apply -f "$manifests/lagan.yaml" >"$work/apply.log" || die "the manifests are rejected"
    [ "$mode" = test ] || sed 's/^/        /' "$work/apply.log"
    await_ready backupconfigurations.lagan.dev shop
    ok "kubectl applied Repository, AppBindings and a BackupConfiguration for every minute; it is Ready"
    await 150 "a session of the schedule has succeeded" one_succeeded
    ok "the schedule fired by itself, and the backup succeeded"
    kubectl exec shop -- test -f /tmp/hook-before -a -f /tmp/hook-after-Succeeded || die "the hooks did not run in the database's Pod"
    ok "its hooks ran in the database's Pod, before and after"
    kubectl patch backupconfigurations.lagan.dev shop --type merge --patch '{"spec": {"paused": true}}' >/dev/null
    await 120 "the schedule's sessions have ended" all_ended
    show backupconfigurations.lagan.dev,backupsessions.lagan.dev,repositories.lagan.dev
}

back_up_and_restore() {
    sql shop -e "USE shop; DELETE FROM orders WHERE id % 11 = 0; UPDATE customers SET note = 'changed' WHERE id % 13 = 0;
        INSERT INTO orders (customer, placed, amount, detail) SELECT 1, NOW(6), 1.5, SHA2(seq, 256) FROM seq_1_to_1000"
    kubectl apply -f "$manifests/backup.yaml" >/dev/null
    succeed backupsessions.lagan.dev shop-by-hand 180
    ok "rows changed, and a BackupSession made with kubectl succeeded while the schedule is paused"
    kubectl apply -f "$manifests/restore.yaml" >/dev/null
    succeed restoresessions.lagan.dev shop-to-copy 180
    show restoresessions.lagan.dev
    same "restored into the second server"
}

run_stash_tutorial() {
    kubectl apply -f "$manifests/stash.yaml" >/dev/null || die "Stash's manifests are rejected"
    await_ready backupconfigurations.stash.appscode.com sample-mariadb-backup
    kubectl apply -f "$manifests/stash-backup.yaml" >/dev/null
    succeed backupsessions.stash.appscode.com sample-mariadb-backup-now 180
    sql copy -e 'DELETE FROM shop.orders WHERE id % 2 = 0; DROP VIEW shop.spent'
    kubectl apply -f "$manifests/stash-restore.yaml" >/dev/null
    succeed restoresessions.stash.appscode.com sample-mariadb-restore 180
    show repositories.stash.appscode.com,backupconfigurations.stash.appscode.com,backupsessions.stash.appscode.com,restoresessions.stash.appscode.com
    same "by the manifests of Stash's tutorial"
    kubectl patch backupconfigurations.stash.appscode.com sample-mariadb-backup --type merge --patch '{"spec": {"paused": true}}' >/dev/null
}

# six FILE: applies the manifest six times, with the numbers 1 to 6.
six() {
    local number
    for number in 1 2 3 4 5 6; do
        echo ---
        sed "s/NUMBER/$number/" "$1"
    done | kubectl apply -f - >/dev/null
}

scale_workers() {
    six "$manifests/many.yaml"
    local number
    for number in 1 2 3 4 5 6; do await_ready backupconfigurations.lagan.dev many-$number; done
    six "$manifests/many-backup.yaml"
    await 60 "a session runs" one_running
    lagan_kubectl scale deployment/lagan-worker-default --replicas=3 >/dev/null
    say "six sessions wait for one worker that runs one at a time; scaled to three workers while the first runs:"
    show backupsessions.lagan.dev
    lagan_kubectl rollout status deployment/lagan-worker-default --timeout=120s >/dev/null || die "the workers are not ready"
    for number in 1 2 3 4 5 6; do succeed backupsessions.lagan.dev many-$number 240; done
    show backupsessions.lagan.dev --output wide
    show pods --namespace lagan
    local workers
    workers=$(kubectl get backupsessions.lagan.dev --output jsonpath='{range .items[*]}{.metadata.name} {.status.worker}{"\n"}{end}' | awk '/^many-/ && $2 {print $2}' | sort -u | wc -l)
    [ "$workers" -ge 2 ] || die "six sessions ran on $workers worker although there were three"
    ok "all six sessions succeeded, spread over $workers workers"
}

check_with_restic() {
    local volume folder repository
    volume=$(lagan_kubectl get persistentvolumeclaim repositories --output jsonpath='{.spec.volumeName}')
    folder=$(in_node kubectl get persistentvolume "$volume" --output jsonpath='{.spec.hostPath.path}')
    export RESTIC_PASSWORD=$repository_password
    for repository in lagan sample-mariadb; do
        [ "$mode" = test ] || restic --no-cache -r "$folder/$repository" snapshots --compact | grep -E '^[0-9a-f]{8} | snapshots$' | cut -c1-42 | sed 's/^/        /'
        restic --no-cache -r "$folder/$repository" check --read-data >"$work/restic.log" 2>&1 || die "restic check: $(tail -n 5 "$work/restic.log")"
    done
    ok "stock restic reads both repositories and finds no error in them"
}

uninstall() {
    in_node kubectl delete namespace demo --timeout=90s >/dev/null || die "the namespace is not deleted"
    helm uninstall lagan --wait --timeout 3m >/dev/null 2>&1 || die "helm uninstall failed"
    # The grace period of workers is long, but an idle worker ends at once.
    nothing_left() { [ -z "$(lagan_kubectl get pods,deployments,statefulsets,services --output name)" ]; }
    await 120 "the chart's objects are gone" nothing_left
    ok "uninstalled: no object of the chart is left"
}

repository_password=$(openssl rand -hex 16)
start_cluster
install_chart
start_databases
back_up_on_schedule
back_up_and_restore
run_stash_tutorial
scale_workers
check_with_restic
if [ "${KEEP:-}" != 1 ]; then
    uninstall
    "$node/down.sh" "$state"
    ok "the node is removed"
fi
[ "$mode" = demo ] || echo "$passed passed, 0 failed"
