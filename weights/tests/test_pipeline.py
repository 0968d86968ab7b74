"""The DVC pipelines on made-up rows. The project's: every stage runs, a second run has nothing to do, a changed
parameter runs what depends on it and no more. That for own rows: it runs as it is."""

import ast
import gzip
import json
import os
import re
import shutil
import subprocess
import sys

import phishcnn
import pytest
import synthetic
import yaml
from conftest import WEIGHTS

LAYERS = 'layers = "embed bytes+parts; conv c1 same relu; maxpool 2 ceil; conv c2 same relu; pool max+avg; dense d1 relu; dense d2"'
SMALL = {
    r"layers = .*": LAYERS,
    r"(?s)\[sizes\].*?\n\n": "[sizes]\nembed = 4\nc1 = [3, 8]\nc2 = [3, 8]\nd1 = 8\nd2 = 1\n\n",
    r"epochs = .*": "epochs = 4",
    r"batch = .*": "batch = 64",
    r"buckets = .*": "buckets = [64, 256]",
    r"start = .*": 'start = ""',
}
PLAN = '\n[mutations]\nset = "test"\nrows = 50\n'


@pytest.fixture
def folder(tmp_path):
    """A copy of the pipeline with small networks and four files of made-up rows."""
    for name in ("dvc.yaml", "DATA.md", "known_sites.txt"):
        shutil.copy(WEIGHTS / name, tmp_path)
    for name in ("phishcnn_train", "fixtures", "teachers"):
        shutil.copytree(WEIGHTS / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("compact", "large"):
        (tmp_path / f"{name}.toml").write_text(small(WEIGHTS / f"{name}.toml"))
    (tmp_path / "data").mkdir()
    seen = set()  # what is judged by may not be trained on
    for seed, name in enumerate(("train", "valid", "test")):
        lines = synthetic.write(tmp_path / name, 2400, seed).read_text().splitlines(keepends=True)
        forms = [phishcnn.canonicalize(line.split("\t")[1]) for line in lines]
        with gzip.open(tmp_path / "data" / f"{name}.tsv.gz", "wt") as file:
            file.writelines(line for line, form in zip(lines, forms, strict=True) if form not in seen)
        seen |= set(forms)
    (tmp_path / "evaluation.toml").write_text('[sets]\ntest = "test.tsv.gz"\n' + PLAN)
    dvc(tmp_path, "init", "--no-scm", "--quiet")
    return tmp_path


def small(path):
    """The parameters of that file with a small network."""
    text = path.read_text()
    for old, new in SMALL.items():
        text, count = re.subn(old, lambda m: new, text, count=1)  # noqa: B023
        assert count == 1, old
    return text


def dvc(folder, *words):
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / ".jit"),  # two models of one shape compile once
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_pipeline_runs_repeats_and_follows_its_parameters(folder):
    dvc(folder, "repro")
    assert "<html" in (folder / "cache" / "report" / "index.html").read_text()[:500].lower()
    shown = json.loads(dvc(folder, "metrics", "show", "--json").splitlines()[0])[""]["data"]
    told = json.loads((folder / "cache" / "models" / "phishcnn-compact.metrics.json").read_text())
    assert (
        shown["cache/models/phishcnn-compact.headlines.json"]["data"]["test"]["auc"]
        == told["sets"]["test"]["engine"]["auc"]
    )
    model = folder / "cache" / "models" / "phishcnn-compact.safetensors"
    first = model.read_bytes()

    again = dvc(folder, "repro")
    assert "Running" not in again and "up to date" in again

    text = (folder / "compact.toml").read_text()
    (folder / "compact.toml").write_text(re.sub(r"peak_lr = \S+", "peak_lr = 7e-4", text))
    ran = set(re.findall(r"Running stage '([^']+)'", dvc(folder, "repro")))
    assert "train@compact" in ran and "evaluate@compact" in ran
    kept = {"check", "prepare", "opinion", "tokenize@compact"}
    assert not {r for r in ran if r.endswith("@large")} and not ran & kept
    assert model.read_bytes() != first


def test_own_rows_need_nothing_but_a_name(tmp_path):
    """mine/ as it is, beside the package; its network alone is a small one here."""
    made = shutil.ignore_patterns("__pycache__", "build", "cache", "data", "rows.tsv")
    for name in ("phishcnn_train", "fixtures", "mine"):
        shutil.copytree(WEIGHTS / name, tmp_path / name, ignore=made)
    shutil.copy(WEIGHTS / "evaluation.toml", tmp_path)
    (tmp_path / "known_sites.txt").write_text("example.com example.org\n")  # so many pages take time
    mine = tmp_path / "mine"
    text = small(mine / "mine.toml").replace('name = "mine"', 'name = "ours"').replace('"2025-03"', '"2024-12"')
    (mine / "mine.toml").write_text(text)
    synthetic.write(mine / "rows.tsv", 3000, 1)
    dvc(mine, "repro")
    info = phishcnn.Model.load(mine / "build" / "ours.safetensors").info
    assert info["phishcnn.name"] == "ours" and info["phishcnn.trained_until"] == "2024-12"
    told = json.loads((mine / "build" / "ours.metrics.json").read_text())
    assert told["sets"].keys() == {"test", "valid"} and told["sets"]["test"]["engine"]["auc"] > 0.9
    card = (mine / "build" / "ours.md").read_text()
    assert "Recall at FPR 1 % / 0.1 %, before and after quantisation" in card and "`rows.tsv`" in card
    again = dvc(mine, "repro")
    assert "Running" not in again and "up to date" in again


MODULES = {"check": ("schema",), "tokenize": ("tokens", "teach")}  # of a stage that is not called as its module


def test_a_stage_depends_on_its_module_and_all_that_this_imports():
    stages = yaml.safe_load((WEIGHTS / "dvc.yaml").read_text())["stages"]
    assert len(stages) == 10
    for name, stage in stages.items():
        for module in MODULES.get(name, (name,)):
            needed = {module}
            for node in ast.walk(ast.parse((WEIGHTS / "phishcnn_train" / f"{module}.py").read_text())):
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    needed |= {node.module} if node.module else {alias.name for alias in node.names}
            needed -= {"typed", "params"}  # types; how parameters are read, not what they are
            missing = {f"phishcnn_train/{m}.py" for m in needed} - set(stage["deps"])
            assert not missing, f"{name}: {missing}"
