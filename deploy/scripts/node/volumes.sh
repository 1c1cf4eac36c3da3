# shellcheck shell=bash
# Sourced by init.sh. Volumes for whoever claims one: folders that anyone may write to, since nothing hands a folder of
# the machine over to the user of a Pod.
: "${state:?}"

volumes() {
    local number folder
    for number in 1 2 3 4 5 6 7 8; do
        folder=$state/volumes/$number
        mkdir -p "$folder"
        chmod 777 "$folder"
        cat <<YAML
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: folder-$number}
spec:
  capacity: {storage: 100Gi}
  accessModes: [ReadWriteOnce, ReadWriteMany]
  storageClassName: folder
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: $folder}
YAML
    done
}
volumes | kubectl apply -f - >/dev/null
