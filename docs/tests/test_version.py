"""One version: every place, file and program says what Cargo.toml says."""

import re
import shutil
import subprocess
import sys
import tomllib

import generate
import phishcnn
import pytest
import yaml
from conftest import ROOT

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]


def version(folder, *arguments):
    return subprocess.run([sys.executable, folder / "tools/version.py", *arguments], capture_output=True, text=True)


def test_places():
    done = version(ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, VERSION), done.stderr


def test_what_is_derived(binary):
    assert subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip() == f"phishcnn {VERSION}"
    assert phishcnn.__version__ == VERSION
    assert generate.openapi()["info"]["version"] == VERSION
    header = (ROOT / "ffi/include/phishcnn.h").read_text()
    major, minor, patch = map(int, VERSION.split("-")[0].split("."))
    assert f'#define PHISHCNN_VERSION "{VERSION}"' in header
    assert f"#define PHISHCNN_VERSION_NUMBER {major * 1_000_000 + minor * 1_000 + patch}\n" in header
    # In the images that the golden renders run.
    for golden in (ROOT / "infra/tests/golden").glob("*.yaml"):
        assert f"phishcnn:{VERSION}" in golden.read_text() or "@sha256:" in golden.read_text(), golden.name


def test_crates_inherit_it():
    members = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    for member in members:
        package = tomllib.loads((ROOT / member / "Cargo.toml").read_text())["package"]
        assert package["version"] == {"workspace": True}, member


def test_changelog_names_it_or_is_ahead():
    assert re.search(rf"^## ({re.escape(VERSION)}\b|Unreleased)", (ROOT / "CHANGELOG.md").read_text(), re.M)


@pytest.fixture
def copy(tmp_path):
    """The files that hold the version, and the lock files."""
    listed = subprocess.run(
        ["git", "ls-files", "*Cargo.toml", "*Cargo.lock", "tools", "charts", "infra", "*.rs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_bump_reaches_every_place(copy):
    done = version(copy, "7.8.9")
    assert done.returncode == 0, done.stderr
    assert version(copy).stdout.strip() == "7.8.9"
    assert yaml.safe_load((copy / "charts/phishcnn/Chart.yaml").read_text())["appVersion"] == "7.8.9"
    lock = tomllib.loads((copy / "Cargo.lock").read_text())["package"]
    assert {p["version"] for p in lock if p["name"].startswith("phishcnn-")} == {"7.8.9"}
    assert version(copy, "7.8").returncode != 0


@pytest.mark.parametrize("place", ["charts/phishcnn/Chart.yaml", "infra/docker/Containerfile"])
def test_a_disagreement_is_found(copy, place):
    text = (copy / place).read_text()
    (copy / place).write_text(text.replace(VERSION, "9.9.9", 1))
    done = version(copy)
    assert done.returncode != 0 and f"{place}:" in done.stderr and "9.9.9" in done.stderr
