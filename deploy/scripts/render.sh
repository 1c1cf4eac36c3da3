#!/bin/sh
# Renders the chart with its CustomResourceDefinitions to stdout.
#
#   render.sh deploy/helm/lagan/ci/default.yaml [HELM OPTION...]
#
# Uses helm from PATH, else builds it once.
set -eu

values=${1:?usage: render.sh VALUES [HELM OPTION...]}
shift
values=$(realpath "$values")
cd "$(dirname "$0")/../.."

helm=$(command -v helm) || helm=$(deploy/scripts/go-tools.sh tests/helm)/helm
exec "$helm" template lagan deploy/helm/lagan --namespace lagan-system --values "$values" "$@"
