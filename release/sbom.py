"""The SBOM of the binary, CycloneDX 1.5: each crate that is linked into it, and the model.

python release/sbom.py > phishcnn.cdx.json
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "weights/models/phishcnn-compact.safetensors"
TARGET = "x86_64-unknown-linux-gnu"


def main() -> None:
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    (root,) = (i for i, package in packages.items() if package["name"] == "phishcnn-server")
    checksums = {
        (p["name"], p["version"]): p["checksum"]
        for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
        if "checksum" in p
    }

    linked: dict[str, list[str]] = {}
    waiting = [root]
    while waiting:
        current = waiting.pop()
        if current not in linked:
            # Not what only tests or build scripts use, nor their own dependencies.
            linked[current] = sorted(
                d["pkg"] for d in nodes[current]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])
            )
            waiting += linked[current]

    def purl(package: dict[str, Any]) -> str:
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {
            "type": "library",
            "bom-ref": purl(package),
            "name": package["name"],
            "version": package["version"],
            "purl": purl(package),
        }
        if package["license"]:
            told["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if digest := checksums.get((package["name"], package["version"])):
            told["hashes"] = [{"alg": "SHA-256", "content": digest}]
        return told

    others = sorted((packages[i] for i in linked if i != root), key=purl)
    model = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    version = packages[root]["version"]
    binary = {"type": "application", "bom-ref": "phishcnn", "name": "phishcnn", "version": version}
    time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'phishcnn@{version}#{model}')}",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": binary},
        "components": [
            *map(component, others),
            {
                "type": "machine-learning-model",
                "bom-ref": "model",
                "name": MODEL.stem,
                "hashes": [{"alg": "SHA-256", "content": model}],
            },
        ],
        "dependencies": [
            {"ref": "phishcnn", "dependsOn": [*sorted(purl(packages[d]) for d in linked[root]), "model"]},
            *({"ref": purl(p), "dependsOn": sorted(purl(packages[d]) for d in linked[p["id"]])} for p in others),
        ],
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
