# shellcheck shell=bash
# Sourced by init.sh. etcd, API server, controller manager, scheduler: with RBAC, ServiceAccount admission, and one
# account for each controller, as in a cluster that people run.
: "${state:?}" "${api:?}" "${node_address:?}" "${service_range:?}"
etc=$state/etc

# A node lives for minutes and starts empty: nothing is lost by not syncing.
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
# The API server as a kubelet's client needs a role of its own; later parts are asked to show logs and run `exec`.
kubectl create clusterrolebinding apiserver-to-kubelet --clusterrole system:kubelet-api-admin \
    --user kube-apiserver-kubelet-client >/dev/null

# Nobody asks these two anything, so they need not know how the API server tells its callers apart.
daemon kube-controller-manager kube-controller-manager --kubeconfig "$etc/controller-manager.kubeconfig" \
    --authentication-skip-lookup --use-service-account-credentials --service-account-private-key-file "$etc/service-account.key" \
    --root-ca-file "$etc/ca.crt" --cluster-signing-cert-file "$etc/ca.crt" --cluster-signing-key-file "$etc/ca.key" \
    --service-cluster-ip-range "$service_range" --leader-elect=false --bind-address 127.0.0.1
daemon kube-scheduler kube-scheduler --kubeconfig "$etc/scheduler.kubeconfig" \
    --authentication-skip-lookup --leader-elect=false --bind-address 127.0.0.1
