"""The DVC pipelines on made-up rows. The project's: every stage runs, a second run has nothing to do, a changed
parameter runs what depends on it and no more. That for own rows: it runs as it is, and its models pass the gate."""

import ast
import gzip
import hashlib
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
from phishcnn_train import card, export
from phishcnn_train.__main__ import main
from phishcnn_train.tokens import Tokens

LAYERS = 'layers = "embed bytes+parts+trigrams; conv c1 same relu; maxpool 2 ceil; conv c2 same relu; pool max+avg; dense d1 relu; dense d2'
SIZES = "embed = 4\ntrigrams = 64\nc1 = [3, 8]\nc2 = [3, 8]\nd1 = 8\nd2 = 1\nwords = 4096"
SMALL = {
    r"layers = .*dense d2": LAYERS,  # and n-grams where there are any
    r"(?s)\[sizes\].*?\n\n": f"[sizes]\n{SIZES}\n\n",
    r"epochs = .*": "epochs = 4",
    r"batch = .*": "batch = 64",
    r"buckets = .*": "buckets = [64, 256]",
    r"start = .*": 'start = ""',
}
CROSSED = "models/phishcnn-compact.cross_source.json"


@pytest.fixture
def folder(tmp_path):
    """A copy of the pipeline in a git repository, with small networks, files of made-up rows and the gates of mine/,
    which hold without floors."""
    folder = tmp_path / "weights"
    (folder / "data").mkdir(parents=True)
    (folder / "models").mkdir()
    for name in ("dvc.yaml", "DATA.md", "known_sites.txt", CROSSED):
        shutil.copy(WEIGHTS / name, folder / name)
    for name in ("phishcnn_train", "fixtures", "teachers", "baselines"):
        shutil.copytree(WEIGHTS / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("compact", "large"):
        (folder / f"{name}.toml").write_text(small(WEIGHTS / f"{name}.toml").replace("passes = 0", "passes = 2"))
    seen = set()  # what is judged by may not be trained on
    for seed, name in enumerate(("train", "valid", "test", "test_domains", "cross_openphish")):
        lines = synthetic.write(folder / name, 2400, seed).read_text().splitlines(keepends=True)
        if seed > 2:  # phishing alone
            lines = lines[1::2]
        forms = [phishcnn.canonicalize(line.split("\t")[1]) for line in lines]
        with gzip.open(folder / "data" / f"{name}.tsv.gz", "wt") as file:
            file.writelines(line for line, form in zip(lines, forms, strict=True) if form not in seen)
        seen |= set(forms)
    plan = (WEIGHTS / "mine" / "evaluation.toml").read_text()
    plan = plan.replace('valid = "valid.tsv.gz"\n', "").replace("rows = 4000", "rows = 50")
    (folder / "evaluation.toml").write_text(plan)
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("/.jit\n/.site\n/cache\n/data\n__pycache__\n")
    dvc(folder, "init", "--subdir", "--quiet")
    return folder


def small(path):
    """The parameters of that file with a small network."""
    text = path.read_text()
    for old, new in SMALL.items():
        text, count = re.subn(old, lambda m: new, text, count=1)  # noqa: B023
        assert count == 1, old
    return text


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *words], cwd=folder, check=True)


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


def ran(told):
    return set(re.findall(r"Running stage '([^']+)'", told))


