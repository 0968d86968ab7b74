"""The gate refuses what is worse and publishes what is not; the report and the cards say what the metrics say."""

import copy
import dataclasses
import hashlib
import html
import json
import math
import random
import re
import shutil
import tomllib

import pytest
from conftest import WEIGHTS
from phishcnn_train import card, pictures, release, report, staleness, tables, top_sites
from phishcnn_train.__main__ import main
from phishcnn_train.metrics import share
from phishcnn_train.params import Params

MODELS = WEIGHTS / "models"
PLAN = tomllib.loads((WEIGHTS / "evaluation.toml").read_text())
NAME = "phishcnn-compact"


@pytest.fixture
def current() -> dict:
    """The released model's metrics, as an old version's."""
    return json.loads((MODELS / f"{NAME}.metrics.json").read_text()) | {"version": "0.1.0"}


@pytest.fixture
def candidate(current) -> dict:
    new = copy.deepcopy(current)
    new |= {"version": "0.2.0", "sha256": "0" * 64}
    return new


def spoil(metrics: dict, points: float, *path, rows: int) -> None:
    """Takes away so many points of a count of hits out of `rows`."""
    *way, last = path
    for key in way:
        metrics = metrics[key]
    metrics[last] = max(0, min(rows, round(metrics[last] - points / 100 * rows)))


def spoil_recall(metrics: dict, rate: str, points: float) -> None:
    """Takes so many points from the recall on `test`, and about as many in each sample."""
    engine = metrics["sets"]["test"]["engine"]
    point = engine["recall_at_fpr"][rate]
    spoil(point, points, "tp", rows=engine["phishing_rows"])
    rng = random.Random(1)
    point["resampled"] = [recall - points / 100 + rng.gauss(0, 0.004) for recall in point["resampled"]]


def test_an_equal_model_passes(candidate, current):
    judged = release.check(candidate, current, PLAN)
    assert len(judged) > 30 and {j.verdict for j in judged} == {"same"}


def test_worse_beyond_the_interval_is_refused_and_named(candidate, current):
    spoil_recall(candidate, "0.01", 2)
    with pytest.raises(release.Refused, match="^test: recall at FPR 1 %: [^\n]*points[^\n]*$"):
        release.check(candidate, current, PLAN)


def test_worse_within_the_interval_passes(candidate, current):
    spoil_recall(candidate, "0.01", 0.3)
    assert release.check(candidate, current, PLAN)


def test_one_slice_is_enough_to_refuse(candidate, current):
    c = candidate["sets"]["test"]["slices"]["host"]["free hosting"]
    spoil(c, 8, "caught", "fpr_0.01", rows=c["phishing_rows"])
    with pytest.raises(release.Refused, match="host free hosting: recall"):
        release.check(candidate, current, PLAN)


def test_one_way_to_evade_is_enough_to_refuse(candidate, current):
    c = candidate["evasion"]["phishing"]["URL in query"]
    spoil(c, 4, "suspicious", "after", rows=c["rows"])
    with pytest.raises(release.Refused, match="^phishing, URL in query: recall at `suspicious` less [^:\n]*: [^\n]*$"):
        release.check(candidate, current, PLAN)


