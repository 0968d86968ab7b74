"""The release gate: a model is published only where it is not demonstrably worse than the one it replaces.

Everything is judged from the metrics JSONs of the candidate and of the current model, which must be of the
same rows. A figure is worse where the 95 % interval of the difference lies wholly on the bad side: of a set's recall at
a false-positive rate by a paired bootstrap, which finds both thresholds anew in each sample; of other shares, those of
slices among them, by Newcombe's method, which takes thresholds as given and rows as not paired.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from .export import FLOAT, parent_of, read
from .metrics import difference, share
from .plan import PLAN, released
from .plan import read as read_plan
from .typed import Figures

VERDICTS = ("benign", "suspicious", "phishing")  # by their number
# What is published of a model. A cross-source test says of which version it is, and stays until there is another.
SUFFIXES = (".safetensors", ".metrics.json", ".history.json", ".cross_source.json")
SITES = {"top_sites": "best-known sites", "valid_sites": "second list of known sites"}  # pages judged, by their key


class Refused(Exception):
    """The candidate may not be published; the message says why, one reason a line."""


class Check(NamedTuple):
    """What is asked of a candidate whatever the current model does."""

    told: str  # what was found, and what must be
    passed: bool


class Figure(NamedTuple):
    name: str
    value: Figures  # `metrics.share`
    higher: bool  # is better
    resampled: list[float] | None = None  # `metrics.resampled`: the same samples for all models
    honest: Figures | None = (
        None  # `metrics.share` of equally changed legitimate rows that are flagged, to be subtracted
    )

    @property
    def net(self) -> float:
        """The share; Youden's J, recall minus false-positive rate, where legitimate rows were changed alike."""
        return float(self.value["share"] - (self.honest["share"] if self.honest else 0))


class Judgement(NamedTuple):
    name: str
    new: float
    old: float
    low: float  # 95 % interval of new - old
    high: float
    verdict: str  # better, same, worse


def headlines(metrics: Figures, plan: Figures) -> tuple[list[Figure], list[str]]:
    """(the figures that a release is judged by, names of those that the sets have too few rows for); KeyError names
    what was not measured."""
    gate = plan["gate"]
    out, few = [], []
    for name in gate["sets"]:
        engine = metrics["sets"][name]["engine"]
        for rate in ("0.01", "0.001"):
            point, title = engine["recall_at_fpr"][rate], f"{name}: recall at FPR {100 * float(rate):g} %"
            if point["resolvable"]:
                out.append(Figure(title, share(point["tp"], engine["phishing_rows"]), True, point["resampled"]))
            else:
                few.append(title)
    found = metrics["sets"][gate["slice_set"]]["slices"]
    for dimension, value in gate["slices"]:
        c, title = found[dimension].get(value), f"{gate['slice_set']}, {dimension} {value}"
        if c is None or "fpr_0.01" not in c["caught"]:
            few.append(title)
            continue
        if c["phishing_rows"]:
            out.append(Figure(f"{title}: recall", share(c["caught"]["fpr_0.01"], c["phishing_rows"]), True))
        if c["legitimate_rows"]:
            out.append(Figure(f"{title}: flagged", share(c["flagged"]["fpr_0.01"], c["legitimate_rows"]), False))
    for tag in gate["tags"]:
        c, title = found["tag"].get(tag), f"{gate['slice_set']}, tagged {tag}"
        if c is None or not c["legitimate_rows"]:
            few.append(title)
            continue
        for t in ("phishing", "suspicious"):
            value = share(c["flagged"][t], c["legitimate_rows"])
            out.append(Figure(f"{title}: flagged at `{t}`", value, False))
    for t in ("phishing", "suspicious"):
        for key, title in SITES.items():
            c = metrics[key]["all"]
            out.append(Figure(f"{title}: flagged at `{t}`", share(c["flagged"][t], c["rows"]), False))
        for change in gate["evasion"]:
            c, title = metrics["evasion"]["phishing"][change], f"phishing, {change}: recall at `{t}`"
            owners = metrics["evasion"]["legitimate"].get(change)
            if not c["rows"] or (owners and not owners["rows"]):
                few.append(title)
                continue
            # To find phishing behind a change and to flag every legitimate row behind it is no finding.
            honest = share(owners[t]["after"], owners["rows"]) if owners else None
            title += " less legitimate rows flagged" if honest else ""
            out.append(Figure(title, share(c[t]["after"], c["rows"]), True, honest=honest))
    return out, few


