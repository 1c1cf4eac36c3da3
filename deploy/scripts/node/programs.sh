#!/usr/bin/env bash
# Builds what is missing of Kubernetes and prints the folders of the programs, one a line, for a PATH.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then echo "$KUBEBUILDER_ASSETS"; else deploy/scripts/go-tools.sh tests/control-plane; fi
deploy/scripts/go-tools.sh tests/node
