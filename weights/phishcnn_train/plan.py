"""`evaluation.toml`: what is reported on, and what a release is judged by."""

from __future__ import annotations

import tomllib
from pathlib import Path

from .data import DataError
from .typed import Figures

PLAN = Path(__file__).resolve().parents[1] / "evaluation.toml"
NEEDED = {
    "release": {"into", "changelog"},  # paths from the plan's folder
    "sets": set(),
    "mutations": {"set", "rows"},
    "same_verdict": set(),
    "gate": {"sets", "slice_set", "slices", "tags", "flagged", "sites", "evasion", "limits", "verdicts"}
    | {"calibration_error", "logit_difference", "quantisation_loss"},
}


def read(path: Path) -> Figures:
    """The plan. Raises DataError, which names the file and what is missing, where it cannot be used."""
    try:
        plan = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from error
    missing = [f"[{t}]" for t in NEEDED if t not in plan]
    missing += [f"{t}.{k}" for t, keys in NEEDED.items() if t in plan for k in sorted(keys - plan[t].keys())]
    if missing:
        raise DataError(f"{path}: without {', '.join(missing)}")
    return plan


def released(path: Path) -> tuple[Path, Path]:
    """(folder of the released models, changelog) of the plan."""
    table = read(path)["release"]
    return path.parent / table["into"], path.parent / table["changelog"]