def interval(new: Figure, old: Figure) -> tuple[float, float]:
    """95 % interval of the difference new - old."""
    if new.honest and old.honest:  # of independent rows (MOVER: Zou and Donner 2008)
        (low, high), (least, most) = difference(new.value, old.value), difference(new.honest, old.honest)
        found, price = (b["share"] - a["share"] for a, b in ((old.value, new.value), (old.honest, new.honest)))
        below, above = math.hypot(found - low, most - price), math.hypot(high - found, price - least)
        return found - price - below, found - price + above
    if new.resampled is None or old.resampled is None:
        return difference(new.value, old.value)
    if len(new.resampled) != len(old.resampled):
        raise Refused(f"{new.name}: not in as many samples as of the current model; evaluate both again")
    low, high = np.percentile(np.subtract(new.resampled, old.resampled), [2.5, 97.5])
    return float(low), float(high)


def judge(new: list[Figure], old: list[Figure]) -> list[Judgement]:
    """Each figure against the current model's of the same name."""
    before = {f.name: f for f in old}
    out = []
    for figure in new:
        if figure.name not in before:
            raise Refused(f"{figure.name}: the current model was not measured on it")
        low, high = interval(figure, before[figure.name])
        worse, better = (high < 0, low > 0) if figure.higher else (low > 0, high < 0)
        verdict = "worse" if worse else "better" if better else "same"
        out.append(Judgement(figure.name, figure.net, before[figure.name].net, low, high, verdict))
    missing = set(before) - {f.name for f in new}
    if missing:
        raise Refused("\n".join(f"{name}: the candidate was not measured on it" for name in sorted(missing)))
    return out


