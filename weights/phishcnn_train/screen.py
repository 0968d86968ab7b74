"""Screening: short trainings that differ in one thing, to search for a network and its training.

All begin with random weights and learn the same rows in the same order of seeds, so that a difference comes from what
was changed and from chance; a second seed of the unchanged parameters tells how large that is. Judged are validation
rows, never test rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
import tomllib
from pathlib import Path

import numpy as np

from . import network, train
from .cross_source import drawn
from .data import digest, read_json, read_rows
from .evaluate import dumps
from .params import Params, ParamsError
from .teach import taught
from .tokens import tokens_of
from .typed import Figures, Log

TELLS = ("name", "version", "purpose", "data", "path")  # parameters that say what a model is; they decide no training


def varied(params: Params, changes: Figures) -> Params:
    """The parameters with these keys instead; a table's other keys stay. Raises ParamsError where there is no such
    key."""
    fields: Figures = {}
    for name, value in changes.items():
        before = getattr(params, name, None)
        if before is None or (isinstance(before, dict) != isinstance(value, dict)):
            raise ParamsError(f"{name}: no such parameter, or no table")
        known = before if name not in ("sizes", "teach") else {**before, **value}
        if isinstance(value, dict) and (unknown := set(value) - set(known)):
            raise ParamsError(f"{name}: no key {', '.join(sorted(unknown))}")
        fields[name] = {**before, **value} if isinstance(before, dict) else value
    return dataclasses.replace(params, **fields)


def plan(path: Path, params: Params) -> dict[str, Params]:
    """Title → parameters of each training that the file names. Raises ParamsError, which names the variation."""
    try:
        told = tomllib.loads(path.read_text())
        base = varied(dataclasses.replace(params, start="", teach={}), told["all"])
        out = {}
        for title, changes in told["variations"].items():
            try:
                out[title] = varied(base, changes)
                network.parse(out[title].layers)
            except (ParamsError, network.LayerError) as error:
                raise ParamsError(f"{path}: {title}: {error}") from error
        return out
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ParamsError(f"{path}: {error}") from error


def run(params: Params, plan_file: Path, rows_folder: Path, output: Path, work: Path, log: Log = print) -> Figures:
    """Trains what is missing in `output`, and adds each run as soon as it is done. Returns the plan's runs, in its
    order; `output` keeps those that the plan no longer names.

    Args:
        rows_folder: where `prepare` wrote the cleaned rows.
    """
    rows, valid_rows, domain_rows = (
        read_rows(rows_folder / f"{n}.tsv.gz") for n in ("train", "valid", "valid_domains")
    )
    settings = {"train_sha256": digest(rows), "valid_sha256": digest(valid_rows)}
    result = read_json(output) if output.exists() else {}
    planned = plan(plan_file, params)
    if result.get("settings") != settings:
        if dropped := len(result.get("runs", {})):
            log(f"{output}: of other rows; its {dropped} runs are dropped")
        result = {"settings": settings, "runs": {}}
    for title, varied_params in planned.items():
        decides = {k: v for k, v in dataclasses.asdict(varied_params).items() if k not in TELLS}
        identity = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        if result["runs"].get(title, {}).get("params_sha256") == identity:
            continue
        begun = time.monotonic()
        seed, limit = varied_params.train["seed"], varied_params.train["row_limit"]
        part = drawn(rows, np.ones(len(rows), bool), limit or len(rows), seed)
        log(f"{title}: {len(part):,} rows", flush=True)
        tokens = tokens_of(part, varied_params)
        if varied_params.teach:
            tokens = taught(tokens, part.urls, varied_params)
        valid, domains = (tokens_of(r, varied_params) for r in (valid_rows, domain_rows))
        place = work / identity[:12]
        weights = train.train(varied_params, tokens, valid, domains, place)
        layers = network.parse(varied_params.layers)
        history = json.loads((place / "history.json").read_text())
        result["runs"][title] = {
            "params_sha256": identity,
            "train_rows": len(part),
            "parameters": sum(int(np.prod(w.shape)) for w in weights.values()),
            "multiply_adds_64": network.multiply_adds(layers, weights, 64),
            "seconds": round(time.monotonic() - begun),
            "epochs": history,
            "kept": next(e for e in history if e["kept"]),
        }
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(dumps(result))
    return result | {"runs": {title: result["runs"][title] for title in planned}}


def table(result: Figures) -> str:
    """Markdown for EXPERIMENTS.md: recall in per cent at FPR 1 % / 0.1 % and the mean over the rates of `train.FPRS`."""
    lines = [
        "| variation | parameters | multiply-adds | valid | mean | unseen domains | mean | mean of both |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, one in result["runs"].items():
        best = one["kept"]
        recalls = []
        for name in ("recall", "recall_unseen"):
            at = (best.get(f"{name}_{rate}") for rate in ("0.01", "0.001"))  # None: too few rows to resolve it
            both = " / ".join("–" if recall is None else f"{100 * recall:.1f}" for recall in at)
            recalls.append(f"{both} | {'–' if best[name] is None else f'{100 * best[name]:.1f}'}")
        lines.append(
            f"| {title} | {one['parameters']:,} | {one['multiply_adds_64'] / 1e6:.2f} M | {' | '.join(recalls)} |"
            f" {100 * train.rank(best):.1f} |"
        )
    return "\n".join(lines)
