#!/usr/bin/env bash
# pki.sh STATE: makes a certificate authority for the node, a certificate for each component and a kubeconfig for each
# client. The components are the users that Kubernetes' default roles are bound to, so RBAC works as in any cluster.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
state=$1
cd "$state/etc"
umask 077

curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365)
quiet() { "$@" 2>openssl.log || die "$1 failed: $(tail -n 3 openssl.log)"; }

# certificate NAME SUBJECT EXTENSION...: makes a key and a certificate that the authority signs.
certificate() {
    local name=$1 subject=$2 extensions=()
    shift 2
    for extension in "$@"; do extensions+=(-addext "$extension"); done
    quiet openssl req -x509 -CA ca.crt -CAkey ca.key "${curve[@]}" -subj "$subject" -keyout "$name.key" -out "$name.crt" \
        -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature "${extensions[@]}"
}

# client NAME SUBJECT: makes a certificate and a kubeconfig that uses it.
client() {
    certificate "$1" "$2" extendedKeyUsage=clientAuth
    cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "$api", certificate-authority: $state/etc/ca.crt}}]
users: [{name: $1, user: {client-certificate: $state/etc/$1.crt, client-key: $state/etc/$1.key}}]
contexts: [{name: node, context: {cluster: node, user: $1}}]
current-context: node
YAML
}

quiet openssl req -x509 "${curve[@]}" -subj /CN=lagan-node-ca -keyout ca.key -out ca.crt \
    -addext keyUsage=critical,keyCertSign,cRLSign
certificate apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth \
    "subjectAltName=IP:$node_address,IP:127.0.0.1,IP:${service_range%.*}.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
certificate kubelet-server "/CN=$node_name" extendedKeyUsage=serverAuth "subjectAltName=IP:$node_address,DNS:$node_name"
certificate apiserver-kubelet-client /O=kubeadm:cluster-admins/CN=kube-apiserver-kubelet-client extendedKeyUsage=clientAuth
client admin /O=system:masters/CN=admin
client controller-manager /CN=system:kube-controller-manager
client scheduler /CN=system:kube-scheduler
client proxy /CN=system:kube-proxy
client kubelet "/O=system:nodes/CN=system:node:$node_name"
client dns /CN=system:coredns
quiet openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out service-account.key
quiet openssl pkey -in service-account.key -pubout -out service-account.pub
