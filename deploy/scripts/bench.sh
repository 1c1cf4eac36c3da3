#!/usr/bin/env bash
# A backup beside its peers, on one database of 1 GB, interleaved in one run: wall time, CPU and peak memory of raw
# `mariadb-dump`, of `mariadb-dump | restic backup --stdin`, and of `lagan backup`; then a restore beside
# `restic dump | mariadb`. Ratios carry over to other machines, absolute figures do not.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ -z "${LAGAN_BIN:-}" ]; then
    cargo build --release --locked -p lagan
    LAGAN_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/release/lagan")
fi
cargo build --quiet --locked -p lagan-tests --bin sample-db
exec python3 deploy/scripts/bench.py "$LAGAN_BIN" "$(realpath "${CARGO_TARGET_DIR:-target}/debug/sample-db")"
