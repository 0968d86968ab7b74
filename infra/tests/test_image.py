"""The image, built and run without a daemon."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from chart import CHART, ROOT, find, objects
from conftest import HERE
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

FILE = ROOT / "infra/docker/Containerfile"


def buildah(*arguments):
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def sbom(binary):
    command = [HERE / ".venv/bin/python", ROOT / "infra/docker/sbom.py", binary]
    made = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert made[0] == made[1]
    return made[0]


@pytest.fixture(scope="module")
def image(binary, sbom, tmp_path_factory):
    assert shutil.which("buildah"), "buildah is missing: setup.sh installs it"
    context = tmp_path_factory.mktemp("context")
    (context / "target/release").mkdir(parents=True)
    shutil.copy(binary, context / "target/release/phishcnn")
    (context / "target/release/phishcnn.cdx.json").write_text(sbom)
    for licence in ROOT.glob("LICENSE*"):
        shutil.copy(licence, context)
    store = ["--root", str(context / "store"), "--runroot", str(context / "run"), "--storage-driver", "vfs"]
    build = ["build", "--isolation", "chroot", "--file", str(FILE), "--tag", "phishcnn-test", "--quiet", str(context)]
    buildah(*store, *build)
    return store


def test_image_is_small_and_runs_as_nobody(image, binary):
    configuration = json.loads(buildah(*image, "inspect", "--type", "image", "phishcnn-test"))["OCIv1"]
    assert configuration["config"]["User"] == "65532:65532"
    assert configuration["config"]["Entrypoint"] == ["/phishcnn"] and configuration["config"]["Cmd"] == ["serve"]
    version = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.split()[-1]
    assert configuration["config"]["Labels"]["org.opencontainers.image.version"] == version
    # The chart's pod runs as the same user, with the same arguments.
    pod = find(objects({}), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 65532 and pod["containers"][0]["args"] == ["serve"]


def test_image_runs_by_itself(image):
    """On an empty root: nothing of this machine can help the binary."""
    container = buildah(*image, "from", "phishcnn-test")
    run = [*image, "run", "--isolation", "chroot", container, "--", "/phishcnn"]
    answer = json.loads(buildah(*run, "score", "--format", "ndjson", "https://example.org/"))
    assert answer["verdict"] in ("benign", "suspicious", "phishing")
    digest = re.search(r"SHA-256 +([0-9a-f]{64})", buildah(*run, "model", "info"))[1]
    assert digest == yaml.safe_load((CHART / "values.yaml").read_text())["model"]["sha256"]


def test_bill_of_materials_lists_what_is_linked(image, sbom, binary):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None
    made = json.loads(sbom)
    kinds = {
        kind: [c for c in made["components"] if c["type"] == kind] for kind in ("library", "machine-learning-model")
    }
    listed = {(c["name"], c["version"]) for c in kinds["library"]}
    # The binary's own word: the paths of sources in its panic messages.
    found = re.findall(rb"/registry/src/[^/]+/([\w-]+?)-(\d[\w.+-]*)/src/", binary.read_bytes())
    linked = {(name.decode(), version.decode()) for name, version in found}
    assert len(linked) > 30 and linked <= listed
    # And nothing that only tests or builds.
    assert not {name for name, _ in listed} & {"criterion", "proptest", "pyo3", "syn", "cc", "tempfile"}
    # Crates from outside carry the digest of their archive and a licence.
    for component in kinds["library"]:
        assert component["licenses"] and ("hashes" in component or component["name"].startswith("phishcnn-"))
    [model] = kinds["machine-learning-model"]
    assert model["hashes"][0]["content"] == yaml.safe_load((CHART / "values.yaml").read_text())["model"]["sha256"]

    label = json.loads(buildah(*image, "inspect", "--type", "image", "phishcnn-test"))["OCIv1"]["config"]["Labels"]
    mount = buildah(*image, "mount", buildah(*image, "from", "phishcnn-test"))
    assert Path(mount + label["phishcnn.sbom"]).read_text() == sbom
