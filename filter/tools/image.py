"""Makes OCI images of the module without a container engine, byte for byte the same each time:

    image.py MODULE FOLDER VERSION
    image.py LIBRARY FOLDER VERSION amd64|arm64

- FOLDER/artifact: the module itself is the layer (application/vnd.module.wasm.content.layer.v1+wasm);
- FOLDER/image: a layer with plugin.wasm in it, which every registry takes; Istio and Envoy Gateway read both;

or, for the dynamic module of an architecture,

- FOLDER/native-ARCHITECTURE: a layer with libsentry_filter.so in it, for an image volume of Kubernetes or an init container;

each as an OCI layout (a folder) and as a tar of it, for `skopeo copy oci-archive:….tar docker://REGISTRY/NAME:TAG`. Prints the digests of the manifests, which
are the `sha256` in the files of Istio and Envoy Gateway, and that of the module.
"""

import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Layout:
    """An OCI layout in the making: blobs by their digest."""

    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "blobs/sha256").mkdir(parents=True)

    def add(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def finish(self, config, layer, version):
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config,
            "layers": [layer],
            "annotations": {
                "org.opencontainers.image.title": "sentry-filter",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        }
        descriptor = self.add(MANIFEST, compact(manifest))
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": version}
        (self.folder / "index.json").write_bytes(compact({"schemaVersion": 2, "manifests": [descriptor]}))
        (self.folder / "oci-layout").write_bytes(compact({"imageLayoutVersion": "1.0.0"}))
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}
        self.folder.with_suffix(".tar").write_bytes(tar(files))
        return descriptor["digest"]


def artifact(module, folder, version):
    layout = Layout(folder)
    config = layout.add("application/vnd.module.wasm.config.v1+json", b"{}")
    layer = layout.add("application/vnd.module.wasm.content.layer.v1+wasm", module)
    return layout.finish(config, layer, version)


def image(module, folder, version, name="plugin.wasm", platform=("wasm", "wasip1")):
    layout = Layout(folder)
    files = tar({name: module})
    config = {
        "architecture": platform[0],
        "os": platform[1],
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(files).hexdigest()}"]},
    }
    config = layout.add("application/vnd.oci.image.config.v1+json", compact(config))
    layer = layout.add("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(files, mtime=0))
    return layout.finish(config, layer, version)


def tar(files):
    """No owner, no time: nothing in it but names and contents."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main(module, folder, version, architecture=None):
    module, folder = pathlib.Path(module).read_bytes(), pathlib.Path(folder)
    if architecture:
        name = f"native-{architecture}"
        digest = image(module, folder / name, version, "libsentry_filter.so", (architecture, "linux"))
        print(f"{name} {digest}  {folder / name}.tar")
        return
    print(f"module    sha256:{hashlib.sha256(module).hexdigest()}")
    for name, make in (("artifact", artifact), ("image", image)):
        print(f"{name:<9} {make(module, folder / name, version)}  {folder / name}.tar")


if __name__ == "__main__":
    main(*sys.argv[1:])
