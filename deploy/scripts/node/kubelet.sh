# shellcheck shell=bash
# Sourced by init.sh. Starts the kubelet, which runs Pods as containers.
: "${state:?}" "${cgroup:?}" "${node_name:?}" "${node_address:?}"

# Without a hierarchy for QoS classes the cgroup of every Pod is directly below the node's, where down.sh finds it; it
# also works on machines that do not mount every controller.
cat >"$state/etc/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
healthzBindAddress: 127.0.0.1
tlsCertFile: $state/etc/kubelet-server.crt
tlsPrivateKeyFile: $state/etc/kubelet-server.key
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $state/etc/ca.crt}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$state/containerd.sock
clusterDNS: [$node_address]
clusterDomain: cluster.local
resolvConf: $state/etc/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
# Images are never removed to free disk space, because they can't be pulled again.
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
YAML

daemon kubelet kubelet --config "$state/etc/kubelet.yaml" --kubeconfig "$state/etc/kubelet.kubeconfig" \
    --root-dir "$state/kubelet" --cert-dir "$state/etc" --hostname-override "$node_name" --node-ip "$node_address"
up kubelet 60 kubectl get "node/$node_name"
