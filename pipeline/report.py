"""Runs → the choice → the report: python -m pipeline.report [--sweep ID] [--tracking-uri URI].

The report is one self-contained HTML page, and the same facts as Markdown, CSV and JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from pipeline.config import (
    Hyperparameters,
    PipelineError,
    default_tracking_uri,
    outputs_dir,
    parse_job,
)
from pipeline.data import SOURCES, load_test
from pipeline.figures import (
    COLOURS,
    GRID,
    MARKERS,
    Curves,
    draw_curves,
    draw_weights,
    heatmaps,
    percent,
    show,
    tables,
)
from pipeline.model import Params, predict
from pipeline.tracking import Point, Store

CURVES = ("train_loss", "train_acc", "val_loss", "val_acc")
METRICS = ("best_val_acc", "best_val_loss", "best_epoch", *CURVES, "test_acc")
PARAMS = (*(field.name for field in fields(Hyperparameters)), "data.name")
DATA = ("dataset", "dataset_digest", "num_train", "num_val")
WHOLE = ["job", "num_train", "num_val", "diverged_epoch", "best_epoch"]
OUTCOMES = ("finished", "diverged", "failed", "unfinished")


class ReportError(PipelineError):
    """The report cannot be made."""


@dataclass(frozen=True)
class Best:
    """The chosen model."""

    name: str
    run_id: str
    hidden_size: int
    l2_reg: float
    learning_rate: float
    best_epoch: int
    val_acc: float
    val_acc_ci95: tuple[float, float]
    val_loss: float
    num_val: int
    test_acc: float | None
    test_problem: str | None  # why there is no test_acc


@dataclass(frozen=True)
class Report:
    """What a report says first, and where it is."""

    sweep: str
    folder: Path  # of report.html, report.md, report.csv and report.json
    jobs: str  # how many had which outcome
    best: Best | None
    problem: str | None  # why there is no best, and what to do


def write_report(store: Store, sweep: str | None, out: Path) -> Report:
    """Choose the best model of a sweep, judge it on the test split, and write the report.

    Args:
        store: holds the runs; gets the report as artifacts of the sweep's run, and the test
            accuracy as a metric of the chosen run.
        sweep: its ID; None: the latest.
        out: the folder of the reports of all sweeps.

    Raises:
        PipelineError: there is no such sweep, or the report cannot be written.
    """
    found = store.find_sweep(sweep)
    jobs = tabulate(store.runs(found))
    ranking = rank(jobs)
    jobs = jobs.loc[[*ranking.index, *jobs.index.difference(ranking.index)]]
    jobs.insert(0, "rank", pd.Series(range(1, len(ranking) + 1), ranking.index, "Int64"))
    best, weights = judge(store, ranking.iloc[0]) if len(ranking) else (None, None)
    if best is not None:
        jobs.loc[ranking.index[0], "test_acc"] = best.test_acc
    problem = None if best else no_best(jobs)
    report = Report(found.name, out / folder_name(found.name), counted(jobs), best, problem)
    facts = gather(report, found.command, jobs)
    files = {
        "report.json": json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.csv": jobs.to_csv(index=False),
        "report.md": markdown(report, facts, jobs),
        "report.html": html(report, facts, jobs, draw(store, jobs, weights)),
    }
    try:
        publish(files, report.folder, store, found.run_id)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {report.folder} ({error.strerror}): make room there, "
            "or set PIPELINE_OUTPUTS to another folder"
        ) from error
    return report


def tabulate(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of a sweep (of `Store.runs`), one row a job, always with the same columns."""
    columns = {"job": "tags.job", "name": "name", "run_id": "run_id", "outcome": "tags.outcome"}
    columns |= {key: f"params.{key}" for key in PARAMS}
    columns |= {key: f"metrics.{key}" for key in METRICS}
    columns |= {key: f"tags.{key}" for key in (*DATA, "diverged_epoch", "error")}
    jobs = runs.reindex(columns=list(columns.values())).set_axis(list(columns), axis=1)
    jobs["outcome"] = jobs["outcome"].fillna("unfinished")
    for key in PARAMS:
        # As objects, for a missing value among whole numbers would make all of them floats.
        jobs[key] = pd.Series([_parsed(text) for text in jobs[key]], jobs.index, dtype=object)
    jobs[WHOLE] = jobs[WHOLE].apply(pd.to_numeric).astype("Int64")
    times = runs.reindex(columns=["start_time", "end_time"])
    start, end = (pd.to_datetime(times[key], utc=True) for key in times)
    jobs["seconds"] = (end - start).dt.total_seconds()
    return jobs


