"""`python -m phishcnn_train COMMAND`; run it in the folder `weights/`."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path

from .data import MONTH, DataError, read_json, read_rows
from .network import LayerError
from .params import Params, ParamsError
from .plan import PLAN
from .release import Refused
from .typed import Array

DESCRIPTION = """Train, calibrate, export and evaluate PhishCNN models.

The usual order: prepare, tokenize, train, calibrate, export, evaluate, card (`dvc repro` runs it). Files are rows of
label<TAB>url (further columns: source, month, group, tags), plain or .gz."""

THIS_MONTH = datetime.date.today().strftime("%Y-%m")


def _work(args: argparse.Namespace, params: Params) -> Path:
    return Path(args.work or Path("cache") / params.name)


def _chars(params: Params, args: argparse.Namespace) -> Array | None:
    if not params.input.startswith("keras-char"):
        return None
    if not args.chars:
        raise ParamsError(f"{params.path}: {params.input.split()[0]} needs --chars char_index.json")
    from .keras_import import read_chars

    return read_chars(args.chars)


def split(args: argparse.Namespace) -> None:
    from . import groups
    from .data import need_both_classes, write_rows
    from .prepare import accepted, with_groups

    if bool(args.valid_from) != bool(args.test_from) or args.valid_from > args.test_from:
        raise ValueError("--valid-from and --test-from go together, the earlier month first")
    rows = with_groups(accepted(read_rows(*args.rows), args.rows))
    if not args.valid_from and any(rows.months):
        print("these rows have months: --valid-from and --test-from would validate and test on later phishing")
    sides = groups.split(rows, args.valid_from, args.test_from)
    parts = {args.output / f"{name}.tsv.gz": rows.take(side) for name, side in sides.items()}
    for path, part in parts.items():
        need_both_classes(part, path)
    args.output.mkdir(parents=True, exist_ok=True)
    for path, part in parts.items():
        write_rows(path, part)
        print(f"{path}: {int((part.labels == 1).sum())} phishing, {int((part.labels == 0).sum())} legitimate")


def prepare(args: argparse.Namespace) -> None:
    from .prepare import prepare as run

    run(args.train, args.valid, args.output, args.judge)


def opinion(args: argparse.Namespace) -> None:
    from . import opinion as step
    from .tokens import shares

    params, rows = Params.load(args.params), read_rows(args.rows / "train.tsv.gz")
    output = Path("cache") / "ngrams.npz"
    step.write(rows, rows.labels, shares(rows, params), output, params.train["seed"])
    print(f"written: {output}")


def tokenize(args: argparse.Namespace) -> None:
    import numpy as np

    from . import tokens as step

    params = Params.load(args.params)
    work, chars = _work(args, params), _chars(params, args)
    rows = read_rows(args.rows / "train.tsv.gz")
    ngrams = None
    if params.teach.get("ngrams"):
        from .opinion import read

        ngrams = read(Path("cache") / "ngrams.npz", rows, step.shares(rows, params), params.train["seed"])
    limit = params.train["row_limit"]
    if limit and limit < len(rows):
        keep = np.sort(np.random.default_rng([params.train["seed"], 2]).permutation(len(rows))[:limit])
        rows, ngrams = rows.take(keep), None if ngrams is None else ngrams[keep]
        print(f"{limit} rows drawn")
    train_tokens = step.tokens_of(rows, params, chars)
    if params.teach:
        from .teach import taught

        train_tokens = taught(train_tokens, rows.urls, params, ngrams)
    train_tokens.save(work / "train.npz")
    for name in ("valid", "valid_domains"):
        step.tokens_of(read_rows(args.rows / f"{name}.tsv.gz"), params, chars).save(work / f"{name}.npz")
    print(f"written: {work}/train.npz, valid.npz, valid_domains.npz")


def train(args: argparse.Namespace) -> None:
    from . import ngrams
    from .tokens import Tokens
    from .train import train as run

    params = Params.load(args.params)
    layer = ngrams.layer_of(params)  # what is missing for it is told before hours of training
    work, chars = _work(args, params), _chars(params, args)
    n_chars = 0 if chars is None else len(chars)
    rows, valid, domains = (Tokens.load(work / f"{name}.npz") for name in ("train", "valid", "valid_domains"))
    run(params, rows, valid, domains, work, n_chars=n_chars)
    if layer:
        ngrams.add(layer, params, rows, valid, domains, work)


def calibrate(args: argparse.Namespace) -> None:
    from .calibrate import calibrate as run

    params = Params.load(args.params)
    print(json.dumps(run(params, _work(args, params))))


def export(args: argparse.Namespace) -> None:
    from .export import export as run

    params = Params.load(args.params)
    print(run(params, _work(args, params), Path(args.output), _chars(params, args)))


def quantize(args: argparse.Namespace) -> None:
    from .quantize import quantize as run

    figures = run(args.model, read_rows(args.rows / "valid.tsv.gz"), args.output, args.sample, args.fine)
    for key, value in figures.items():
        print(key, f"{value:.4f}" if isinstance(value, float) else value)


def evaluate(args: argparse.Namespace) -> None:
    from .evaluate import evaluate as run
    from .evaluate import measure_again, standard_sets

    sets = standard_sets(Path(args.data), args.plan) if args.data else {}
    for item in args.set:
        name, sign, spec = item.partition("=")
        if not (name and sign and spec):
            raise DataError(f"--set {item}: must be NAME=FILE[:FILTER…][,FILE…]")
        sets[name] = spec
    if not sets:
        raise DataError("nothing to report on: give --data or --set")
    if args.cost:
        if "test" not in sets:
            raise DataError("--cost times the rows of test: give --data or --set test=FILE")
        print(measure_again(Path(args.model), sets["test"], Path(args.output) if args.output else None)["cost"])
        return
    run(Path(args.model), sets, Path(args.output) if args.output else None, args.threads, Path(args.cache), args.plan)


def card(args: argparse.Namespace) -> None:
    from .card import write

    print(write(Path(args.model), Path(args.params) if args.params else None))


def baseline(args: argparse.Namespace) -> None:
    from .baselines import train as run
    from .tokens import shares

    params = Params.load(args.params)
    rows, valid, domains = (read_rows(args.rows / f"{n}.tsv.gz") for n in ("train", "valid", "valid_domains"))
    output = Path(args.output or Path("cache") / "baselines" / f"{args.kind}.pickle")
    run(args.kind, rows, shares(rows, params), valid, domains, output, params.train["seed"])
    print(output)


def report(args: argparse.Namespace) -> None:
    from .report import worst_rows, write

    if args.rows:
        output = Path("cache") / "worst_rows.html"
        n = worst_rows(Path(args.folder) / "models" / f"{args.main}.safetensors", args.rows, output)
        print(f"{n} rows explained in {output}; it shows rows of the data, so keep it out of the repository")
        return
    print(write(Path(args.folder), args.main, Path(args.output)))


def judge(args: argparse.Namespace) -> int:
    from .release import judge_alone

    told, passed = judge_alone(args.model, args.plan, THIS_MONTH, args.output)
    print(told)
    return int(not passed)


def release(args: argparse.Namespace) -> None:
    from .release import release as run

    print(run(args.candidate, args.params, args.plan, args.into, args.changelog, args.dry_run))


def check_data(args: argparse.Namespace) -> int:
    from . import schema

    failed = False
    train_rows = read_rows(args.train) if args.train else None
    for path in args.files:
        rows = read_rows(path)
        errors, warnings = schema.problems(rows, args.newest)
        told = {"file": Path(path).name, "errors": errors, "warnings": warnings, **schema.profile(rows)}
        if train_rows:
            told["leaks"] = schema.leaks(train_rows, rows)
            if told["leaks"]["urls_in_train"]:
                errors.append(f"{told['leaks']['urls_in_train']} URLs are training rows, too")
            told["shifted"] = {k: round(v, 3) for k, v in schema.shift(train_rows, rows).items() if v > schema.SHIFT}
        print(json.dumps(told, indent=1, ensure_ascii=False))
        for error in errors:
            print(f"{path}: {error}", file=sys.stderr)
        failed |= bool(errors)
    return int(failed and not args.tell)


def cross_source(args: argparse.Namespace) -> None:
    from .cross_source import run

    params = Params.load(args.params)
    output = args.output or Path("models") / f"{params.name}.cross_source.json"
    work = _work(args, params) / "cross_source"
    given = {"rows": args.sample, "epochs": args.epochs}
    how = {key: n for key, n in given.items() if n is not None}
    run(params, args.rows, args.test, output, work, sources=args.sources, **how)
    print(output)


def screen(args: argparse.Namespace) -> None:
    from .screen import run, table

    params = Params.load(args.params)
    print(table(run(params, args.plan, args.rows, args.output, _work(args, params) / "screen")))


def repair(args: argparse.Namespace) -> None:
    from .data import write_rows
    from .evaluate import load
    from .repair import repairs
    from .scores import Cached

    found = repairs(Cached(load(Path(args.model)), Path(args.cache)), read_rows(*args.files), args.most)
    write_rows(Path(args.output), found)
    print(f"{len(found)} rows written to {args.output}")


def staleness(args: argparse.Namespace) -> int:
    from .staleness import report as run

    told, stale = run(read_json(Path(args.metrics)), args.today)
    print(told)
    return int(stale)


def import_keras(args: argparse.Namespace) -> None:
    from .keras_import import convert

    print(
        convert(args.weights, args.architecture, args.chars, Path(args.output), args.length, args.name, args.canonical)
    )


def month(text: str) -> str:
    """YYYY-MM on the command line, or nothing."""
    if text and not MONTH.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month; it must be YYYY-MM")
    return text


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="phishcnn_train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function)
        return sub

    def with_params(sub: argparse.ArgumentParser, *more: str) -> argparse.ArgumentParser:
        sub.add_argument("--params", required=True, help="parameter file, e.g. compact.toml")
        if "work" in more:
            sub.add_argument("--work", help="folder for arrays and checkpoints (default: cache/NAME)")
        if "chars" in more:
            sub.add_argument("--chars", help="char_index.json, for keras-char inputs only")
        return sub

    def with_plan(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--plan", type=Path, default=PLAN, metavar="FILE", help="default: the project's evaluation.toml"
        )

    sub = command("split", split, "Derive training, validation and test files from rows without a split.")
    sub.add_argument("rows", nargs="+", metavar="FILE", help="labelled rows; a missing group column is filled in")
    sub.add_argument(
        "--valid-from", type=month, default="", metavar="YYYY-MM", help="first month of validation phishing"
    )
    sub.add_argument("--test-from", type=month, default="", metavar="YYYY-MM", help="first month of test phishing")
    sub.add_argument("-o", "--output", type=Path, required=True, help="folder for train, valid and test.tsv.gz")
    sub = command("prepare", prepare, "Clean training rows; shared by all models.")
    sub.add_argument("--train", nargs="+", type=Path, required=True, metavar="FILE", help="training rows, pooled")
    sub.add_argument("--valid", nargs="+", type=Path, required=True, metavar="FILE", help="validation rows, pooled")
    sub.add_argument(
        "--judge",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="further rows that models are judged by (test rows): none of them, and none of --valid, is trained on",
    )
    sub.add_argument("-o", "--output", type=Path, default=Path("cache/rows"), help="folder (default: cache/rows)")
    sub = with_params(command("opinion", opinion, "Fit n-grams out of fold: the second teacher of `[teach]`."))
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    tokenizes = command("tokenize", tokenize, "Tokenise, weigh and sample the prepared rows for a model.")
    sub = with_params(tokenizes, "work", "chars")
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    trains = command("train", train, "Train; goes on from the last finished epoch if there is a checkpoint.")
    with_params(trains, "work", "chars")
    with_params(command("calibrate", calibrate, "Fit calibration and thresholds on the validation rows."), "work")
    sub = with_params(command("export", export, "Write the model file."), "work", "chars")
    sub.add_argument("-o", "--output", required=True, help="the .safetensors file to write")
    sub = command("quantize", quantize, "Write the int8 model of an f32 one, calibrated on the validation rows.")
    sub.add_argument("model", type=Path, help="the f32 .safetensors file")
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    sub.add_argument("--sample", type=int, default=24000, help="rows that ranges are measured on (default: 24000)")
    sub.add_argument(
        "--fine", action="store_true", help="each channel of the embedding twice: finer, and more arithmetic"
    )
    sub.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    sub = command(
        "evaluate", evaluate, "Score labelled files with an exported model, through the wheel and through JAX."
    )
    sub.add_argument("model", help="the .safetensors file, or a baseline's .pickle")
    sub.add_argument("--data", metavar="FOLDER", help="report on the sets of the plan, with this folder's files")
    with_plan(sub)
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=FILE[:FILTER…][,FILE…]",
        help="a set to report on; filters: label=0, label=1, with=TAG, without=TAG, every=N; may be repeated",
    )
    sub.add_argument(
        "--cost", action="store_true", help="measure only size, memory and time, anew in the JSON that is there"
    )
    sub.add_argument("-o", "--output", help="JSON to write (default: models/NAME.metrics.json beside the model)")
    sub.add_argument("--threads", type=int, default=1, help="threads of the wheel (default: 1)")
    sub.add_argument("--cache", default="cache/scores", help="folder that keeps scores (default: cache/scores)")
    sub = command("card", card, "Write the model card from the model file, its metrics JSON and its parameters.")
    sub.add_argument("model", help="the .safetensors file; NAME.metrics.json must lie beside it")
    sub.add_argument("--params", help="the parameter file it was trained with")
    sub = command("baseline", baseline, "Train one of the baselines that need no network, on the same cleaned rows.")
    sub.add_argument("kind", choices=("ngrams", "trees"), help="hashed n-grams + logistic regression, or boosted trees")
    sub.add_argument("--params", required=True, help="parameter file whose row weights and seed are used")
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    sub.add_argument("-o", "--output", help="pickle to write (default: cache/baselines/KIND.pickle)")
    sub = command("report", report, "Write the HTML report and its pictures from all metrics JSONs.")
    sub.add_argument("--main", default="phishcnn-compact", help="the model the report is about")
    sub.add_argument("--folder", default=".", help="folder with models/ and baselines/ (default: this one)")
    sub.add_argument("-o", "--output", default="report", help="folder to write (default: report)")
    sub.add_argument(
        "--rows", metavar="FILE", help="instead: the worst rows of this set on known sites, to a local page"
    )
    sub = command("judge", judge, "Judge a model by what the release gate asks of it alone; exit 1 on a fault.")
    sub.add_argument("model", type=Path, help="the .safetensors file; its metrics JSON must lie beside it")
    with_plan(sub)
    sub.add_argument("-o", "--output", type=Path, help="JSON to write, with each check (default: none)")
    sub = command("release", release, "Publish a model unless it is worse than the current one.")
    sub.add_argument("candidate", type=Path, help="the .safetensors file; its metrics JSON must lie beside it")
    sub.add_argument("--params", type=Path, help="the parameter file it was trained with, for the card")
    with_plan(sub)
    sub.add_argument("--into", type=Path, help="folder of released models (default: the plan's)")
    sub.add_argument("--changelog", type=Path, help="default: the plan's; made where it is not there")
    sub.add_argument("--dry-run", action="store_true", help="judge only, write nothing")
    sub = command("check-data", check_data, "Test labelled files: form, duplicates, habits, leaks, shifts.")
    sub.add_argument("files", nargs="+", metavar="FILE", help="labelled files")
    sub.add_argument("--train", metavar="FILE", help="training rows, to look for leaks and shifts")
    sub.add_argument("--newest", type=month, metavar="YYYY-MM", help="month after which no row can have been seen")
    sub.add_argument(
        "--tell", action="store_true", help="exit 0 where rows are at fault, too; unreadable files still fail"
    )
    leaves_out = command("cross-source", cross_source, "Leave each large source out of a short training in turn.")
    sub = with_params(leaves_out, "work")
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    sub.add_argument("--test", type=Path, required=True, metavar="FILE", help="test rows, both classes")
    # No numbers here: to import them loads JAX, which takes seconds.
    sub.add_argument("--sample", type=int, help="training rows of each run (default: ROWS in cross_source.py)")
    sub.add_argument("--epochs", type=int, help="epochs of each run (default: EPOCHS there)")
    sub.add_argument("--sources", type=int, default=3, help="sources of each class (default: 3)")
    sub.add_argument("-o", "--output", type=Path, help="JSON (default: models/NAME.cross_source.json)")
    sub = with_params(command("screen", screen, "Short trainings that differ in one thing; resumes."), "work")
    sub.add_argument("--plan", type=Path, default=Path("screen.toml"), help="what to try (default: screen.toml)")
    sub.add_argument("--rows", type=Path, default=Path("cache/rows"), help="folder of prepare (default: cache/rows)")
    sub.add_argument("-o", "--output", type=Path, default=Path("screen.json"), help="JSON (default: screen.json)")
    sub = command("repair", repair, "Make training rows from inconsistent verdicts on training rows.")
    sub.add_argument("model", help="the .safetensors file")
    sub.add_argument("files", nargs="+", metavar="FILE", help="training rows (never test rows)")
    sub.add_argument("--most", type=int, help="rows kept, the largest changes first (default: all)")
    sub.add_argument("--cache", default="cache/scores", help="folder that keeps scores (default: cache/scores)")
    sub.add_argument("-o", "--output", required=True, help="labelled file to write")
    sub = command("staleness", staleness, "Tell how old a model is; exit 1 when it is stale.")
    sub.add_argument("metrics", help="the model's metrics JSON")
    sub.add_argument("--today", type=month, default=THIS_MONTH, metavar="YYYY-MM", help="default: this month")
    sub = command("import-keras", import_keras, "Convert a Keras 2 Sequential character CNN (HDF5).")
    sub.add_argument("weights", help="weights or whole model, .h5")
    sub.add_argument("--architecture", help="the model's JSON, when the .h5 has no model_config")
    sub.add_argument("--chars", required=True, help="char_index.json: character -> id, unknown characters under -n-")
    sub.add_argument("--length", type=int, help="input length, when the architecture does not say")
    sub.add_argument("--name", help="name of the model (default: the output file's)")
    sub.add_argument("--canonical", action="store_true", help="feed it canonical URLs (default: raw, as trained)")
    sub.add_argument("-o", "--output", required=True, help="the .safetensors file to write")
    return top


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return args.function(args) or 0
    except ModuleNotFoundError as error:
        print(
            f"phishcnn_train: {error.name} is not installed; in weights/:"
            " pip install -r requirements.txt -r requirements-evaluation.txt",
            file=sys.stderr,
        )
        return 1
    except Refused as error:
        print(f"refused:\n{error}", file=sys.stderr)
        return 1
    except (DataError, ParamsError, LayerError, ValueError, OSError) as error:
        print(f"phishcnn_train: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
