#!/usr/bin/env python3
"""The release's version, wherever it stands. Its source is `workspace.package.version` in Cargo.toml.

tools/version.py          print it, and fail where a place says something else
tools/version.py X.Y.Z    write it everywhere
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# file: patterns whose only group is the version. What is derived when it is built (wheel, soname, pkg-config, OpenAPI,
# `phishcnn --version`) is not here; docs/tests/test_version.py asks for it.
PLACES = {
    "Cargo.toml": [r'^version = "(.+)"', r'phishcnn-\w+ = \{ path = "\w+", version = "(.+?)"'],
    "charts/phishcnn/Chart.yaml": [r"^version: (.+)", r"^appVersion: (.+)"],
    "charts/phishcnn/values.yaml": [r"^version: (.+)"],
    "charts/phishcnn/README.md": [r'^\| `version` \| `"(.+?)"`'],
    "infra/ansible/roles/phishcnn/defaults/main.yml": [r"^phishcnn_version: (.+)"],
    "infra/docker/Containerfile": [r"--tag phishcnn:(\S+)", r"^ARG VERSION=(.+)"],
}
# Made by a program from one of these.
MADE = {
    "ffi/include/phishcnn.h": "make -C ffi header",
    "infra/tests/golden": "make -C infra golden",
    "docs/http-reference.md": "make figures",
}


def places() -> list[tuple[str, int, str]]:
    """(file, line, version) of each place; a pattern that fits nowhere is an error."""
    found = []
    for name, patterns in PLACES.items():
        text = (ROOT / name).read_text()
        for pattern in patterns:
            matches = list(re.finditer(pattern, text, re.M))
            if not matches:
                sys.exit(f"{name}: no version by {pattern}")
            found += [(name, text.count("\n", 0, m.start()) + 1, m[1]) for m in matches]
    return found


def write(version: str) -> None:
    for name, patterns in PLACES.items():
        text = (ROOT / name).read_text()
        for pattern in patterns:
            text = re.sub(pattern, lambda m: m[0].replace(m[1], version), text, flags=re.M)
        (ROOT / name).write_text(text)
    # The lock files name our own crates.
    for folder in (".", "benches", "core/fuzz", "core/tests/link_check", "ffi/tools"):
        command = ["cargo", "update", "--quiet", "--workspace"]
        subprocess.run(command, cwd=ROOT / folder, check=True)


def main() -> None:
    if len(sys.argv) == 2:
        if not re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?", sys.argv[1]):
            sys.exit(f"{sys.argv[1]}: X.Y.Z is needed")
        write(sys.argv[1])
        print("now:", "; ".join(dict.fromkeys(MADE.values())), "and CHANGELOG.md")
        return
    found = places()
    version = found[0][2]
    wrong = [f"{name}:{line} says {said}" for name, line, said in found if said != version]
    if wrong:
        sys.exit(f"Cargo.toml says {version}, but " + ", ".join(wrong))
    print(version)


if __name__ == "__main__":
    main()
