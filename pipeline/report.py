"""Runs → the choice → the report: python -m pipeline.report [--sweep ID] [--tracking-uri URI].

The report is one self-contained HTML page, and the same facts as Markdown, CSV and JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipeline.choice import ReportError, counted, judge, judged, missing, no_best, rank, tabulate
from pipeline.config import PipelineError, default_tracking_uri, outputs_dir
from pipeline.evidence import of_sweep
from pipeline.page import Report, answer, description, draw, gather, html, markdown
from pipeline.portrait import portrait_of
from pipeline.tracking import Store, Sweep


def write_report(store: Store, sweep: Sweep, out: Path) -> Report:
    """Choose the best model of a sweep, judge it on the test split, and write the report.

    Args:
        store: holds the runs; gets the report as artifacts of the sweep's run, and the test
            accuracy as a metric of the chosen run.
        sweep: whose jobs; while some have not ended, the test split stays unread.
        out: the folder of the reports of all sweeps.

    Raises:
        PipelineError: the runs cannot be read, or the report cannot be written.
    """
    jobs = tabulate(store.runs(sweep))
    ranking = rank(jobs)
    jobs = jobs.loc[[*ranking.index, *jobs.index.difference(ranking.index)]]
    jobs.insert(0, "rank", pd.Series(range(1, len(ranking) + 1), ranking.index, "Int64"))
    final = not (jobs["outcome"] == "unfinished").any()
    best, weights = judge(store, ranking.iloc[0], final=final) if len(ranking) else (None, None)
    if best is not None:
        jobs.loc[ranking.index[0], "test_acc"] = best.test_acc
    problem = None if best else no_best(jobs)
    evidence, sentences = of_sweep(store, jobs, best, sweep.command)
    look = None
    try:
        if best is not None and weights is not None:
            look = portrait_of(store, best.run_id, weights, best.best_epoch)
    except PipelineError as error:
        sentences.append(f"The chosen model cannot be looked at: {' '.join(str(error).split())}.")
    report = Report(
        sweep=sweep.name,
        folder=out / folder_name(sweep.name),
        jobs=counted(jobs),
        missing=tuple(missing(jobs, sweep.command)),
        evidence=(*sentences, *judged(jobs)),
        best=best,
        problem=problem,
    )
    facts = gather(report, sweep.command, jobs, evidence, look[0] if look else None)
    drawings = draw(store, jobs, weights, evidence, look)
    files = {
        "report.json": json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.csv": jobs.to_csv(index=False),
        "report.md": markdown(report, facts, jobs),
        "report.html": html(report, facts, jobs, drawings),
    }
    try:
        publish(files, report.folder, store, sweep.run_id)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {report.folder} ({error.strerror}): make room there, "
            "or set PIPELINE_OUTPUTS to another folder"
        ) from error
    store.describe(sweep, description(report), best.run_id if best else None)
    return report


def summary_lines(report: Report) -> list[str]:
    """What to print when a report has been written."""
    return [
        *answer(report),
        report.jobs,
        *report.missing,
        f"Report: {report.folder / 'report.html'}",
    ]


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
        sweep = store.find_sweep(options.sweep)
        report = write_report(store, sweep, outputs_dir() / "reports")
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