def test_what_is_flagged_in_both_classes_alike_is_no_finding(candidate, current):
    """Ten points more of the phishing behind a link rewriter do not make up for twenty of the legitimate rows; ten less
    for twenty less are fine."""
    found, price = (candidate["evasion"][side]["URL in query"] for side in ("phishing", "legitimate"))
    before = [(c["suspicious"]["after"], c["rows"]) for c in (found, price)]

    def move(points):
        for c, by, (after, rows) in zip((found, price), points, before, strict=True):
            c["suspicious"]["after"] = after + by * rows // 100

    move((10, 20))
    with pytest.raises(release.Refused, match="^phishing, URL in query: recall at `suspicious` less [^\n]*$"):
        release.check(candidate, current, PLAN)
    current["evasion"]["legitimate"]["URL in query"]["suspicious"]["after"] += before[1][1] // 5
    before[1] = (before[1][0] + before[1][1] // 5, before[1][1])
    move((-10, -20))
    (judged,) = [
        j for j in release.check(candidate, current, PLAN) if "URL in query" in j.name and "suspicious" in j.name
    ]
    assert judged.verdict == "better" and abs(judged.new - judged.old - 0.1) < 0.001


def test_the_interval_of_two_differences_is_that_of_four_independent_shares():
    shares = [share(hits, 4000) for hits in (1600, 1400, 800, 900)]  # new and old, phishing and legitimate
    new, old = (release.Figure("", shares[i], True, honest=shares[i + 2]) for i in (0, 1))
    low, high = release.interval(new, old)
    normal = 1.96 * sum(s["share"] * (1 - s["share"]) / 4000 for s in shares) ** 0.5
    assert abs((low + high) / 2 - (0.05 + 0.025)) < 1e-3 and abs((high - low) / 2 - normal) < 0.02 * normal


@pytest.mark.parametrize(
    "path",
    [
        ("sets", "test", "slices", "tag", "login or bank_pay", "flagged"),
        ("top_sites", "all", "flagged"),
        ("valid_sites", "all", "flagged"),
    ],
)
def test_more_false_positives_are_refused(candidate, current, path):
    c = candidate
    for key in path:
        c = c[key]
    c["suspicious"] += 60
    with pytest.raises(release.Refused, match="flagged at `suspicious`: .* against"):
        release.check(candidate, current, PLAN)


def test_a_limit_on_changed_legitimate_rows_is_kept(candidate):
    """Whatever is found beside: most links that people get were rewritten."""
    plan = copy.deepcopy(PLAN)
    plan["gate"]["limits"][NAME]["changed"] = {"URL in query": [0.01, 0.05]}
    c = candidate["evasion"]["legitimate"]["URL in query"]
    for flagged, passed in ((0, True), (c["rows"] // 100, True), (c["rows"] // 100 + 1, False)):
        c["phishing"]["after"] = flagged
        c["suspicious"]["after"] = 0
        told = f"URL in query: {flagged} of {c['rows']} legitimate rows flagged at `phishing`; at most 1 % may"
        assert release.Check(told, passed) in release.own_checks(candidate, plan)


def test_better_is_told(candidate, current):
    spoil_recall(candidate, "0.001", -5)
    better = [j.name for j in release.check(candidate, current, PLAN) if j.verdict == "better"]
    assert better == ["test: recall at FPR 0.1 %"]


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda m: m["relations"]["equal"]["www."].update(same=1), "www.: .* none may"),
        (lambda m: m["relations"]["same_verdict"]["deeper page"].update(same=1), "deeper page: 1 of"),
        (lambda m: m["sets"]["test"]["engine"].update(calibration_error=0.03), "calibration error 0.0300"),
        (
            lambda m: m["sets"]["test"]["engine"]["recall_at_fpr"]["0.001"].update(recall=0.379),
            "test: recall 0.3790 at FPR 0.1 %; it must be 0.38",
        ),
        (lambda m: m["cost"].update(file_bytes=163_841), "file_bytes: 163841; at most 163840"),
        (
            lambda m: m["sets"]["test"]["slices"]["tag"]["login or bank_pay"]["flagged"].update(phishing=8),
            "login or bank_pay: 8 of 1445 legitimate rows flagged at `phishing`; at most 0.5 % may",
        ),
        (
            lambda m: m["top_sites"]["all"]["flagged"].update(phishing=2),
            r"^best-known sites: 2 of \d+ pages flagged at `phishing`; at most 1 may be$",
        ),
        (
            lambda m: m["valid_sites"]["all"]["flagged"].update(suspicious=18),
            r"^second list of known sites: 18 of \d+ pages flagged at `suspicious`; at most 17 may be$",
        ),
        (lambda m: m["sets"]["valid"].update(largest_logit_difference=0.1), "valid: engine and training"),
        (lambda m: m.update(version="0.1.0"), "version 0.1.0 must be above"),
        (lambda m: m.update(version="next"), "MAJOR.MINOR.PATCH"),
        (lambda m: m["sets"]["test"].update(sha256="1"), "test: not the rows"),
        (lambda m: m["top_sites"].update(sha256="1"), "best-known sites: not the URLs"),
        (lambda m: m["valid_sites"].update(sha256="1"), "second list of known sites: not the URLs"),
        (lambda m: m["evasion"]["phishing"]["path padded"].update(sha256="1"), "phishing, path padded: not the URLs"),
    ],
)
def test_faults_of_its_own_are_refused(candidate, current, change, problem):
    change(candidate)
    with pytest.raises(release.Refused, match=problem):
        release.check(candidate, current, PLAN)


@pytest.mark.parametrize("name", ["phishcnn-compact", "phishcnn-large"])
def test_the_released_models_have_no_fault_of_their_own(name):
    checks = release.own_checks(json.loads((MODELS / f"{name}.metrics.json").read_text()), PLAN)
    assert release.faults(checks) == [] and len(checks) > 15


def test_one_wrong_verdict_of_the_short_list_refuses(candidate, current):
    plan = {"gate": {"verdicts": {"benign": ["https://en.wikipedia.org/wiki/Phishing"], "phishing": []}}}
    model = MODELS / f"{NAME}.safetensors"
    (check,) = release.short_list(model, plan)
    assert check.passed
    plan["gate"]["verdicts"] = {"benign": [], "phishing": ["https://en.wikipedia.org/wiki/Phishing"]}
    (check,) = release.short_list(model, plan)
    assert re.fullmatch(
        r"https://en.wikipedia.org/wiki/Phishing: benign \(logit -\d.*\); it must be phishing", check.told
    )
    with pytest.raises(release.Refused, match="it must be phishing"):
        release.check(candidate, current, PLAN, [check])


