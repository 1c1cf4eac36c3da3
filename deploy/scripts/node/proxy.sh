# shellcheck shell=bash
# Sourced by init.sh. Starts kube-proxy, which makes the addresses of Services work.
: "${state:?}" "${node_name:?}" "${pod_range:?}"

# The limit of tracked connections belongs to the machine and is left alone.
daemon kube-proxy kube-proxy --kubeconfig "$state/etc/proxy.kubeconfig" --hostname-override "$node_name" \
    --proxy-mode nftables --cluster-cidr "$pod_range" --conntrack-max-per-core 0 --conntrack-min 0 --oom-score-adj 0 \
    --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
