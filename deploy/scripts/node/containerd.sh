# shellcheck shell=bash
# Sourced by init.sh. Runs the containers. Images are imported from archives; there is no registry.
: "${state:?}" "${pause_image:?}"

# The socket is in the state folder, so that images.sh reaches it from outside the node.
cat >"$state/etc/containerd.toml" <<TOML
version = 2
root = "$state/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
address = "$state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$pause_image"
# Without CAP_SYS_RESOURCE runc can't lower a score and dies.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$state/etc/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
TOML

daemon containerd containerd --config "$state/etc/containerd.toml"
up containerd 30 ctr --address "$state/containerd.sock" version
"$here/images.sh" load "$state" "$state/pause.tar"
