# shellcheck shell=bash
# Sourced by init.sh. Resolves the names of Services. It runs as a process, because a Pod would need an image.
: "${state:?}" "${node_address:?}"

cat >"$state/etc/Corefile" <<COREFILE
.:53 {
    bind $node_address
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $state/etc/dns.kubeconfig
        pods insecure
        ttl 5
    }
    cache 5 {
        denial 1000 1
    }
}
COREFILE

daemon dns dns -conf "$state/etc/Corefile"
