"""Runs → the choice → the report: python -m pipeline.report [--sweep ID] [--tracking-uri URI].

The report is one self-contained HTML page, and the same facts as Markdown, CSV and JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.analysis.choice import (
    Best,
    ReportError,
    counted,
    halted,
    judge,
    judged,
    missing,
    no_best,
    rank,
    tabulate,
)
from pipeline.analysis.diagnostics import Diagnostics, diagnose_run
from pipeline.analysis.evidence import Evidence, accuracy_in_words, head_to_head, of_sweep
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.nn.model import Params
from pipeline.paths import default_tracking_uri, outputs_dir
from pipeline.report.page import (
    Report,
    SweepComparison,
    answer,
    draw,
    gather,
    html,
    in_ui,
    markdown,
)
from pipeline.report.tables import percent, show
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store

LIBRARIES = (  # that are imported where they are used
    *("matplotlib.figure", "matplotlib.backends.backend_svg"),
    *("scipy.stats", "statsmodels.stats.multitest", "statsmodels.stats.proportion"),
)


@dataclass(frozen=True)
class SweepAnalysis:
    """A sweep of which all is known that its report says."""

    sweep: Sweep
    jobs: pd.DataFrame  # a row a run, the ranked ones first
    best: Best | None
    weights: Params | None
    evidence: Evidence | None
    look: tuple[Diagnostics, Dataset] | None
    sentences: Sequence[str]


def assess(store: Store, sweep: Sweep) -> SweepAnalysis:
    """Choose the best model of a sweep, judge it on the test split, and look at it.

    Raises:
        PipelineError: the runs cannot be read.
    """
    jobs = tabulate(queries.sweep_runs(store, sweep))
    ranking = rank(jobs)
    jobs = jobs.loc[[*ranking.index, *jobs.index.difference(ranking.index)]]
    jobs.insert(0, "rank", pd.Series(range(1, len(ranking) + 1), ranking.index, "Int64"))
    final = not (jobs["outcome"] == "unfinished").any()
    best, weights = judge(store, ranking.iloc[0], final=final) if len(ranking) else (None, None)
    if best is not None:
        jobs.loc[ranking.index[0], "test_acc"] = best.test_acc
    evidence, sentences = of_sweep(store, jobs, best, sweep)
    look = None
    try:
        if best is not None and weights is not None:
            look = diagnose_run(store, best.run_id, weights, best.best_epoch)
    except PipelineError as error:
        sentences.append(f"The chosen model cannot be looked at: {' '.join(str(error).split())}.")
    return SweepAnalysis(
        sweep, jobs, best, weights, evidence, look, [*halted(jobs), *sentences, *judged(jobs)]
    )


def load_libraries() -> None:
    """Import what a report needs, about a second's work, while something else is waited for."""
    for name in LIBRARIES:
        importlib.import_module(name)


def write_report(store: Store, sweep: Sweep, out: Path, against: Sweep | None = None) -> Report:
    """Write the report of a sweep.

    Args:
        store: holds the runs; gets the report as artifacts of the sweep's run, and the test
            accuracy as a metric of the chosen run.
        sweep: whose jobs; while some have not ended, the test split stays unread.
        out: the folder of the reports of all sweeps.
        against: another sweep to show beside it; the report then gets a folder of its own, and is
            no artifact.

    Raises:
        PipelineError: the runs cannot be read, or the report cannot be written.
    """
    found = assess(store, sweep)
    beside = side_by_side(store, found, assess(store, against)) if against else None
    jobs, best = found.jobs, found.best
    name = f"{sweep.name}-against-{against.name}" if against else sweep.name
    report = Report(
        sweep=sweep.name,
        folder=out / folder_name(name),
        answer=answer(jobs, best, found.evidence) if best else (no_best(jobs),),
        jobs=counted(jobs),
        missing=tuple(missing(jobs, sweep.command)),
        evidence=tuple(found.sentences),
        best=best,
        problem=None if best else no_best(jobs),
        beside=beside,
    )
    facts = gather(report, sweep.command, jobs, found.evidence, found.look)
    drawings = draw(
        *(store, jobs, best, found.weights, found.evidence, found.look),
        searched=bool(sweep.searched),
    )
    files = {
        "report.json": json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.csv": jobs.to_csv(index=False),
        **(
            {"configurations.csv": found.evidence.configurations.to_csv(index=False)}
            if found.evidence
            else {}
        ),
        "report.md": markdown(report, facts, jobs, drawings),
        "report.html": html(report, facts, jobs, drawings),
        **{f"{name}.svg": svg for name, svg in drawings["curves"].items()},
        **{f"{name}.svg": svg for name, _, _, svg in drawings["overview"]},
    }
    try:
        publish(files, report.folder, store, None if against else sweep.run_id)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {report.folder} ({error.strerror}): make room there, "
            "or set PIPELINE_OUTPUTS to another folder"
        ) from error
    if against is None:
        pictures = [name for name in files if name.endswith(".svg")]
        store.log_summary(sweep, in_ui(report, sweep, pictures), best.run_id if best else None)
    return report