def test_the_pipeline_runs_repeats_and_follows_its_parameters(folder, tmp_path):
    first_run = ran(dvc(folder, "repro"))
    assert {"check", "judge@compact", "judge@large"} <= first_run and not [r for r in first_run if "baselines" in r]
    assert "<html" in (folder / "cache" / "report" / "index.html").read_text()[:500].lower()
    shown = json.loads(dvc(folder, "metrics", "show", "--json").splitlines()[0])[""]["data"]
    told = json.loads((folder / "cache" / "models" / "phishcnn-compact.metrics.json").read_text())
    assert (
        shown["cache/models/phishcnn-compact.headlines.json"]["data"]["test"]["auc"]
        == told["sets"]["test"]["engine"]["auc"]
    )
    assert told["cross_source"] == json.loads((folder / CROSSED).read_text())
    large = folder / "cache" / "models" / "phishcnn-large.safetensors"
    told_large = json.loads(large.with_suffix(".metrics.json").read_text())
    adds = told_large["cost"]["multiply_adds_64"]
    assert adds > told["cost"]["multiply_adds_64"]  # each channel of its embedding twice
    assert f"| Multiply-adds | {adds:,} for 64 tokens |" in card.text(large, told_large, None)
    model = folder / "cache" / "models" / "phishcnn-compact.safetensors"
    first = model.read_bytes()
    judged = json.loads((folder / "cache" / "models" / "phishcnn-compact.judged.json").read_text())
    assert all(c["passed"] for c in judged["checks"]) and judged["sha256"] == told["sha256"]
    assert judged["too_few_rows"] == [
        "test: recall at FPR 1 %",
        "test: recall at FPR 0.1 %",
        *judged["too_few_rows"][2:],
    ]
    plan = (folder / "evaluation.toml").read_text().replace("calibration_error = 0.1", "calibration_error = 0.0")
    (tmp_path / "strict.toml").write_text(plan)
    assert main(["judge", str(model), "--plan", str(tmp_path / "strict.toml")]) == 1

    again = dvc(folder, "repro")
    assert "Running" not in again and "up to date" in again

    text = (folder / "compact.toml").read_text()
    (folder / "compact.toml").write_text(re.sub(r"peak_lr = \S+", "peak_lr = 7e-4", text))
    second_run = ran(dvc(folder, "repro"))
    assert "train@compact" in second_run and "evaluate@compact" in second_run
    kept = {"check", "prepare", "opinion", "tokenize@compact"}
    assert not {r for r in second_run if r.endswith("@large")} - {"judge@large"} and not second_run & kept
    assert model.read_bytes() != first

    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")
    varied = ran(dvc(folder, "exp", "run", "-S", "compact.toml:version=9.0.0"))
    assert "export@compact" in varied and "evaluate@compact" in varied and "train@compact" not in varied
    assert not [r for r in varied if "baselines" in r]
    assert phishcnn.Model.load(model).info["phishcnn.version"] == "9.0.0"


def test_own_rows_need_nothing_but_a_name(tmp_path, monkeypatch, capsys):
    """mine/ as it is, beside the package; its network alone is a small one here."""
    made = shutil.ignore_patterns("__pycache__", "build", "cache", "data", "models", "CHANGELOG.md", "rows.tsv")
    for name in ("phishcnn_train", "fixtures", "mine", "teachers"):
        shutil.copytree(WEIGHTS / name, tmp_path / name, ignore=made)
    for name in ("DATA.md", "evaluation.toml"):
        shutil.copy(WEIGHTS / name, tmp_path)
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
    assert "ours" in (mine / "build" / "report" / "index.html").read_text()
    assert json.loads((mine / "build" / "ours.judged.json").read_text())["checks"]
    assert "urls_in_train" in (mine / "cache" / "check.json").read_text()
    again = dvc(mine, "repro")
    assert "Running" not in again and "up to date" in again
    networks_teach(mine, monkeypatch)
    for today, stale in (("2025-06", 0), ("2026-06", 1)):
        assert main(["staleness", str(mine / "build" / "ours.metrics.json"), "--today", today]) == stale
    the_gate_judges(mine, monkeypatch, capsys)


def networks_teach(mine, monkeypatch):
    """The table that mine.toml has as a remark, as it stands there: labels are then no longer 0 and 1 alone."""
    text = (mine / "mine.toml").read_text()
    remark = text[text.index("# [teach]") :]
    (mine / "taught.toml").write_text(text.replace(remark, remark.replace("# ", "", 1).replace("\n# ", "\n")))
    monkeypatch.chdir(mine)
    labels = []
    for name in ("mine", "taught"):
        assert main(["tokenize", "--params", f"{name}.toml", "--work", f"cache/{name}"]) == 0
        labels.append(Tokens.load(mine / "cache" / name / "train.npz"))
    plain, taught = labels
    moved = taught.labels != plain.labels
    assert (moved == ~plain.certain).mean() > 0.99 and abs(taught.labels - plain.labels).max() <= 0.6


