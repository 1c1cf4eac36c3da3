"""Writes an image in the format of `docker save`: image.py OUT NAME CONFIG LAYER...

CONFIG is the JSON of the image's `config` (Entrypoint, Env, User, ...); each LAYER is an uncompressed tar.
"""

import hashlib
import io
import json
import sys
import tarfile

out, name, config, *layers = sys.argv[1:]


def digest(path):
    with open(path, "rb") as layer:
        return hashlib.file_digest(layer, "sha256").hexdigest()


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


digests = [digest(layer) for layer in layers]
image = json.dumps({
    "architecture": "amd64",
    "os": "linux",
    "config": json.loads(config),
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in digests]},
}).encode()
config_name = hashlib.sha256(image).hexdigest() + ".json"
manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [d + "/layer.tar" for d in digests]}]

with tarfile.open(out, "w") as archive:
    add(archive, config_name, image)
    for layer, layer_digest in zip(layers, digests):
        archive.add(layer, layer_digest + "/layer.tar")
    add(archive, "manifest.json", json.dumps(manifest).encode())
