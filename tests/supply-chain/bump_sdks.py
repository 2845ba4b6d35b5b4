#!/usr/bin/env python3
"""Pins the newest versions of Sentry's SDKs: `make bump-sdks`.

A package of npm that is named after its major version (`browser-8`) stays at that version; any other has the newest of
all. Each lock file, and Python's hashes, are made anew; whatever is no SDK stays as it is.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NPM = [ROOT / "tests" / folder for folder in ("sdks", "apps/vue", "apps/astro")]
PYTHON = ROOT / "tests" / "apps" / "python" / "requirements.in"
STABLE = re.compile(r"\d+(\.\d+)*")


def newest(versions: Sequence[str], major: str = "") -> str:
    """The newest version that is no pre-release; of one major version, if there is one."""
    stable = [version for version in versions if STABLE.fullmatch(version)]
    wanted = [version for version in stable if not major or version.split(".")[0] == major]
    if not wanted:
        raise SystemExit(f"there is no version {major} in {versions}")
    return max(wanted, key=lambda version: [int(part) for part in version.split(".")])


def bumped(name: str, spec: str, versions_of) -> str:
    """What a dependency of npm becomes: `10.78.0`, or `npm:@sentry/browser@10.78.0` under a name of its own."""
    alias = re.fullmatch(r"npm:(@sentry/[a-z-]+)@.*", spec)
    if alias:
        major = re.search(r"-(\d+)$", name)
        return f"npm:{alias[1]}@{newest(versions_of(alias[1]), major[1] if major else '')}"
    return newest(versions_of(name)) if name.startswith("@sentry/") else spec


def versions_of(package: str) -> list[str]:
    told = subprocess.run(["npm", "view", package, "versions", "--json"], check=True, capture_output=True, text=True)
    versions = json.loads(told.stdout)
    return versions if isinstance(versions, list) else [versions]


def bump_npm(folder: Path) -> None:
    path = folder / "package.json"
    package = json.loads(path.read_text())
    before = dict(package["dependencies"])
    package["dependencies"] = {name: bumped(name, spec, versions_of) for name, spec in before.items()}
    changes = [f"{name} {before[name]} -> {spec}" for name, spec in package["dependencies"].items() if before[name] != spec]
    print("\n".join(changes) or f"{folder.relative_to(ROOT)}: nothing newer")
    if changes:
        path.write_text(json.dumps(package, indent=2) + "\n")
        lock = ["npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(lock, cwd=folder, check=True)


def bump_python() -> None:
    # pip says what it would install, without installing it.
    dry = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:", "--report", "-"]
    told = subprocess.run([sys.executable, "-m", "pip", *dry, "sentry-sdk"], check=True, capture_output=True, text=True)
    version = json.loads(told.stdout)["install"][0]["metadata"]["version"]
    text = PYTHON.read_text()
    PYTHON.write_text(re.sub(r"(?m)^sentry-sdk==.*$", f"sentry-sdk=={version}", text))
    print(f"sentry-sdk {version}")
    subprocess.run(["sh", ROOT / "tests" / "supply-chain" / "lock.sh"], check=True, env=os.environ)


if __name__ == "__main__":
    for each in NPM:
        bump_npm(each)
    bump_python()
    print("Now `make sdks` tries them and writes docs/compatibility.md.")
