"""Writes the image's bill of materials (CycloneDX 1.6): every crate linked into the binary, and the built-in model.

    sbom.py BINARY [TARGET] >phishcnn.cdx.json

The crates are cargo's own resolution of Cargo.lock for the target and its features, without those that only build or test.
Same inputs, same bytes. (cargo-cyclonedx would do the crates too, after minutes of compiling, but not the model.)
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "phishcnn-server"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def checksums() -> dict[tuple[str, str], str]:
    """SHA-256 of each crate's archive, from Cargo.lock."""
    text = (ROOT / "Cargo.lock").read_text()
    entry = r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(\w+)"'
    return {(name, version): digest for name, version, digest in re.findall(entry, text)}


def bom(binary: str, target: str) -> Bom:
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={target}"))
    packages = {package["id"]: package for package in metadata["packages"]}
    # What is linked: not what builds, tests or runs in the compiler, and no feature that only another
    # member of the workspace turns on, which is why the metadata's own graph is too much.
    tree = ["cargo", "tree", "--locked", f"--package={PACKAGE}", "--edges=normal,no-proc-macro", "--prefix=none"]
    lines = run(*tree, f"--target={target}", "--format={p}").splitlines()
    linked = {tuple(line.split()[:2]) for line in lines if line}
    found = {i for i, package in packages.items() if (package["name"], f"v{package['version']}") in linked}
    [root] = [i for i in found if packages[i]["name"] == PACKAGE]
    edges = {
        node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        for node in metadata["resolve"]["nodes"]
    }

    digests = checksums()

    def component(package: dict) -> Component:
        name, version = package["name"], package["version"]
        purl = PackageURL("cargo", name=name, version=version)
        digest = digests.get((name, version))
        # Some older crates write `MIT/Apache-2.0`, which SPDX calls OR.
        licence = (package["license"] or "NOASSERTION").replace("/", " OR ")
        return Component(
            type=ComponentType.APPLICATION if package["id"] == root else ComponentType.LIBRARY,
            name=name,
            version=version,
            purl=purl,
            bom_ref=str(purl),
            licenses=[LicenseExpression(licence)],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
        )

    made = {one: component(packages[one]) for one in found}
    info = dict(re.findall(r"^(\S.*?)  +(.+)$", run(binary, "model", "info"), re.M))
    name, version = info["name"].rsplit(" ", 1)
    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        version=version,
        bom_ref=f"model:{info['SHA-256']}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=info["SHA-256"])],
    )
    out = Bom(components=[*(made[one] for one in found if one != root), model])
    out.metadata.component = made[root]
    for one in found:
        out.register_dependency(made[one], [made[d] for d in edges[one] if d in made] + [model] * (one == root))
    return out


def text(binary: str, target: str) -> str:
    made = json.loads(JsonV1Dot6(bom(binary, target)).output_as_string())
    # Time and chance out of it.
    del made["metadata"]["timestamp"]
    del made["serialNumber"]
    made["serialNumber"] = uuid5(NAMESPACE_URL, json.dumps(made, sort_keys=True)).urn
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    host = re.search(r"^host: (.+)$", run("rustc", "-vV"), re.M)[1]
    sys.stdout.write(text(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else host))