def _version(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise Refused(f"version {text!r} is not MAJOR.MINOR.PATCH")
    return tuple(map(int, text.split(".")))


def own_checks(metrics: Figures, plan: Figures) -> list[Check]:
    """Relations, floors and limits, flagged rows, calibration and skew of the candidate, from its metrics."""
    out = []
    gate = plan["gate"]
    for name, c in metrics["relations"]["equal"].items():
        told = f"{name}: {c['rows'] - c['same']} of {c['rows']} logits change; none may"
        out.append(Check(told, c["same"] == c["rows"]))
    for name, least in plan["same_verdict"].items():
        c = metrics["relations"]["same_verdict"][name]
        told = f"{name}: {c['same']} of {c['rows']} verdicts stay; {100 * least:g} % must"
        out.append(Check(told, c["same"] >= least * c["rows"]))
    limits = gate["limits"].get(metrics["model"], {})
    for name, least in limits.get("recall", {}).items():
        points = metrics["sets"][name]["engine"]["recall_at_fpr"]
        for rate, floor in zip(("0.01", "0.001"), least, strict=True):
            if points[rate]["resolvable"]:
                found = points[rate]["recall"]
                told = f"{name}: recall {found:.4f} at FPR {100 * float(rate):g} %; it must be {floor:g}"
                out.append(Check(told, found >= floor))
    for name, most in limits.get("cost", {}).items():
        found = metrics["cost"][name]
        out.append(Check(f"{name}: {found}; at most {most}", found <= most))
    for change, most in limits.get("changed", {}).items():
        c = metrics["evasion"]["legitimate"][change]
        for t, share_of in zip(("phishing", "suspicious"), most, strict=True):
            flagged = c[t]["after"]
            told = (
                f"{change}: {flagged} of {c['rows']} legitimate rows flagged at `{t}`; at most {100 * share_of:g} % may"
            )
            out.append(Check(told, flagged <= share_of * c["rows"]))
    for tag, most in gate["flagged"].items():
        c = metrics["sets"][gate["slice_set"]]["slices"]["tag"].get(tag)
        for t, share_of in zip(("phishing", "suspicious"), most, strict=True):
            if c:
                told = (
                    f"tagged {tag}: {c['flagged'][t]} of {c['legitimate_rows']} legitimate rows flagged at `{t}`;"
                    f" at most {100 * share_of:g} % may"
                )
                out.append(Check(told, c["flagged"][t] <= share_of * c["legitimate_rows"]))
    for key, most in gate["sites"].items():
        c = metrics[key]["all"]
        for t, pages in zip(("phishing", "suspicious"), most, strict=True):
            told = f"{SITES[key]}: {c['flagged'][t]} of {c['rows']} pages flagged at `{t}`; at most {pages} may be"
            out.append(Check(told, c["flagged"][t] <= pages))
    error = metrics["sets"][gate["slice_set"]]["engine"]["calibration_error"]
    told = f"calibration error {error:.4f} on {gate['slice_set']}; it must be below {gate['calibration_error']}"
    out.append(Check(told, error < gate["calibration_error"]))
    return out + skew(metrics, plan)


def short_list(candidate: Path, plan: Figures) -> list[Check]:
    """The URLs of the plan's short list: a few pages whose verdict is never a matter of intervals. The verdict is the
    engine's."""
    import phishcnn

    model = phishcnn.Model.load(str(candidate))
    out = []
    for verdict, urls in plan["gate"]["verdicts"].items():
        scores = model.score_batch(urls)
        for url, logit, number in zip(urls, scores.logit, scores.verdict, strict=True):
            told = f"{url}: {VERDICTS[number]} (logit {logit:.2f}); it must be {verdict}"
            out.append(Check(told, VERDICTS[number] == verdict))
    return out


def quantisation(candidate: Path, metrics: Figures, plan: Figures) -> list[Check]:
    """An int8 candidate beside its f32 parent, and either beside the training framework."""
    parent = parent_of(candidate)
    if parent is None:
        return compared(metrics)
    told = parent.parent / f"{parent.stem}.metrics.json"
    if not (parent.exists() and told.exists()):
        raise Refused(
            f"{parent} and its metrics must be there: an int8 model is judged beside the f32 model it is from"
        )
    before = json.loads(told.read_text())
    digest = hashlib.sha256(parent.read_bytes()).hexdigest()
    if not digest == before["sha256"] == read(candidate)[1]["phishcnn.quantised_from"]:
        raise Refused(f"{parent} is not what {candidate} was quantised from, or {told} is not its evaluation")
    gate = plan["gate"]
    out = skew(before, plan) + compared(before)
    for name in gate["sets"]:
        if metrics["sets"][name]["sha256"] != before["sets"][name]["sha256"]:
            raise Refused(f"{name}: not the rows that the f32 model was measured on; evaluate both again")
        f32, int8 = (m["sets"][name]["engine"]["recall_at_fpr"]["0.001"] for m in (before, metrics))
        if f32["resolvable"]:
            found = (
                f"{name}: recall at FPR 0.1 % goes from {f32['recall']:.4f} to {int8['recall']:.4f} by quantisation;"
                f" it may fall by {100 * gate['quantisation_loss']:g} points"
            )
            out.append(Check(found, f32["recall"] - int8["recall"] <= gate["quantisation_loss"]))
    return out


def skew(metrics: Figures, plan: Figures) -> list[Check]:
    """Whether engine and training framework differ by no more than rounding, on each set that both scored."""
    most = plan["gate"]["logit_difference"]
    found = {n: e["largest_logit_difference"] for n, e in metrics["sets"].items() if "largest_logit_difference" in e}
    return [
        Check(f"{name}: engine and training framework differ by {by:.1e}; at most {most:g}", by <= most)
        for name, by in found.items()
    ]


def compared(metrics: Figures) -> list[Check]:
    """Sets of an f32 model that the training framework did not score: no skew was seen because none was looked for."""
    return [
        Check(f"{name}: the training framework did not score it", False)
        for name, entry in metrics["sets"].items()
        if "largest_logit_difference" not in entry
    ]


def faults(checks: Iterable[Check]) -> list[str]:
    return [check.told for check in checks if not check.passed]


def of_other_urls(metrics: Figures, current: Figures) -> list[str]:
    """What both models were measured on, but not with the same URLs."""
    pairs = {title: [m[key] for m in (metrics, current)] for key, title in SITES.items()}
    for side in ("phishing", "legitimate"):
        for name in metrics["evasion"][side]:
            pairs[f"{side}, {name}"] = [m["evasion"][side].get(name, {}) for m in (metrics, current)]
    return [name for name, found in pairs.items() if found[0].get("sha256") != found[1].get("sha256")]


def check(metrics: Figures, current: Figures | None, plan: Figures, more: Iterable[Check] = ()) -> list[Judgement]:
    """The judgements of a candidate that may be published; `more` are checks besides `own_checks`.

    Raises:
        Refused: with all reasons.
    """
    reasons = faults([*more, *own_checks(metrics, plan)])
    judged: list[Judgement] = []
    if current is not None:
        if metrics["sha256"] == current["sha256"]:
            raise Refused("the candidate is the current model")
        if metrics["model"] == current["model"] and _version(metrics["version"]) <= _version(current["version"]):
            reasons.append(f"version {metrics['version']} must be above the current {current['version']}")
        for name in plan["gate"]["sets"]:
            if metrics["sets"][name]["sha256"] != current["sets"][name]["sha256"]:
                raise Refused(f"{name}: not the rows that the current model was measured on; evaluate both again")
        if other := of_other_urls(metrics, current):
            raise Refused(
                f"{', '.join(other)}: not the URLs that the current model was measured on; evaluate both again"
            )
        judged = judge(headlines(metrics, plan)[0], headlines(current, plan)[0])
        reasons += [
            f"{j.name}: {100 * j.new:.2f} % against {100 * j.old:.2f} %"
            f" (difference {100 * j.low:+.2f} to {100 * j.high:+.2f} points)"
            for j in judged
            if j.verdict == "worse"
        ]
    if reasons:
        raise Refused("\n".join(reasons))
    return judged


def table(judged: list[Judgement]) -> str:
    """For the terminal."""
    lines = [f"{'figure':60} {'new':>9} {'current':>9}   difference, points    "]
    for j in judged:
        interval = f"{100 * j.low:+.2f} to {100 * j.high:+.2f}"
        lines.append(f"{j.name:60} {100 * j.new:8.2f}% {100 * j.old:8.2f}%   {interval:20} {j.verdict}")
    return "\n".join(lines)


def committed(path: Path) -> Figures | None:
    """The metrics that stand in the last commit, for a candidate that was written over the current file."""
    command = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    done = subprocess.run(command, capture_output=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def changelog_line(metrics: Figures, current: Figures | None) -> str:
    """What users read: which model, its digest and its headline on test."""

    def told(m: Figures) -> str:
        points = m["sets"]["test"]["engine"]["recall_at_fpr"]
        return " / ".join(
            f"{100 * points[r]['recall']:.1f}" if points[r]["resolvable"] else "not resolvable"
            for r in ("0.01", "0.001")
        )

    before = f", before {told(current)}" if current else ""
    return (
        f"- Model `{metrics['model']}` {metrics['version']} (`{metrics['sha256'][:12]}`): recall on test at FPR 1 % /"
        f" 0.1 %: {told(metrics)} %{before}."
    )


def with_line(changelog: Path, line: str) -> str:
    """The changelog with the line under `### Models` of `## Unreleased`; the former is added where missing."""
    text = changelog.read_text() if changelog.exists() else "# Changelog\n\n## Unreleased\n"
    head, mark, rest = text.partition("## Unreleased\n")
    if not mark:
        raise Refused(f"{changelog}: no heading `## Unreleased`")
    end = rest.find("\n## ")
    section, behind = (rest, "") if end < 0 else (rest[:end], rest[end:])
    if "### Models\n\n" in section:
        section = section.replace("### Models\n\n", f"### Models\n\n{line}\n", 1)
    else:
        section = f"\n### Models\n\n{line}\n{section}"
    return head + mark + section + behind


def record(sums: Path, model: Path) -> None:
    """The model's line in SHA256SUMS (`sha256sum -c` reads it), which lies in its folder or the one above."""
    found = [line.split("  ", 1) for line in sums.read_text().splitlines()] if sums.exists() else []
    lines = {name: digest for digest, name in found}
    lines[str(model.relative_to(sums.parent))] = hashlib.sha256(model.read_bytes()).hexdigest()
    sums.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items())))


