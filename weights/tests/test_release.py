"""The gate refuses what is worse and publishes what is not; the report and the cards say what the metrics say."""

import copy
import hashlib
import html
import json
import random
import re
import shutil
import tomllib

import pytest
from conftest import WEIGHTS
from phishcnn_train import card, pictures, release, report, staleness, top_sites
from phishcnn_train.__main__ import main
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
    with pytest.raises(release.Refused, match="^phishing, URL in query: recall at `suspicious`: [^\n]*$"):
        release.check(candidate, current, PLAN)


@pytest.mark.parametrize(
    "path", [("sets", "test", "slices", "tag", "login or bank_pay", "flagged"), ("top_sites", "all", "flagged")]
)
def test_more_false_positives_are_refused(candidate, current, path):
    c = candidate
    for key in path:
        c = c[key]
    c["suspicious"] += 60
    with pytest.raises(release.Refused, match="flagged at `suspicious`"):
        release.check(candidate, current, PLAN)


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
        (lambda m: m["sets"]["valid"].update(largest_logit_difference=0.1), "valid: engine and training"),
        (lambda m: m.update(version="0.1.0"), "version 0.1.0 must be above"),
        (lambda m: m.update(version="next"), "MAJOR.MINOR.PATCH"),
        (lambda m: m["sets"]["test"].update(sha256="1"), "test: not the rows"),
        (lambda m: m["top_sites"].update(sha256="1"), "best-known sites: not the URLs"),
        (lambda m: m["evasion"]["phishing"]["path padded"].update(sha256="1"), "phishing, path padded: not the URLs"),
    ],
)
def test_faults_of_its_own_are_refused(candidate, current, change, problem):
    change(candidate)
    with pytest.raises(release.Refused, match=problem):
        release.check(candidate, current, PLAN)


@pytest.mark.parametrize("name", ["phishcnn-compact", "phishcnn-large"])
def test_the_released_models_have_no_fault_of_their_own(name):
    assert release.own_faults(json.loads((MODELS / f"{name}.metrics.json").read_text()), PLAN) == []


def test_one_wrong_verdict_of_the_short_list_refuses(candidate, current):
    plan = {"gate": {"verdicts": {"benign": ["https://en.wikipedia.org/wiki/Phishing"], "phishing": []}}}
    model = MODELS / f"{NAME}.safetensors"
    assert release.short_list(model, plan) == []
    plan["gate"]["verdicts"]["phishing"] = ["https://en.wikipedia.org/wiki/Phishing"]
    (fault,) = release.short_list(model, plan)
    assert re.fullmatch(r"https://en.wikipedia.org/wiki/Phishing: benign \(logit -\d.*\); it must be phishing", fault)
    with pytest.raises(release.Refused, match="it must be phishing"):
        release.check(candidate, current, PLAN, [fault])


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
    assert release.quantisation_faults(model, metrics, PLAN) == []
    engine = metrics["sets"]["test"]["engine"]["recall_at_fpr"]["0.001"]
    engine["recall"] -= PLAN["gate"]["quantisation_loss"] + 0.02
    (fault,) = release.quantisation_faults(model, metrics, PLAN)
    assert fault.startswith("test: recall at FPR 0.1 % falls from ")
    told = model.parent / "f32" / f"{NAME}.metrics.json"
    parent = json.loads(told.read_text())
    del parent["sets"]["test"]["largest_logit_difference"]
    parent["sets"]["valid"]["largest_logit_difference"] = 0.1
    told.write_text(json.dumps(parent))
    faults = release.quantisation_faults(model, metrics, PLAN)
    assert "valid: engine and training framework differ by 1.0e-01" in faults
    assert "test: the training framework did not score it" in faults
    told.write_text(json.dumps(parent | {"sha256": "0" * 64}))
    with pytest.raises(release.Refused, match="is not what .* was quantised from"):
        release.quantisation_faults(model, metrics, PLAN)
    told.unlink()
    with pytest.raises(release.Refused, match="must be there"):
        release.quantisation_faults(model, metrics, PLAN)


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


def test_the_table_has_the_order_of_its_title():
    test = json.loads((WEIGHTS / f"models/{NAME}.metrics.json").read_text())["sets"]["test"]["engine"]["recall_at_fpr"]
    row = next(line for line in (WEIGHTS / "report/README.md").read_text().splitlines() if line.startswith("| **"))
    assert row.split(" | ")[1] == f"{100 * test['0.01']['recall']:.1f} / {100 * test['0.001']['recall']:.1f}"


def test_a_changed_figure_changes_the_report(tmp_path):
    all_metrics = report.collect(WEIGHTS)
    drawn = {name: b"" for name in pictures.PICTURES}
    page = report.page(all_metrics, NAME, drawn)
    all_metrics[NAME]["sets"]["test"]["engine"]["recall_at_fpr"]["0.01"]["recall"] = 0.12345
    assert report.page(all_metrics, NAME, drawn) != page and "12.3" in report.page(all_metrics, NAME, drawn)


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
