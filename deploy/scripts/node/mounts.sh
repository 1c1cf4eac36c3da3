# shellcheck shell=bash
# Sourced by init.sh. Paths that Kubernetes' programs do not let one choose are covered in the node's mount namespace,
# so that nothing of the machine is written to and two nodes do not meet.
: "${state:?}"

mount --make-rshared /
# Sockets of shims, network namespaces of Pods, runc's state.
mount -t tmpfs -o mode=755 node-run /run
mkdir -p /run/lock
# kubelet: /var/log/pods, /var/log/containers.
mount --bind "$state/log" /var/log
# libcni's results; up.sh has made the folder.
mount --bind "$state/cni" /var/lib/cni

# kubelet sets these for the whole machine (for instance: reboot 10 s after a panic). It may set copies.
for tunable in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    copy=$state/etc/sysctl-${tunable//\//-}
    cat "/proc/sys/$tunable" >"$copy"
    mount --bind "$copy" "/proc/sys/$tunable"
done