@contextmanager
def all_measured() -> Iterator[None]:
    """Refuses where the metrics lack what the plan asks for."""
    try:
        yield
    except KeyError as missing:
        raise Refused(f"{missing} was not measured; evaluate the candidate and the current model again") from missing


def measured(candidate: Path) -> tuple[Path, Figures]:
    """The metrics JSON of this very file, and what is in it."""
    path = candidate.parent / f"{candidate.stem}.metrics.json"
    if not path.exists():
        raise Refused(f"{path} is not there; evaluate the candidate first")
    metrics = json.loads(path.read_text())
    if metrics["sha256"] != hashlib.sha256(candidate.read_bytes()).hexdigest():
        raise Refused(f"{path} belongs to another model file; evaluate the candidate again")
    return path, metrics


def unjudged(few: list[str]) -> str:
    return f"\nnot judged, too few rows: {'; '.join(few)}" if few else ""


def judge_alone(candidate: Path, plan_file: Path, today: str, output: Path | None = None) -> tuple[str, bool]:
    """Judges the candidate without a current model, by what the gate asks of it whatever that does; cost and age are
    told beside.

    Args:
        today: YYYY-MM.
        output: JSON to write, with all checks.
    Returns: (what to print, whether all passed).
    """
    from . import staleness

    plan = read_plan(plan_file)
    metrics = measured(candidate)[1]
    with all_measured():
        checks = own_checks(metrics, plan) + short_list(candidate, plan) + quantisation(candidate, metrics, plan)
        few = headlines(metrics, plan)[1]
    dated = bool(metrics.get("trained_until"))
    if output:
        told = {key: metrics.get(key) for key in ("model", "version", "sha256", "trained_until", "cost")}
        told |= {"recall_lost_per_month": staleness.lost_per_month(metrics) if dated else None}  # in points
        told |= {"checks": [c._asdict() for c in checks], "too_few_rows": few}
        output.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    lines = [f"{'ok   ' if c.passed else 'FAULT'} {c.told}" for c in checks]
    lines += [f"      {name}: {value}" for name, value in metrics.get("cost", {}).items()]
    if dated:
        lines += [f"      {staleness.report(metrics, today)[0]}"]
    return "\n".join(lines) + unjudged(few), not faults(checks)


