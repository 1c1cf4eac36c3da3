#!/usr/bin/env bash
# Measures wall time, CPU and peak memory of a backup of a 1 GB database beside raw `mariadb-dump` and
# `mariadb-dump | restic backup --stdin`, interleaved in one run; then of a restore beside `restic dump | mariadb`, and what
# it costs to prove a snapshot before existing data is dropped. LAGAN_BEFORE=PATH measures another version in the same run.
# Ratios carry over to other machines, absolute figures do not.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${LAGAN_BIN:-}" ]; then
    cargo build --release --locked -p lagan
    LAGAN_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/release/lagan")
fi
cargo build --quiet --locked -p lagan-tests --bin sample-db
exec python3 deploy/scripts/bench.py "$LAGAN_BIN" "$(realpath "${CARGO_TARGET_DIR:-target}/debug/sample-db")"
