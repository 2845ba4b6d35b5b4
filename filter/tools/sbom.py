"""Makes of cargo-sbom's list of parts one that is the same each time, and complete:

    cargo-sbom … | sbom.py > sbom.cdx.json

- no serial number and no time: what was made of the same parts has the same list;
- everything in a fixed order, and no path of the machine that it was made on;
- the vendored crate, which cargo takes for one of ours, with its address (purl), where it comes from and that it was changed.
"""

import json
import sys

VENDORED = {
    "proxy-wasm": {
        "purl": "pkg:cargo/proxy-wasm@{version}",
        "patch": "filter/vendor/README.md says what is changed",
    },
}


def tidy(bom):
    bom.pop("serialNumber", None)
    metadata = bom.get("metadata", {})
    metadata.pop("timestamp", None)
    names = {}
    for component in [*components(bom), metadata.get("component", {})]:
        old = component.get("bom-ref")
        name, version = component.get("name"), component.get("version")
        if name in VENDORED:
            purl = VENDORED[name]["purl"].format(version=version)
            component["purl"] = purl
            component["pedigree"] = {
                "ancestors": [{"type": "library", "name": name, "version": version, "purl": purl}],
                "notes": VENDORED[name]["patch"],
            }
        new = component.get("purl") or f"pkg:cargo/{name}@{version}"
        if old:
            names[old] = new
            component["bom-ref"] = new
    for dependency in bom.get("dependencies", []):
        dependency["ref"] = names.get(dependency["ref"], dependency["ref"])
        dependency["dependsOn"] = sorted(names.get(other, other) for other in dependency.get("dependsOn", []))
    bom["components"] = sorted(bom.get("components", []), key=lambda component: component["bom-ref"])
    bom["dependencies"] = sorted(bom.get("dependencies", []), key=lambda dependency: dependency["ref"])
    return bom


def components(bom):
    for component in bom.get("components", []):
        yield component
        yield from component.get("components", [])


if __name__ == "__main__":
    print(json.dumps(tidy(json.load(sys.stdin)), indent=2, sort_keys=True))