def rank(jobs: pd.DataFrame) -> pd.DataFrame:
    """The jobs that finished, the best first: the choice is the first row.

    The highest best_val_acc wins; among equals the lowest best_val_loss, then the smallest model,
    then the first of the sweep.
    """
    keys = {"best_val_acc": False, "best_val_loss": True, "hidden_size": True, "job": True}
    finished = jobs[jobs["outcome"] == "finished"]
    return finished.sort_values(list(keys), ascending=list(keys.values()))


def judge(store: Store, row: pd.Series[Any]) -> tuple[Best, Params | None]:
    """How good the chosen model is, and its weights if they can be had.

    The test split is read once in the life of a run: the accuracy on it is kept as a metric.
    """
    weights, problem = None, None
    test_acc = _plain(row["test_acc"])
    hits = round(row["best_val_acc"] * row["num_val"])
    try:
        weights = load_weights(store, row["run_id"])
        if test_acc is None:
            test_acc = measure_test(store, row["run_id"], weights, row["best_epoch"])
    except PipelineError as error:
        problem = " ".join(str(error).split())
    best = Best(
        name=row["name"],
        run_id=row["run_id"],
        hidden_size=row["hidden_size"],
        l2_reg=row["l2_reg"],
        learning_rate=row["learning_rate"],
        best_epoch=int(row["best_epoch"]),
        val_acc=float(row["best_val_acc"]),
        val_acc_ci95=wilson(hits, int(row["num_val"])),
        val_loss=float(row["best_val_loss"]),
        num_val=int(row["num_val"]),
        test_acc=test_acc,
        test_problem=problem if test_acc is None else None,
    )
    return best, weights


def load_weights(store: Store, run_id: str) -> Params:
    """The weights of a run's best epoch, a population of one.

    Raises:
        PipelineError: the run has none that can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = store.fetch(run_id, "weights.npz", Path(folder))
        try:
            with np.load(path, allow_pickle=False) as file:
                W1, b1, W2, b2 = (file[key] for key in Params._fields)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ReportError(f"weights.npz of run {run_id} is damaged ({error})") from error
    return Params(W1[None], b1[None, None], W2[None], b2[None, None])


def measure_test(store: Store, run_id: str, weights: Params, epoch: int) -> float:
    """Read the test split, and log the share of its images that a run's model predicts right.

    Raises:
        PipelineError: the run's configuration or the test split cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = store.fetch(run_id, "config.yaml", Path(folder)).read_text(encoding="utf-8")
    job = parse_job(yaml.safe_load(text))
    X, y = load_test(job.data, job.hyperparameters.dtype)
    test_acc = float((predict(weights, X)[0] == y).mean())
    store.log(run_id, [Point(int(epoch), int(time.time() * 1000), {"test_acc": test_acc})])
    return test_acc


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval for a share (Wilson, 1927), which holds near 0 and 1 too."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def counted(jobs: pd.DataFrame) -> str:
    """How many jobs there are, and how many with which outcome."""
    counts = [(outcome, int((jobs["outcome"] == outcome).sum())) for outcome in OUTCOMES]
    parts = ", ".join(f"{n} {outcome}" for outcome, n in counts if n)
    return f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}{': ' if parts else ''}{parts}"


def no_best(jobs: pd.DataFrame) -> str:
    """Why there is no model to choose, and what to do."""
    diverged = jobs[jobs["outcome"] == "diverged"]
    errors = jobs["error"].dropna()
    advice = "start the sweep again"
    if len(diverged):
        smallest = show(diverged["learning_rate"].min())
        advice = f"lower learning_rate, the smallest that diverged was {smallest}"
    elif len(errors):
        advice = f"the first that failed says: {' '.join(errors.iloc[0].split())}"
    return f"No model to choose ({counted(jobs)}): {advice}"