def release(
    candidate: Path,
    params: Path | None,
    plan_file: Path = PLAN,
    into: Path | None = None,
    changelog: Path | None = None,
    dry: bool = False,
) -> str:
    """Judges the candidate and, where it passes and `dry` is not set, publishes it: model, metrics, history and
    cross-source test under `into`, those of its f32 parent in the folder `FLOAT` there, card, digest and a line in the
    changelog. Returns what to print.

    Args:
        into: folder of the released models; the plan's where it is not given, as is `changelog`.
    Raises:
        Refused: nothing was written.
    """
    plan = read_plan(plan_file)
    planned = released(plan_file)
    into, changelog = into or planned[0], changelog or planned[1]
    metrics_file, metrics = measured(candidate)
    target = into / f"{metrics['model']}.safetensors"
    current_file = into / f"{metrics['model']}.metrics.json"
    if current_file.exists() and current_file.resolve() == metrics_file.resolve():
        current = committed(current_file)
    else:
        current = json.loads(current_file.read_text()) if current_file.exists() else None
    with all_measured():
        checks = short_list(candidate, plan) + quantisation(candidate, metrics, plan)
        judged = check(metrics, current, plan, checks)
        few = headlines(metrics, plan)[1]
        changes = with_line(changelog, changelog_line(metrics, current))
    told = table(judged) if judged else f"{metrics['model']}: nothing to compare with, a first release"
    told += unjudged(few)
    folders = [Path(), Path(FLOAT)] if parent_of(candidate) else [Path()]
    from . import card  # loads JAX

    with TemporaryDirectory() as made_in:  # all is made before the first released file is replaced
        made = Path(made_in)
        for folder in folders:
            (made / folder).mkdir(exist_ok=True)
            for suffix in SUFFIXES:
                source = candidate.parent / folder / f"{candidate.stem}{suffix}"
                if source.exists():
                    shutil.copyfile(source, made / folder / f"{metrics['model']}{suffix}")
        with all_measured():
            written = card.write(made / target.name, params)
        if dry:
            return f"{told}\n{candidate} may be published"
        for folder in folders:
            (into / folder).mkdir(parents=True, exist_ok=True)
            for name in [f"{metrics['model']}{suffix}" for suffix in SUFFIXES] + [written.name]:
                if (made / folder / name).exists():
                    shutil.copyfile(made / folder / name, into / folder / name)
                elif name.endswith(".history.json"):  # an older model's
                    (into / folder / name).unlink(missing_ok=True)
    for folder in folders:
        record(into / "SHA256SUMS", into / folder / target.name)
    changelog.write_text(changes)
    return f"{told}\npublished {target} ({metrics['sha256']}), {written.name}, SHA256SUMS, {changelog.name}"
