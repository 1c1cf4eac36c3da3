# shellcheck shell=bash
# Sourced by init.sh. Covers the fixed paths of Kubernetes' programs in the node's mount namespace, so that they do not
# write to the machine's files and two nodes do not share any.
: "${state:?}"

mount --make-rshared /
# Sockets of shims, network namespaces of Pods, runc's state.
mount -t tmpfs -o mode=755 node-run /run
mkdir -p /run/lock
# The kubelet writes /var/log/pods and /var/log/containers.
mount --bind "$state/log" /var/log
# libcni keeps its results here; up.sh has made the folder.
mount --bind "$state/cni" /var/lib/cni

# The kubelet sets these for the whole machine, for example a reboot 10 s after a panic. Here it sets copies.
for tunable in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy=$state/etc/sysctl-${tunable//\//-}
    cat "/proc/sys/$tunable" >"$copy"
    mount --bind "$copy" "/proc/sys/$tunable"
done
