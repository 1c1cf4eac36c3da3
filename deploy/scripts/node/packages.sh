#!/usr/bin/env bash
# Installs missing Debian packages that a node needs. The service of the containerd package is not started: the node runs
# its own containerd.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
PATH=$PATH:/usr/sbin:/sbin
need containerd containerd
need runc runc
need ip iproute2
need conntrack conntrack
need nft nftables
need iptables iptables
need openssl openssl
need python3 python3
need nsenter util-linux
[ -x /usr/lib/cni/ptp ] || missing+=(containernetworking-plugins)
[ "${#missing[@]}" -gt 0 ] || exit 0

command -v apt-get >/dev/null 2>&1 || die "missing: ${missing[*]}. There is no apt-get here; install them yourself and run this again"
say "installing with apt-get: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2 || die "apt-get update failed; install yourself: ${missing[*]}"
# RUNLEVEL keeps invoke-rc.d from starting services of the packages, the mask does the same for systemd.
link=/etc/systemd/system/containerd.service
masked=
if [[ " ${missing[*]} " == *" containerd "* ]] && [ ! -e "$link" ] && [ -d /etc/systemd/system ]; then
    ln -s /dev/null "$link"
    masked=yes
fi
status=0
RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 || status=$?
[ -z "$masked" ] || rm -f "$link"
[ "$status" -eq 0 ] || die "apt-get could not install: ${missing[*]}"
