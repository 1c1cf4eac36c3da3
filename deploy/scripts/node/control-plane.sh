# shellcheck shell=bash
# Sourced by init.sh. Starts etcd, API server, controller manager and scheduler with RBAC, ServiceAccount admission and
# one account per controller, as in a production cluster.
: "${state:?}" "${api:?}" "${node_address:?}" "${service_range:?}"
etc=$state/etc

# A node runs for minutes and starts empty, so nothing is lost by not syncing.
daemon etcd etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380

daemon kube-apiserver kube-apiserver --etcd-servers http://127.0.0.1:2379 \
    --bind-address 0.0.0.0 --advertise-address "$node_address" --secure-port 6443 \
    --tls-cert-file "$etc/apiserver.crt" --tls-private-key-file "$etc/apiserver.key" --client-ca-file "$etc/ca.crt" \
    --kubelet-client-certificate "$etc/apiserver-kubelet-client.crt" --kubelet-client-key "$etc/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$etc/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$etc/service-account.pub" --service-account-signing-key-file "$etc/service-account.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --service-cluster-ip-range "$service_range" --allow-privileged=true
up kube-apiserver 60 kubectl get --raw /readyz
# As a client of the kubelet, for logs and `exec`, the API server needs a role.
kubectl create clusterrolebinding apiserver-to-kubelet --clusterrole system:kubelet-api-admin \
    --user kube-apiserver-kubelet-client >/dev/null

# These two serve no requests, so they need no lookup of the API server's authentication.
daemon kube-controller-manager kube-controller-manager --kubeconfig "$etc/controller-manager.kubeconfig" \
    --authentication-skip-lookup --use-service-account-credentials --service-account-private-key-file "$etc/service-account.key" \
    --root-ca-file "$etc/ca.crt" --cluster-signing-cert-file "$etc/ca.crt" --cluster-signing-key-file "$etc/ca.key" \
    --service-cluster-ip-range "$service_range" --leader-elect=false --bind-address 127.0.0.1
daemon kube-scheduler kube-scheduler --kubeconfig "$etc/scheduler.kubeconfig" \
    --authentication-skip-lookup --leader-elect=false --bind-address 127.0.0.1
