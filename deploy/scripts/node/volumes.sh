# shellcheck shell=bash
# Sourced by init.sh. Makes volumes that any claim may bind. They are folders with write access for every user, because
# nothing gives a folder of the machine to the user of a Pod.
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
