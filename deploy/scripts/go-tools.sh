#!/bin/sh
# Builds the tools of one of our Go modules into a cache outside the clone, and prints the folder.
#
#   go-tools.sh tests/control-plane
#
# The folder's name contains a hash of go.mod and go.sum, so a change of these builds again. The folder is built under a
# temporary name and renamed when complete, so that a killed build leaves no folder that looks finished.
set -eu

module=${1:?usage: go-tools.sh MODULE_DIR}
ldflags="-s -w"
# Without these values Kubernetes' programs report version v0.0.0.
kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit } $1 == "require" && $2 == "k8s.io/kubernetes" { print $3; exit }' "$module/go.mod")
if [ -n "$kubernetes" ]; then
    number=${kubernetes#v} minor=${number#*.}
    for pair in "gitVersion=$kubernetes" "gitMajor=${number%%.*}" "gitMinor=${minor%%.*}"; do
        ldflags="$ldflags -X k8s.io/component-base/version.$pair"
    done
fi
tools_dir=${LAGAN_TOOLS_DIR:-${XDG_CACHE_HOME:-${HOME:?"set LAGAN_TOOLS_DIR, XDG_CACHE_HOME or HOME"}/.cache}/lagan/tools}
name=$(basename "$module")
hash=$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)
folder=$tools_dir/$name-$hash

if [ ! -d "$folder" ]; then
    command -v go >/dev/null 2>&1 || { echo "go-tools: go is needed to build $name" >&2; exit 1; }
    echo "go-tools: building $name from Go modules, once; this takes minutes" >&2
    mkdir -p "$tools_dir"
    part=$(mktemp -d "$tools_dir/.part-$name-XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 130' HUP INT TERM
    (cd "$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags="$ldflags" -o "$part/" tool) >&2
    # etcd's module calls its program `server`.
    [ ! -e "$part/server" ] || mv "$part/server" "$part/etcd"
    chmod 755 "$part"
    # If another run has finished first, its folder stays.
    mv -T "$part" "$folder" 2>/dev/null || [ -d "$folder" ] || { echo "go-tools: can't create $folder" >&2; exit 1; }
    trap - EXIT HUP INT TERM
    rm -rf "$part"
fi
echo "$folder"