def side_by_side(store: Store, ours: SweepAnalysis, theirs: SweepAnalysis) -> SweepComparison:
    """Two sweeps in a table, and whether the chosen model of the one is better."""
    rows = [
        (label, first, second)
        for (label, first), (_, second) in zip(_in_short(ours), _in_short(theirs), strict=True)
    ]
    return SweepComparison(theirs.sweep.name, _which(store, ours, theirs), rows)


def _which(store: Store, ours: SweepAnalysis, theirs: SweepAnalysis) -> str:
    if ours.best is None or theirs.best is None:
        return "One of the two has no model to compare."
    first, second = ours.jobs.iloc[0], theirs.jobs.iloc[0]
    if first["run_id"] == second["run_id"]:
        return "Both chose the same run."
    try:
        verdict = head_to_head(store, first, second)
    except PipelineError as error:
        return f"Their chosen models do not compare: {' '.join(str(error).split())}."
    p_value = verdict.table["p_value"].iloc[-1]
    test = f"(exact McNemar test on the same validation images, p = {p_value:.2g})"
    if len(verdict.together) > 1:
        return f"Their chosen models cannot be told apart {test}."
    better = ours if verdict.chosen == "ours" else theirs
    return f"The chosen model of {better.sweep.name} is better {test}."


def _in_short(found: SweepAnalysis) -> list[tuple[str, str]]:
    best, evidence, first = found.best, found.evidence, found.jobs[:1]
    shares = evidence.importance.shares if evidence else pd.DataFrame()
    return [
        ("Jobs", counted(found.jobs)),
        ("Best model", best.name if best else "–"),
        ("Validation accuracy", accuracy_in_words(best, evidence) if best else "–"),
        ("Without luck", percent(evidence.correction.corrected) if evidence else "–"),
        ("Test accuracy", percent(best.test_acc) if best and best.test_acc is not None else "–"),
        (
            "Cannot be told apart",
            f"{len(evidence.verdict.together)} of {len(evidence.verdict.table)} configurations"
            if evidence
            else "–",
        ),
        ("What mattered most", " × ".join(shares["values"].iloc[0]) if len(shares) else "–"),
        ("Data", show(first["dataset_digest"].iloc[0]) if len(first) else "–"),
        ("Command", found.sweep.command),
    ]


def summary_lines(report: Report) -> list[str]:
    """What to print when a report has been written."""
    return [
        *report.answer,
        report.jobs,
        *([f"Against {report.beside.sweep}: {report.beside.verdict}"] if report.beside else []),
        *report.missing,
        f"Report: {report.folder / 'report.html'}",
    ]


def folder_name(sweep: str) -> str:
    """A folder's name for a sweep, which may have any: `latest` is that of the link."""
    name = sweep.replace("/", "_")
    return f"{name}_" if name in (".", "..", "latest") else name


def publish(files: Mapping[str, str], folder: Path, store: Store, run_id: str | None) -> None:
    """Write files to a run of MLflow, if any, and to a folder; the link `latest` then leads there.

    A reader sees the old files or the new ones, never half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as temporary:
        staged = Path(temporary, "report")
        staged.mkdir()
        for name, text in files.items():
            (staged / name).write_text(text, encoding="utf-8")
        if run_id is not None:
            store.log_artifacts(run_id, Path(temporary))
        for name in files:
            (staged / name).replace(folder / name)
        link = Path(temporary, "latest")
        link.symlink_to(folder.name)
        link.replace(folder.parent / "latest")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of a sweep; exit with 1 if it cannot be, or has no model to choose."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.report", description="Write the report of a sweep."
    )
    parser.add_argument("--sweep", metavar="ID", help="default: the latest")
    parser.add_argument("--against", metavar="ID", help="another sweep to show beside it")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    try:
        store = Store.open_existing(options.tracking_uri)
        sweep = queries.find_sweep(store, options.sweep)
        against = queries.find_sweep(store, options.against) if options.against else None
        report = write_report(store, sweep, outputs_dir() / "reports", against)
    except PipelineError as error:
        sys.exit(str(error))
    print(*summary_lines(report), sep="\n")
    sys.exit(report.best is None)