def test_what_has_too_few_rows_is_said_and_the_rest_is_judged(candidate, current):
    for metrics in (candidate, current):
        metrics["sets"]["test"]["engine"]["recall_at_fpr"]["0.001"] = {"resolvable": False}
        del metrics["sets"]["test"]["slices"]["host"]["punycode"]
    few = release.headlines(candidate, PLAN)[1]
    assert few[0] == "test: recall at FPR 0.1 %" and "test, host punycode" in few
    judged = [j.name for j in release.check(candidate, current, PLAN)]
    assert "test: recall at FPR 1 %" in judged and not set(few) & set(judged)
    spoil_recall(candidate, "0.01", 2)
    with pytest.raises(release.Refused, match="^test: recall at FPR 1 %"):
        release.check(candidate, current, PLAN)


def test_a_model_is_judged_alone(pair, capsys):
    model, metrics = pair
    told = model.parent / "judged.json"
    assert main(["judge", str(model), "-o", str(told)]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(told.read_text())
    assert found["sha256"] == metrics["sha256"] and len(found["checks"]) > 30
    assert [line[6:] for line in lines if line.startswith("ok    ")] == [c["told"] for c in found["checks"]]
    assert found["cost"] == metrics["cost"] and f"      file_bytes: {metrics['cost']['file_bytes']}" in lines
    (age,) = [line for line in lines if line.startswith(f"      {NAME}: trained until {metrics['trained_until']}, ")]
    assert f"loses {found['recall_lost_per_month']:.2f} points" in age
    for part in (
        "www.: 0 of",
        "file_bytes",
        "verdicts stay",
        "https://github.com/login",
        "by quantisation",
        "differ by",
    ):
        assert any(part in line for line in lines), part
    metrics["relations"]["equal"]["www."]["same"] -= 1
    (model.parent / f"{NAME}.metrics.json").write_text(json.dumps(metrics))
    assert main(["judge", str(model), "-o", str(told)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAULT ")]
    assert line.startswith("FAULT www.: 1 of")
    assert [c["told"] for c in json.loads(told.read_text())["checks"] if not c["passed"]] == [line[6:]]


def test_a_plan_without_what_is_needed_is_refused_by_name(pair, capsys):
    plan = pair[0].parent / "plan.toml"
    text = (WEIGHTS / "mine" / "evaluation.toml").read_text()
    plan.write_text(re.sub(r"(?m)^(tags|rows) = .*|^\[release\].*", "", text))
    assert main(["judge", str(pair[0]), "--plan", str(plan)]) == 1
    assert f"{plan}: without [release], mutations.rows, gate.tags" in capsys.readouterr().err


def test_the_current_model_is_not_released_again(current):
    with pytest.raises(release.Refused, match="is the current model"):
        release.check(copy.deepcopy(current), current, PLAN)


@pytest.fixture
def pair(tmp_path) -> tuple:
    """(candidate file, its metrics): the released int8 model and its f32 parent, copied."""
    files = [f"{NAME}.safetensors", f"{NAME}.metrics.json"]
    for folder in (tmp_path, tmp_path / "f32"):
        folder.mkdir(exist_ok=True)
        for file in files:
            shutil.copyfile(MODELS / folder.relative_to(tmp_path) / file, folder / file)
    return tmp_path / files[0], json.loads((tmp_path / files[1]).read_text())


def test_an_int8_model_is_judged_beside_its_parent(pair):
    model, metrics = pair
    assert release.faults(release.quantisation(model, metrics, PLAN)) == []
    engine = metrics["sets"]["test"]["engine"]["recall_at_fpr"]["0.001"]
    engine["recall"] -= PLAN["gate"]["quantisation_loss"] + 0.02
    (fault,) = release.faults(release.quantisation(model, metrics, PLAN))
    assert fault.startswith("test: recall at FPR 0.1 % goes from ")
    told = model.parent / "f32" / f"{NAME}.metrics.json"
    parent = json.loads(told.read_text())
    del parent["sets"]["test"]["largest_logit_difference"]
    parent["sets"]["valid"]["largest_logit_difference"] = 0.1
    told.write_text(json.dumps(parent))
    faults = release.faults(release.quantisation(model, metrics, PLAN))
    assert "valid: engine and training framework differ by 1.0e-01; at most 0.001" in faults
    assert "test: the training framework did not score it" in faults
    told.write_text(json.dumps(parent | {"sha256": "0" * 64}))
    with pytest.raises(release.Refused, match="is not what .* was quantised from"):
        release.quantisation(model, metrics, PLAN)
    told.unlink()
    with pytest.raises(release.Refused, match="must be there"):
        release.quantisation(model, metrics, PLAN)


@pytest.fixture
def place(tmp_path, candidate, current):
    """A folder of released models with the current one, a candidate beside, and a changelog."""
    into, build = tmp_path / "models", tmp_path / "build"
    into.mkdir(), build.mkdir()
    (into / f"{NAME}.metrics.json").write_text(json.dumps(current))
    shutil.copyfile(MODELS / f"{NAME}.safetensors", build / "new.safetensors")
    # The current metrics stand for another file than the candidate's.
    current["sha256"] = "f" * 64
    (into / f"{NAME}.metrics.json").write_text(json.dumps(current))
    candidate["sha256"] = hashlib.sha256((build / "new.safetensors").read_bytes()).hexdigest()
    (build / "new.metrics.json").write_text(json.dumps(candidate))
    (build / "f32").mkdir()
    for suffix in (".safetensors", ".metrics.json", ".history.json"):
        shutil.copyfile(MODELS / "f32" / f"{NAME}{suffix}", build / "f32" / f"new{suffix}")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n\n## 0.1.0\n\n- Old.\n"
    )
    return tmp_path


def command(place, *more) -> int:
    return main(
        ["release", str(place / "build" / "new.safetensors"), "--into", str(place / "models")]
        + ["--changelog", str(place / "CHANGELOG.md"), *more]
    )


def test_what_passes_is_published(place, candidate, capsys):
    assert command(place) == 0
    assert "published" in capsys.readouterr().out
    published = place / "models" / f"{NAME}.safetensors"
    assert published.read_bytes() == (place / "build" / "new.safetensors").read_bytes()
    assert json.loads((place / "models" / f"{NAME}.metrics.json").read_text()) == candidate
    assert candidate["sha256"] in (place / "models" / f"{NAME}.md").read_text()
    parent = (MODELS / "f32" / f"{NAME}.safetensors").read_bytes()
    assert (place / "models" / "f32" / f"{NAME}.safetensors").read_bytes() == parent
    assert (place / "models" / "SHA256SUMS").read_text() == (
        f"{hashlib.sha256(parent).hexdigest()}  f32/{NAME}.safetensors\n{candidate['sha256']}  {NAME}.safetensors\n"
    )
    changelog = (place / "CHANGELOG.md").read_text()
    assert f"### Models\n\n- Model `{NAME}` 0.2.0 (`{candidate['sha256'][:12]}`)" in changelog
    assert changelog.index("### Models") < changelog.index("## 0.1.0") and "- A thing." in changelog


def snapshot(folder) -> dict:
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_refused_writes_nothing(place, candidate, capsys):
    spoil_recall(candidate, "0.01", 30)
    (place / "build" / "new.metrics.json").write_text(json.dumps(candidate))
    before = snapshot(place)
    assert command(place) == 1
    assert "refused:\ntest: recall at FPR 1 %" in capsys.readouterr().err
    assert snapshot(place) == before


def test_a_changelog_without_its_heading_is_refused_before_anything_is_written(place, capsys):
    (place / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n\n- Old.\n")
    before = snapshot(place)
    assert command(place) == 1
    assert "no heading `## Unreleased`" in capsys.readouterr().err and snapshot(place) == before


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_card_that_cannot_be_made_leaves_everything_as_it_was(place, capsys, more):
    """The gate does not judge the f32 model on `valid`; the card compares the two models there."""
    file = place / "build" / "f32" / "new.metrics.json"
    metrics = json.loads(file.read_text())
    del metrics["sets"]["valid"]
    file.write_text(json.dumps(metrics))
    before = snapshot(place)
    assert command(place, *more) == 1
    assert "without valid; evaluate the f32 model on all sets first" in capsys.readouterr().err
    assert snapshot(place) == before


def test_a_dry_run_writes_nothing(place, capsys):
    before = snapshot(place)
    assert command(place, "--dry-run") == 0
    assert "may be published" in capsys.readouterr().out and snapshot(place) == before


def test_metrics_of_another_file_are_refused(place, candidate, capsys):
    (place / "build" / "new.metrics.json").write_text(json.dumps(candidate | {"sha256": "2" * 64}))
    assert command(place) == 1 and "belongs to another model file" in capsys.readouterr().err


def test_a_figure_that_was_not_measured_is_refused(place, candidate, capsys):
    point = candidate["sets"]["test"]["engine"]["recall_at_fpr"]["0.01"]
    for holder, key in ((point, "resampled"), (candidate, "top_sites")):
        del holder[key]
        (place / "build" / "new.metrics.json").write_text(json.dumps(candidate))
        assert command(place) == 1 and f"'{key}' was not measured" in capsys.readouterr().err
        holder[key] = {}


def test_other_samples_are_refused(candidate, current):
    candidate["sets"]["test"]["engine"]["recall_at_fpr"]["0.01"]["resampled"].pop()
    with pytest.raises(release.Refused, match="test: recall at FPR 1 %: not in as many samples"):
        release.check(candidate, current, PLAN)


def test_the_cross_source_test_stays_until_there_is_another(place):
    old, new = place / "models" / f"{NAME}.cross_source.json", place / "build" / "new.cross_source.json"
    old.write_text('{"version": "0.1.0"}')
    assert command(place) == 0 and json.loads(old.read_text()) == {"version": "0.1.0"}
    new.write_text('{"version": "0.3.0"}')
    metrics = place / "build" / "new.metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"version": "0.3.0"}))
    (place / "models" / f"{NAME}.metrics.json").unlink()
    assert command(place) == 0 and json.loads(old.read_text()) == {"version": "0.3.0"}


def test_a_first_release_needs_no_current_model(place):
    (place / "models" / f"{NAME}.metrics.json").unlink()
    assert command(place) == 0


# The one JSON is the source of every figure.


EVALUATED = [p for p in sorted(MODELS.glob("*.safetensors")) if (MODELS / f"{p.stem}.metrics.json").exists()]


@pytest.mark.parametrize("path", EVALUATED, ids=lambda p: p.stem)
def test_cards_say_what_the_metrics_say(path):
    metrics = json.loads((MODELS / f"{path.stem}.metrics.json").read_text())
    assert metrics["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    params = WEIGHTS / {"dephides-retrained": "dephides.toml"}.get(
        path.stem, f"{path.stem.removeprefix('phishcnn-')}.toml"
    )
    assert (MODELS / f"{path.stem}.md").read_text() == card.text(path, metrics, Params.load(params))


def test_the_report_says_what_the_metrics_say(tmp_path):
    folder = WEIGHTS / "report"
    all_metrics = report.collect(WEIGHTS)
    want = pictures.digest(all_metrics)
    for name in pictures.PICTURES:
        png = (folder / f"{name}.png").read_bytes()
        shutil.copyfile(folder / f"{name}.png", tmp_path / f"{name}.png")
        assert want.encode() in png, f"{name}.png shows older metrics: run `python -m phishcnn_train report`"
    report.write_text(all_metrics, NAME, tmp_path)
    for name in ("index.html", "README.md"):
        assert (tmp_path / name).read_text() == (folder / name).read_text(), f"{name} is out of date"


ALL = {
    path.name.removesuffix(".metrics.json"): json.loads(path.read_text())
    for path in [*WEIGHTS.glob("models/*.metrics.json"), *WEIGHTS.glob("baselines/*.metrics.json")]
}


def section(text: str, title: str) -> list[list[str]]:
    """Cells of the rows of the table under a heading, without the heads."""
    (found,) = re.findall(rf"^### {re.escape(title)}\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    return [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("|")][2:]


def share_of(hits: int, rows: int, digits: int = 1) -> str:
    return f"{100 * hits / rows:.{digits}f}"


def test_the_tables_have_every_model_with_counts_and_intervals():
    text = (WEIGHTS / "report/README.md").read_text()
    assert len(ALL) == 6
    for key, name in pictures.SETS.items():
        rows = {row[0].strip("*").partition(";")[0]: row[1:] for row in section(text, f"On {name}")}
        assert len(rows) == len(ALL)
        for model, metrics in ALL.items():
            engine, cells = metrics["sets"][key]["engine"], rows[pictures.TITLES[model]]
            assert cells[0] == f"{engine['auc']:.4f}"
            for cell, rate in zip(cells[1:3], ("0.01", "0.001"), strict=True):
                at = engine["recall_at_fpr"][rate]
                ends = "–".join(f"{100 * at[end]:.1f}" for end in ("low", "high"))
                found = share_of(at["tp"], engine["phishing_rows"])
                assert cell == f"{found} ({ends}; {at['tp']:,} / {at['fp']:,})", (key, model, rate)
            assert cells[3].startswith("not resolvable (")
    for threshold in ("phishing", "suspicious"):
        rows = section(text, f"At each model's own threshold `{threshold}`")
        for row, (model, metrics) in zip(rows, report.collect(WEIGHTS).items(), strict=True):
            hard = metrics["sets"]["test"]["slices"]["tag"]["login or bank_pay"]
            counts = [(hard["flagged"][threshold], hard["legitimate_rows"])]
            counts += [
                (c["flagged"][threshold], c["rows"])
                for key in ("top_sites", "valid_sites")
                if (c := metrics.get(key, {}).get("all"))
            ]
            assert row[-1] == "not measured" or "valid_sites" in metrics
            for cell, (hits, of) in zip(row[-3:], counts, strict=False):
                assert cell.startswith(share_of(hits, of, 2)) and cell.endswith(f"; {hits:,} of {of:,})"), model


def test_changed_urls_have_every_model_before_and_after():
    text = (WEIGHTS / "report/README.md").read_text()
    for side, what in (("phishing", "phishing found"), ("legitimate", "legitimate rows flagged")):
        for threshold in ("phishing", "suspicious"):
            rows = {
                row[0].partition(" (")[0]: row[1:] for row in section(text, f"Changed URLs at `{threshold}`: {what}")
            }
            rows |= {"homograph (punycode)": rows.pop("homograph")} if "homograph" in rows else {}
            assert rows.keys() == ALL[NAME]["evasion"][side].keys()
            for change, cells in rows.items():
                found = [m["evasion"][side][change] for m in report.collect(WEIGHTS).values()]
                pairs = [" → ".join(share_of(c[threshold][k], c["rows"]) for k in ("before", "after")) for c in found]
                assert [cell.partition(" (")[0] for cell in cells] == pairs, change


def test_what_another_model_finds_more_is_told_with_its_price():
    """The n-grams behind an open redirect: from the JSONs' counts, not by the report's code."""
    found = section((WEIGHTS / "report/README.md").read_text(), "Where another model finds more")
    title = pictures.TITLES["ngrams"]
    (row,) = [r for r in found if r[:2] == ["URL in query", "`suspicious`"] and r[2].startswith(title)]
    counts = [ALL[n]["evasion"]["phishing"]["URL in query"] for n in ("ngrams", NAME)]
    counts += [ALL[n]["evasion"]["legitimate"]["URL in query"] for n in ("ngrams", NAME)]
    assert row[3:] == [share_of(c["suspicious"]["after"], c["rows"]) for c in counts]
    # Little more is not clearly more; other URLs cannot be compared; less is not more.
    all_metrics = {n: copy.deepcopy(ALL[n]) for n in (NAME, "ngrams")}
    theirs, ours = (all_metrics[n]["evasion"]["phishing"]["URL in query"] for n in ("ngrams", NAME))

    def listed() -> bool:
        rows = tables.finds_more(all_metrics, NAME).rows
        return any(cells[:2] == ["URL in query", "`suspicious`"] for _, cells in rows)

    assert listed()
    for after, clear in ((10, True), (2.5, True), (1, False), (-10, False)):
        theirs["suspicious"]["after"] = ours["suspicious"]["after"] + round(after / 100 * ours["rows"])
        assert listed() == clear, after
    theirs["suspicious"]["after"] = theirs["rows"]
    theirs["sha256"] = "of other URLs"
    assert not listed()


def test_what_a_json_lacks_is_said_in_its_cell(tmp_path):
    drawn = {name: b"" for name in pictures.PICTURES}
    all_metrics = report.collect(WEIGHTS)
    old = all_metrics["trees"]
    del old["evasion"], old["top_sites"], old["valid_sites"], old["training"], old["sets"]["valid"]
    del old["sets"]["test"]["slices"]["tag"]["login"]
    engine = old["sets"]["test"]["engine"]
    engine["recall_at_fpr"] = {"0.01": {"resolvable": False}, "0.0001": engine["recall_at_fpr"]["0.0001"]}
    old["sets"]["test_unseen"]["sha256"] = "of other rows"
    page, text = report.page(all_metrics, NAME, drawn), report.readme(all_metrics, NAME)
    assert "not measured" in page

    def row(title: str) -> list[str]:
        (found,) = [r for r in section(text, title) if r[0].startswith(pictures.TITLES["trees"])]
        return found[1:]

    assert row("On test")[1:3] == ["not resolvable", "not measured"]
    assert row("On valid") == ["–", *["not measured"] * 3]
    assert "(other rows)" in next(r[0] for r in section(text, "On test, unseen domains") if "trees" in r[0])
    flagged = row("At each model's own threshold `suspicious`")
    assert [flagged[i] for i in (2, -1)] == ["not measured"] * 2 and "of 1,096" in flagged[3]
    change = section(text, "Changed URLs at `suspicious`: phishing found")[0]
    assert change.count("not measured") == 1


def test_flagged_pages_of_both_lists_stand_before_those_that_no_threshold_flags():
    page = (WEIGHTS / "report/index.html").read_text()
    flagged, unflagged = page.partition("<h3>Flagged at")[2].split("<h3>Not flagged:")
    verdicts = [re.findall("class='badge (\\w+)'", part) for part in (flagged, unflagged)]
    lists = [ALL[NAME][key] for key in ("top_sites", "valid_sites")]
    phishing, suspicious = (sum(m["all"]["flagged"][t] for m in lists) for t in ("phishing", "suspicious"))
    assert verdicts[0] == ["phishing"] * phishing + ["suspicious"] * (suspicious - phishing)
    assert verdicts[1] == ["benign"] * (100 - suspicious)
    for name, m in zip(("first", "second"), lists, strict=True):
        assert flagged.count(f"<td>{name}</td>") == m["all"]["flagged"]["suspicious"] > 0
        assert all(page["segments"] for page in m["worst"])


def test_targets_say_of_each_figure_whether_it_is_reached():
    rows = {row[0]: row[1:] for row in section((WEIGHTS / "report/README.md").read_text(), "Floors and goals")}
    gate, goals = PLAN["gate"], PLAN["goals"]

    def said(ok: bool) -> str:
        return "reached" if ok else "not reached"

    for key, goal in goals["recall"].items():
        for i, (rate, told) in enumerate((("0.01", "1 %"), ("0.001", "0.1 %"))):
            cells = rows.pop(f"{pictures.SETS[key]}: recall at FPR {told}")
            assert cells[0] == f"{100 * goal[i]:g}"
            for name, floor, cell in zip((NAME, "phishcnn-large"), cells[1::2], cells[2::2], strict=True):
                limit, at = gate["limits"][name]["recall"][key][i], ALL[name]["sets"][key]["engine"]["recall_at_fpr"]
                recall = at[rate]["recall"]
                assert floor == f"{100 * limit:g}"
                assert cell == f"{100 * recall:.1f} (floor {said(recall >= limit)}, goal {said(recall >= goal[i])})"
    for i, threshold in enumerate(("phishing", "suspicious")):
        hard, first, second = (
            rows.pop(f"{what} flagged at `{threshold}`")
            for what in ("`login or bank_pay` rows of test", "best-known sites' pages", "second list's pages")
        )
        for name, *cells in zip((NAME, "phishcnn-large"), hard[2::2], first[2::2], second[2::2], strict=True):
            tag = ALL[name]["sets"]["test"]["slices"]["tag"]["login or bank_pay"]
            hits, of = tag["flagged"][threshold], tag["legitimate_rows"]
            ok = said(hits <= gate["flagged"]["login or bank_pay"][i] * of)
            assert cells[0] == f"{share_of(hits, of, 2)} (floor {ok}, goal {ok}; {hits:,} of {of:,})"
            for key, cell in zip(("top_sites", "valid_sites"), cells[1:], strict=True):
                hits, of = ALL[name][key]["all"]["flagged"][threshold], ALL[name][key]["all"]["rows"]
                assert cell.endswith(f"; {hits} of {of})") and f"floor {said(hits <= gate['sites'][key][i])}" in cell
                if key in goals["flagged"]:
                    assert f"goal {said(hits <= goals['flagged'][key][i] * of)};" in cell
    assert not rows
    assert tables.targets({"mine": ALL[NAME]}) is None  # no floor is set for it


def test_pages_of_the_second_list_are_told_by_whether_their_domain_is_listed():
    """In the report and in the card, from the JSON's counts."""
    for name in (NAME, "phishcnn-large"):
        found = ALL[name]["valid_sites"]["domain"]
        pairs = [
            (f"{c['flagged']['phishing']} / {c['flagged']['suspicious']}", c["rows"])
            for c in (found["listed"], found["not listed"])
        ]
        table = section((WEIGHTS / "report/README.md").read_text(), "Pages of the second list, flagged")
        (row,) = [row for row in table if row[0].strip("*") == name]
        assert row[-2:] == [f"{pair} (of {of})" for pair, of in pairs]
        card_row = section((MODELS / f"{name}.md").read_text(), "Pages of known sites")[-1]
        assert card_row[0] == "on domains not listed"
        hits = found["not listed"]["flagged"]
        assert [cell.partition(" of ")[0] for cell in card_row[3:]] == [
            str(hits[t]) for t in ("phishing", "suspicious")
        ]


def test_changed_urls_at_fixed_rates_are_told_where_they_were_measured():
    """Of one model alone: the others' cells and nothing else say that they were not."""
    all_metrics = copy.deepcopy(report.collect(WEIGHTS))
    for m in all_metrics.values():
        for counts in m["evasion"]["phishing"].values():
            for key in ("fpr_0.01", "auc"):
                counts.pop(key, None)
    titles = ("Changed URLs at FPR 1 % of the unchanged rows: phishing found", "Changed URLs: AUC of phishing")
    text = report.readme(all_metrics, NAME)
    for title in titles:
        assert not section(text, title) and "Not measured yet" in text.partition(f"### {title}")[2].partition("###")[0]
    counts = all_metrics[NAME]["evasion"]["phishing"]["path padded"]
    counts["fpr_0.01"] = {"before": 2000, "after": 500, "lost": 1600}
    counts["auc"] = {"before": 0.98765, "after": 0.91234, "both_changed": 0.95}
    text = report.readme(all_metrics, NAME)
    for title, want in zip(titles, ("50.0 → 12.5 (11.5–13.6)", "0.9877 → 0.9123 (0.9500)"), strict=True):
        rows = {row[0].partition(" (")[0]: row[1:] for row in section(text, title)}
        assert rows["path padded"] == [want] + ["not measured"] * 5
        assert set(rows["query padded"]) == {"not measured"}


def test_what_training_had_seen_of_judged_pages_is_told_from_one_place():
    (told,) = [" ".join(p.split()) for p in (WEIGHTS / "DATA.md").read_text().split("\n\n") if " 497 of them" in p]
    assert "262 as collected rows and 235 as bare hosts" in told and 262 + 235 == 497
    assert told in (WEIGHTS / "report/README.md").read_text()
    page = re.sub("<[^>]*>", "", (WEIGHTS / "report/index.html").read_text())
    assert told.replace("`", "") in page
    for name in ("phishcnn-compact", "phishcnn-large"):
        assert told in " ".join((MODELS / f"{name}.md").read_text().split()) and f"`{name}`" in told
    assert not [p for p in (WEIGHTS / "phishcnn_train").glob("*.py") if "497" in p.read_text()]
    assert tables.seen_pages("mine") == ""


def test_baselines_are_dated():
    (told,) = re.findall(r"^Baselines: (.*?)\n\n", (WEIGHTS / "DATA.md").read_text(), re.M | re.S)
    (day,) = re.findall(r"\d{4}-\d\d-\d\d", told)
    rows = section((WEIGHTS / "report/README.md").read_text(), "On test")
    dated = {name for name in ALL for row in rows if row[0] == f"{pictures.TITLES[name]}; rows of {day}"}
    assert dated == set(re.findall("`([\\w-]+)`", told.partition(" learned ")[0])) and dated


@pytest.mark.parametrize("path", EVALUATED, ids=lambda p: p.stem)
def test_cards_state_the_parameters(path):
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    tensors = {name: t for name, t in header.items() if name not in ("__metadata__", "chars")}
    count = sum(math.prod(t["shape"]) for t in tensors.values())
    told = re.findall(r"^\| Parameters \| ([\d,]+)", (MODELS / f"{path.stem}.md").read_text(), re.M)
    assert told == [f"{count:,}"] == [card.parameters(path, {}).split()[0]]


def test_a_card_takes_nothing_from_a_recipe_that_has_gone_on():
    model = MODELS / f"{NAME}.safetensors"
    params = Params.load(WEIGHTS / "compact.toml")
    version = ALL[NAME]["version"]
    own = card.text(model, ALL[NAME], dataclasses.replace(params, version=version))
    assert f"begun with `{params.start}`" in own and "AdamW" in own
    later = card.text(model, ALL[NAME], dataclasses.replace(params, version="99.0.0"))
    assert params.start not in later and "AdamW" not in later and "that of 99.0.0" in later


def test_a_changed_figure_changes_the_report(tmp_path):
    all_metrics = report.collect(WEIGHTS)
    drawn = {name: b"" for name in pictures.PICTURES}
    page = report.page(all_metrics, NAME, drawn)
    all_metrics[NAME]["sets"]["test"]["engine"]["recall_at_fpr"]["0.01"]["recall"] = 0.12345
    assert report.page(all_metrics, NAME, drawn) != page and "12.3" in report.page(all_metrics, NAME, drawn)


def test_slices_of_a_set_too_small_for_one_of_the_rates_are_drawn():
    few = copy.deepcopy({NAME: ALL[NAME]})
    for found in few[NAME]["sets"]["test"]["slices"].values():
        for counts in found.values():
            counts["caught"].pop("fpr_0.001", None)
            counts["flagged"].pop("fpr_0.001", None)
    drawn = pictures._slices(few, NAME)
    told = {text.get_text() for text in drawn.legends[0].get_texts()}
    assert len(told) == 2 and not any("FPR" in text for text in told)  # the thresholds instead


def test_pictures_can_be_drawn(tmp_path):
    all_metrics = {n: m for n, m in report.collect(WEIGHTS).items() if n == NAME}
    pictures.draw(all_metrics, NAME, tmp_path)
    for name in pictures.PICTURES:
        png = (tmp_path / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and pictures.digest(all_metrics).encode() in png and len(png) > 20_000


def test_the_report_is_one_file_and_shows_pages_of_the_fixture_alone():
    page = (WEIGHTS / "report" / "index.html").read_text()
    shown = {re.sub("<[^>]*>", "", found) for found in re.findall('<span class="url">(.*?)</span></td>', page)}
    known = {url.decode() for url in top_sites.rows().urls}
    assert len(shown) == 100 and {html.unescape(url) for url in shown} <= known
    assert "<script" not in page and 'src="http' not in page and "<link" not in page
    assert (WEIGHTS / "report" / "index.html").stat().st_size < 3_000_000


def test_worst_rows_of_the_data_go_to_a_local_page(tmp_path):
    urls = [(0, "https://www.paypal.com/signin?x=<b>"), (0, "https://unknown.example/"), (1, "http://paypal.com/phish")]
    (tmp_path / "rows.tsv").write_text("".join(f"{label}\t{url}\n" for label, url in urls))
    page = tmp_path / "local" / "worst.html"
    assert report.worst_rows(MODELS / f"{NAME}.safetensors", str(tmp_path / "rows.tsv"), page) == 1
    text = page.read_text()
    assert "paypal" in text and "<b>" not in text.split("<main>")[1].split("<table>")[1] and "unknown" not in text


# Staleness


def test_age_and_staleness():
    assert staleness.age("2025-03", "2026-04") == 13 and staleness.age("2025-12", "2026-01") == 1
    metrics = json.loads((MODELS / f"{NAME}.metrics.json").read_text())
    until = metrics["trained_until"]
    year, month = int(until[:4]), until[5:]
    assert not staleness.report(metrics, f"{year + 1}-{month}")[1]
    assert staleness.report(metrics, f"{year + 2}-{month}")[1]


def test_loss_per_month_is_a_slope():
    def months(values, start):
        return {
            f"2025-{start + i:02}": {"caught": {"suspicious": v}, "phishing_rows": 1000} for i, v in enumerate(values)
        }

    metrics = {
        "trained_until": "2025-03",
        "sets": {
            "valid": {"slices": {"month": months([800, 780], 4)}},
            "test": {"slices": {"month": months([760, 740, 720], 6)}},
            "cross_openphish": {"slices": {"month": months([500, 480, 460], 3)}},
        },
    }
    assert staleness.lost_per_month(metrics) == pytest.approx(2.0)
    del metrics["sets"]["test"], metrics["sets"]["cross_openphish"]
    assert staleness.lost_per_month(metrics) is None
