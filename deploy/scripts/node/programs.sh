#!/usr/bin/env bash
# Builds missing programs of Kubernetes and prints their folders, one per line, for PATH.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then echo "$KUBEBUILDER_ASSETS"; else deploy/scripts/go-tools.sh tests/control-plane; fi
deploy/scripts/go-tools.sh tests/node