def notes(jobs: pd.DataFrame, best: Best | None) -> Iterator[str]:
    """What one should know before trusting the choice."""
    if best is None:
        return
    others = rank(jobs)[1:]
    if len(others):
        close = int((others["best_val_acc"] >= best.val_acc_ci95[0]).sum())
        yield (
            f"Of the other {len(others)} finished models, {close} have a validation accuracy "
            "within that interval: how they compare with the best is not certain."
        )
    for key in GRID:
        tried = sorted(pd.to_numeric(jobs[jobs["num_val"].notna()][key]).dropna().unique())
        value = getattr(best, key)
        if len(tried) > 2 and value in (tried[0], tried[-1]) and value > 0:
            end, more = ("smallest", "smaller") if value == tried[0] else ("largest", "larger")
            yield f"{key}={show(value)} is the {end} that was tried: a {more} one may be better."
    if jobs["dataset_digest"].nunique() > 1:
        yield "The models were trained on different data: their accuracies do not compare."
    if (jobs["outcome"] == "unfinished").any():
        yield "Jobs that have not ended were not considered."


def varied(jobs: pd.DataFrame) -> list[str]:
    """The values that tell the jobs apart: those of the grid, and what else was swept."""
    return [key for key in PARAMS if key in GRID or jobs[key].nunique() > 1]


def gather(report: Report, command: str, jobs: pd.DataFrame) -> dict[str, Any]:
    """All facts of a report, as JSON has them."""

    def apart(outcome: str, **more: str) -> list[dict[str, Any]]:
        keys = {key: key for key in ("job", "name", "run_id", *GRID)} | more
        chosen = jobs[jobs["outcome"] == outcome][list(keys.values())]
        return _records(chosen.set_axis(list(keys), axis=1))

    first = jobs[jobs["dataset"].notna()][:1]
    return {
        "sweep": report.sweep,
        "command": command,
        "jobs": report.jobs,
        **(_records(first[list(DATA)]) or [dict.fromkeys(DATA)])[0],
        "shared": {key: jobs[key].dropna().iloc[0] for key in PARAMS if jobs[key].nunique() == 1},
        "best": asdict(report.best) if report.best else None,
        "problem": report.problem,
        "notes": list(notes(jobs, report.best)),
        "runs": _records(jobs),
        "diverged": apart("diverged", epoch="diverged_epoch"),
        "failed": apart("failed", error="error"),
        "unfinished": apart("unfinished"),
    }


def answer(report: Report) -> list[str]:
    """The report in three lines; in one if there is no best model."""
    best = report.best
    if best is None:
        return [report.problem or ""]
    low, high = best.val_acc_ci95
    test = f"unknown: {best.test_problem}" if best.test_acc is None else percent(best.test_acc)
    return [
        f"Best model: H={best.hidden_size}, λ={show(best.l2_reg)}, lr={show(best.learning_rate)}",
        f"Validation accuracy: {percent(best.val_acc)} "
        f"(95 % interval: {percent(low)} to {percent(high)}, {best.num_val:,} images)",
        f"Test accuracy: {test}",
    ]


def summary_lines(report: Report) -> list[str]:
    """What to print when a report has been written."""
    return [*answer(report), report.jobs, f"Report: {report.folder / 'report.html'}"]


def settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run."""
    sizes = f"{show(facts['num_train'])} training and {show(facts['num_val'])} validation images"
    return [
        ("Command", facts["command"]),
        ("Jobs", facts["jobs"]),
        ("Data", f"{show(facts['dataset'])}, {sizes}, digest {show(facts['dataset_digest'])}"),
        ("Same for all", ", ".join(f"{k}={show(v)}" for k, v in facts["shared"].items())),
    ]


def markdown(report: Report, facts: Mapping[str, Any], jobs: pd.DataFrame) -> str:
    """The report as Markdown: all but the drawings."""
    lines = [f"# Report of sweep {_escaped(report.sweep)}", ""]
    lines += [f"**{_escaped(line)}**  " for line in answer(report)]
    lines += ["", *(f"- {_escaped(note)}" for note in facts["notes"])]
    for table in tables(jobs, varied(jobs)):
        rows = [table.header, ["---"] * len(table.header), *table.rows]
        lines += ["", f"## {table.outcome.capitalize()} jobs", ""]
        lines += [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    lines += ["", "## What was run", ""]
    lines += [f"- {key}: {_escaped(value)}" for key, value in settings(facts)]
    return "\n".join(lines) + "\n"


def html(
    report: Report, facts: Mapping[str, Any], jobs: pd.DataFrame, drawings: Mapping[str, Any]
) -> str:
    """The report as one page that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "show": show}
    return environment.get_template("report.html.j2").render(
        report=report,
        answer=answer(report),
        notes=facts["notes"],
        settings=settings(facts),
        tables=tables(jobs, varied(jobs)),
        **drawings,
    )


def draw(store: Store, jobs: pd.DataFrame, weights: Params | None) -> dict[str, Any]:
    """The drawings of the page: heatmaps, the curves of the best models, the chosen one's W1."""
    top = rank(jobs)[: len(MARKERS)]
    histories = [
        Curves(store.curves(run_id, CURVES), int(epoch))
        for run_id, epoch in zip(top["run_id"], top["best_epoch"], strict=True)
    ]
    first_layer = None
    if weights is not None:
        image_shape = SOURCES[top["dataset"].iloc[0]].image_shape
        first_layer = draw_weights(weights.W1[0], image_shape)
    return {
        "heatmaps": heatmaps(jobs),
        "models": list(zip(top["name"], COLOURS, MARKERS.values(), strict=False)),
        "curves": {quantity: draw_curves(histories, quantity) for quantity in ("loss", "acc")},
        "first_layer": first_layer,
    }


def folder_name(sweep: str) -> str:
    """A folder's name for a sweep, which may have any: `latest` is that of the link."""
    name = sweep.replace("/", "_")
    return f"{name}_" if name in (".", "..", "latest") else name


def publish(files: Mapping[str, str], folder: Path, store: Store, run_id: str) -> None:
    """Write files to MLflow and to a folder, and point the link `latest` beside it there.

    A reader sees the old files or the new ones, never half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        staged = Path(temporary, "report")
        staged.mkdir()
        for name, text in files.items():
            (staged / name).write_text(text, encoding="utf-8")
        store.log_files(run_id, Path(temporary))
        for name in files:
            (staged / name).replace(folder / name)
        link = Path(temporary, "latest")
        link.symlink_to(folder.name)
        link.replace(folder.parent / "latest")


def _parsed(text: Any) -> Any:
    """A parameter as the number that its text is, if it is one."""
    for kind in (int, float):
        try:
            number = kind(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            continue
    return text


def _plain(value: Any) -> Any:
    """A value of a DataFrame for JSON: null for what is missing or not finite."""
    if pd.isna(value) or value in (math.inf, -math.inf):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.astype(object).to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _escaped(text: str) -> str:
    """Text for one line of Markdown, in which nothing is markup."""
    return re.sub(r"([\\`*\[\]<>|~])", r"\\\1", " ".join(text.split()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of a sweep; exit with 1 if it cannot be, or has no model to choose."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.report", description="Write the report of a sweep."
    )
    parser.add_argument("--sweep", metavar="ID", help="default: the latest")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    try:
        store = _open(options.tracking_uri)
        report = write_report(store, options.sweep, outputs_dir() / "reports")
    except PipelineError as error:
        sys.exit(str(error))
    print(*summary_lines(report), sep="\n")
    sys.exit(report.best is None)


def _open(uri: str) -> Store:
    """Open a store that exists: a report creates none."""
    path = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:") and not path.exists():
        raise ReportError(
            f"there is no store at {path} yet: start a sweep with python -m pipeline -m …, "
            "or name another store with --tracking-uri"
        )
    return Store(uri)


if __name__ == "__main__":
    main()
