# shellcheck shell=bash
# Sourced by init.sh. Gives the node one address, on a pair of devices that are connected only to each other; Pods get
# devices beside it. A dummy device would do as well, but not every kernel has that type.
: "${state:?}" "${node_address:?}"

ip link set lo up
ip link add name node0 type veth peer name node0-peer
ip address add "$node_address/24" dev node0
ip link set node0 up
ip link set node0-peer up
# Without a default route the kubelet and kube-proxy find no address of the node.
ip route add default dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward
# For Pods that ask for the node's resolver.
echo "nameserver $node_address" >"$state/etc/resolv.conf"

# Point to point instead of a bridge: the answer of a Pod to a neighbour passes the node's routing, where kube-proxy
# translates the address back. On a bridge it would bypass the routing, unless the kernel has br_netfilter.
mkdir -p "$state/etc/cni"
cat >"$state/etc/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "ptp",
    "ipMasq": false,
    "ipam": {
      "type": "host-local",
      "dataDir": "$state/cni/addresses",
      "ranges": [[{"subnet": "$pod_range"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
JSON
