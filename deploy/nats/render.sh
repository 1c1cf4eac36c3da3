#!/bin/sh
# Writes the configuration of a NATS cluster that serves one or more clusters of Lagan.
#
#   POOLS="default disk" render.sh DIR CLUSTER...
#
# Accounts hold passwords, so they are written once and kept; everything else is written again each time.
set -eu

out=${1:?usage: render.sh DIR CLUSTER...}
shift
[ $# -gt 0 ] || { echo "render: name at least one cluster" >&2; exit 2; }
pools=${POOLS:-default}
here=$(dirname "$0")
umask 077
mkdir -p "$out"

label() {
    case $2 in
    '' | -* | *- | *[!a-z0-9-]*) echo "render: $1 \`$2\` is not a DNS label" >&2 && exit 2 ;;
    esac
}
for pool in $pools; do label pool "$pool"; done
for cluster in "$@"; do label cluster "$cluster"; done

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Fills in a template. A line with @POOL@ is repeated for each pool and lane, one with @SECRET@ gets a new secret.
fill() {
    while IFS= read -r line; do
        case $line in
        *@POOL@*)
            for pool in $pools; do
                for lane in urgent normal maintenance; do
                    echo "$line" | sed "s/@POOL@/$pool/; s/@LANE@/$lane/; s/@CLUSTER@/$cluster/g"
                done
            done
            ;;
        *@SECRET@*) echo "$line" | sed "s/@SECRET@/$(secret)/; s/@CLUSTER@/$cluster/g" ;;
        *) echo "$line" | sed "s/@CLUSTER@/$cluster/g" ;;
        esac
    done <"$1"
}

cp "$here"/nats-[123].conf "$here/common.conf" "$out/"
for cluster in "$@"; do
    mkdir -p "$out/permissions-$cluster"
    for template in "$here"/permissions/*.conf.in; do
        fill "$template" >"$out/permissions-$cluster/$(basename "$template" .in)"
    done
    [ -e "$out/account-$cluster.conf" ] || fill "$here/account.conf.in" >"$out/account-$cluster.conf"
    # In the format of --nats-user-file.
    mkdir -p "$out/users-$cluster"
    sed -n "s/.*user: \"$cluster-\([a-z]*\)\", password: \"\([^\"]*\)\".*/\1 \2/p" "$out/account-$cluster.conf" |
        while read -r role password; do echo "$cluster-$role:$password" >"$out/users-$cluster/$role"; done
done
# The system account is for administrators; Lagan does not use it.
[ -e "$out/account-system.conf" ] || echo "SYS { users: [{user: \"system\", password: \"$(secret)\"}] }" >"$out/account-system.conf"
{
    echo "system_account: SYS"
    echo "accounts {"
    echo "  include \"account-system.conf\""
    for cluster in "$@"; do echo "  include \"account-$cluster.conf\""; done
    echo "}"
} >"$out/accounts.conf"
