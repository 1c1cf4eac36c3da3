#!/bin/sh
# Writes the configuration of a NATS cluster that serves one or more clusters of Lagan.
#
#   POOLS="default disk" DOMAIN=hub render.sh DIR CLUSTER...
#
# DOMAIN is the JetStream domain, if there is one. Accounts hold passwords, so they are written once and kept; users of new
# pools are added to them. Everything else is written again.
set -eu

out=${1:?usage: render.sh DIR CLUSTER...}
shift
[ $# -gt 0 ] || { echo "render: name at least one cluster" >&2; exit 2; }
pools=${POOLS:-default}
# A server maps its own domain's API to the default one before it checks permissions; a leaf node does not.
apis="API${DOMAIN:+ $DOMAIN.API}"
here=$(dirname "$0")
umask 077
mkdir -p "$out"

label() {
    case $2 in
    '' | -* | *- | *[!a-z0-9-]*) echo "render: $1 \`$2\` is not a DNS label" >&2 && exit 2 ;;
    esac
}
for pool in $pools; do label pool "$pool"; done
[ -z "${DOMAIN:-}" ] || label domain "$DOMAIN"
for cluster in "$@"; do label cluster "$cluster"; done

secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Fills in a template for pool $2. Lines with @ANYPOOL@ are repeated for each pool, those with @OTHERPOOL@ for each pool
# but $2, and those with @LANE@ for each lane. Each @SECRET@ becomes a new password.
fill() {
    while IFS= read -r line; do
        repeat=_ lanes=_ prefixes=API
        case $line in
        *@ANYPOOL@*) repeat=$pools ;;
        *@OTHERPOOL@*) repeat=$(for pool in $pools; do [ "$pool" = "$2" ] || echo "$pool"; done) ;;
        esac
        case $line in *@LANE@*) lanes="urgent normal maintenance" ;; esac
        case $line in *'$JS.API.'*) prefixes=$apis ;; esac
        for pool in $repeat; do
            for lane in $lanes; do
                for api in $prefixes; do
                    echo "$line" | sed "s/@ANYPOOL@/$pool/g; s/@OTHERPOOL@/$pool/g; s/@LANE@/$lane/; s/@POOL@/$2/g
                        s/@CLUSTER@/$cluster/g; s/@SECRET@/$(secret)/; s/JS\\.API\\./JS.$api./"
                done
            done
        done
    done <"$1"
}

cp "$here"/nats-[123].conf "$here/common.conf" "$out/"
for cluster in "$@"; do
    mkdir -p "$out/permissions-$cluster"
    for role in engine cli subscriber; do
        fill "$here/permissions/$role.conf.in" _ >"$out/permissions-$cluster/$role.conf"
    done
    for own in $pools; do
        fill "$here/permissions/worker.conf.in" "$own" >"$out/permissions-$cluster/worker-$own.conf"
    done
    account="$out/account-$cluster.conf"
    [ -e "$account" ] || fill "$here/account.conf.in" _ >"$account"
    all=$pools
    for pools in $all; do
        grep -q "\"$cluster-worker-$pools\"" "$account" && continue
        grep '@ANYPOOL@' "$here/account.conf.in" >"$out/user.in"
        fill "$out/user.in" _ >"$out/user"
        sed "/users: \[/r $out/user" "$account" >"$account.new" && mv "$account.new" "$account"
        rm "$out/user" "$out/user.in"
    done
    pools=$all
    # Lagan reads these with --nats-user-file.
    mkdir -p "$out/users-$cluster"
    sed -n "s/.*user: \"$cluster-\([a-z0-9-]*\)\", password: \"\([^\"]*\)\".*/\1 \2/p" "$account" |
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