def the_gate_judges(mine, monkeypatch, capsys):
    """A user's model passes as the first one, and with a higher version against itself; not with a fault."""
    monkeypatch.chdir(mine)
    command = ["release", "build/ours.safetensors", "--params", "mine.toml", "--plan", "evaluation.toml"]
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "a first release" in told and "not judged, too few rows: test: recall at FPR 1 %; test: recall" in told
    first = (mine / "models" / "ours.safetensors").read_bytes()
    assert first == (mine / "build" / "ours.safetensors").read_bytes()
    assert "- Model `ours` 0.1.0" in (mine / "CHANGELOG.md").read_text()

    assert main(command) == 1 and "the candidate is the current model" in capsys.readouterr().err
    file, metrics = mine / "build" / "ours.safetensors", mine / "build" / "ours.metrics.json"
    tensors, metadata = export.read(file)
    file.write_bytes(export.encode(tensors, metadata | {"phishcnn.version": "0.2.0"}))
    new = {"version": "0.2.0", "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    told = json.loads(metrics.read_text()) | new
    told["relations"]["equal"]["www."]["same"] -= 1
    metrics.write_text(json.dumps(told))
    assert main(command) == 1 and re.search(r"www\.: 1 of \d+ logits change", capsys.readouterr().err)
    told["relations"]["equal"]["www."]["same"] += 1
    metrics.write_text(json.dumps(told))
    assert (mine / "models" / "ours.safetensors").read_bytes() == first
    assert main(command) == 0 and "best-known sites: flagged at `suspicious`" in capsys.readouterr().out
    assert phishcnn.Model.load(mine / "models" / "ours.safetensors").info["phishcnn.version"] == "0.2.0"
    assert (mine / "CHANGELOG.md").read_text().count("- Model `ours`") == 2


# The modules of a stage that is not called as its module, or that has further ones. What an imported module imports in
# turn is not asked for: a change of what draws the report may not train again.
MODULES = {
    "check": ("schema",),
    "tokenize": ("tokens", "teach"),
    "report": ("report", "pictures"),
    "judge": ("release",),
    "dephides": ("tokens", "train", "calibrate", "export"),
}


def test_a_failing_check_says_why(tmp_path, capsys):
    """Its JSON goes into a file."""
    for name, tag in (("good", "login"), ("bad", "Log In")):
        (tmp_path / name).write_text(f"0\thttp://a.com/\ts\t2024-01\ta.com\t{tag}\n1\thttp://b.com/{name}\n")
    files = [str(tmp_path / "good"), str(tmp_path / "bad")]
    assert main(["check-data", *files, "--train", files[0]]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{files[0]}: 2 URLs are training rows, too",
        f"{files[1]}: tags that are no words: ['Log In']",
        f"{files[1]}: 1 URLs are training rows, too",
    ]
    assert main(["check-data", "--tell", *files, "--train", files[0]]) == 0
    assert "tags that are no words" in capsys.readouterr().err
    assert main(["check-data", "--tell", str(tmp_path / "nowhere")]) == 1


@pytest.mark.parametrize("file, stages", [("dvc.yaml", 11), ("baselines/dvc.yaml", 3)])
def test_a_stage_depends_on_its_module_and_all_that_this_imports(file, stages):
    found = yaml.safe_load((WEIGHTS / file).read_text())["stages"]
    assert len(found) == stages
    for name, stage in found.items():
        for module in MODULES.get(name, (name,)):
            needed = {module}
            for node in ast.walk(ast.parse((WEIGHTS / "phishcnn_train" / f"{module}.py").read_text())):
                if isinstance(node, ast.ImportFrom) and node.level == 1:
                    needed |= {node.module} if node.module else {alias.name for alias in node.names}
            needed -= {"typed", "params"}  # types; how parameters are read, not what they are
            missing = {f"phishcnn_train/{m}.py" for m in needed} - set(stage.get("do", stage)["deps"])
            assert not missing, f"{name}: {missing}"
    judged = found["evaluate"].get("do", found["evaluate"])["deps"]
    assert {"fixtures/top_sites.tsv", "fixtures/valid_sites.tsv", "known_sites.txt"} <= set(judged)
