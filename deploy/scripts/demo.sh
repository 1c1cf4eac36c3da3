#!/usr/bin/env bash
# Backs a sample database up by schedule, changes it, backs it up again, restores it into a second server and compares
# both table by table, with real programs only. Everything is in a temporary folder and removed at the end; KEEP=1 leaves
# it running.
set -euo pipefail
cd "$(dirname "$0")/../.."

MEGABYTES=${MEGABYTES:-110}
began=$SECONDS
work=$(mktemp -d "${TMPDIR:-/tmp}/lagan-demo.XXXXXX")
pids=()

look_around() {
    echo "  export LAGAN_DATA_DIR=$work/data"
    echo "  $lagan get sessions; $lagan describe session @latest; $lagan snapshots"
}
. deploy/scripts/demo-lib.sh

cargo build --quiet --locked -p lagan -p lagan-tests --bin lagan --bin sample-db
target=${CARGO_TARGET_DIR:-target}/debug
lagan=$(realpath "$target/lagan")
say "built lagan"

database_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
repository_password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
original_port=$(free_port)
copy_port=$(free_port)
start_database original "$original_port"
start_database copy "$copy_port"
client original -e 'CREATE DATABASE shop CHARACTER SET utf8mb4'
"$target/sample-db" --megabytes "$MEGABYTES" --seed 1 | client original shop
say "two private MariaDB servers run; one has a database \`shop\` of $MEGABYTES MB with views, triggers, routines, events and blobs"

# The manifests of the quick start, with the addresses and passwords of this run.
mkdir "$work/manifests"
sed -e "s|mysql://127.0.0.1:3306/|mysql://127.0.0.1:$original_port/|" -e "s|/var/backups/lagan|$work/repository|" \
    -e "s|username: root|username: lagan|" -e "s|change-this-too|$database_password|" \
    -e "s|change-this-and-keep-a-copy|$repository_password|" deploy/examples/quickstart/shop.yaml >"$work/manifests/shop.yaml"
{
    secret copy-account "username: lagan, password: $database_password"
    printf -- '---\napiVersion: appcatalog.appscode.com/v1alpha1\nkind: AppBinding\nmetadata: {name: copy}\nspec:\n  type: mariadb\n  clientConfig: {url: "mysql://127.0.0.1:%s/"}\n  secret: {name: copy-account}\n' "$copy_port"
} >"$work/manifests/copy.yaml"

export LAGAN_DATA_DIR=$work/data NO_COLOR=1
"$lagan" up --manifests "$work/manifests" >"$work/up.log" 2>&1 &
pids+=($!)
for _ in $(seq 300); do grep -q "ready: NATS" "$work/up.log" && break; sleep 0.1; done
grep -q "ready: NATS" "$work/up.log" || die "lagan up is not ready"
say "lagan up reads deploy/examples/quickstart; waiting for the first slot of the schedule"

for _ in $(seq 1200); do
    "$lagan" get sessions -o json | grep -q '"phase": "Succeeded"' && break
    sleep 0.1
done
"$lagan" get sessions | grep -q Succeeded || die "the schedule started no backup"
say "the schedule started a backup:"
"$lagan" get sessions | sed 's/^/        /'
# From here on scheduled sessions would only clutter the output.
sed -i 's|"\* \* \* \* \*"|"0 3 * * *"|' "$work/manifests/shop.yaml"

"$target/sample-db" --megabytes "$MEGABYTES" --seed 1 --changes | client original shop
say "rows changed; a second backup, by hand:"
for _ in $(seq 300); do "$lagan" get backupconfigurations | grep -q '0 3 \* \* \*' && break; sleep 0.1; done
"$lagan" backup shop --wait 2>&1 | grep -v -e '^●' -e waiting -e next | sed 's/^/        /'

say "restoring into the second server:"
"$lagan" restore shop --to copy --yes --wait 2>&1 | grep -e '^✔' -e '^✖' | sed 's/^/        /'
fingerprint original >"$work/original.txt"
fingerprint copy >"$work/copy.txt"
diff "$work/original.txt" "$work/copy.txt" || die "the copy differs"
say "compared: $(wc -l <"$work/original.txt") tables and views, each with the same definition and rows"

say "snapshots in the repository, listed by Lagan and by restic:"
"$lagan" snapshots | sed 's/^/        /'
export RESTIC_PASSWORD=$repository_password RESTIC_REPOSITORY=$work/repository
restic snapshots --compact | sed 's/^/        /'
restic check --read-data | tail -n 1 | sed 's/^/        /'
say "done"
