#!/bin/sh
# The image of the dynamic module is the same twice, and skopeo, which had no part in making it, gets the module out of it: check_native.sh LIBRARY FOLDER VERSION
set -eu

library=$1
images=$2
version=$3
python=${PYTHON:-python3}
skopeo=${SKOPEO:-/usr/bin/skopeo}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" filter/tools/image.py "$library" "$work/again" "$version" amd64 >/dev/null
cmp "$images/native-amd64.tar" "$work/again/native-amd64.tar"
"$skopeo" --insecure-policy copy --quiet "oci-archive:$images/native-amd64.tar:$version" "dir:$work/image"
"$python" - "$work/image" "$work/libsentry_filter.so" <<'PYTHON'
import io, json, pathlib, sys, tarfile

folder, to = map(pathlib.Path, sys.argv[1:])
manifest = json.loads((folder / "manifest.json").read_bytes())
config = json.loads((folder / manifest["config"]["digest"].removeprefix("sha256:")).read_bytes())
assert (config["os"], config["architecture"]) == ("linux", "amd64"), config
(layer,) = manifest["layers"]
data = (folder / layer["digest"].removeprefix("sha256:")).read_bytes()
to.write_bytes(tarfile.open(fileobj=io.BytesIO(data)).extractfile("libsentry_filter.so").read())
PYTHON
cmp "$library" "$work/libsentry_filter.so"
echo "native-amd64: the same twice, read by skopeo"
