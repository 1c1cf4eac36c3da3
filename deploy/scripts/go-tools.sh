#!/bin/sh
# Builds the `tool` block of a Go module of ours into a cache outside the clone, and prints the folder.
#
#   go-tools.sh tests/control-plane
#
# The folder's name holds the hash of go.mod and go.sum, so a change builds anew. It is built under a temporary name
# and renamed when complete: a killed build leaves nothing that looks finished, and two side by side end with one.
set -eu

module=${1:?usage: go-tools.sh MODULE_DIR}
ldflags="-s -w"
# Without these Kubernetes' programs call themselves v0.0.0.
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
    # etcd's own name for its server says nothing.
    [ ! -e "$part/server" ] || mv "$part/server" "$part/etcd"
    chmod 755 "$part"
    # Another run may have been faster: then its folder stays and ours goes.
    mv -T "$part" "$folder" 2>/dev/null || [ -d "$folder" ] || { echo "go-tools: can't create $folder" >&2; exit 1; }
    trap - EXIT HUP INT TERM
    rm -rf "$part"
fi
echo "$folder"
