"""Write the report of a sweep: HTML, Markdown, CSV and JSON, in a folder and in MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.analysis.evaluation import Best
from pipeline.analysis.result import SweepAnalysis, SweepComparison
from pipeline.analysis.runs import swept_names
from pipeline.analysis.sweep import analyse, compare_sweeps
from pipeline.errors import PipelineError
from pipeline.files import delete_abandoned, temporary_folder
from pipeline.report import notes, sentences
from pipeline.report.comparison import verdict
from pipeline.report.drawings import Drawings, draw
from pipeline.report.ensemble import ensemble_answer
from pipeline.report.facts import to_csv, to_dict
from pipeline.report.formatting import visible
from pipeline.report.html import html
from pipeline.report.markdown import markdown, mlflow_description
from pipeline.tracking.entities import Sweep
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.logged_models import log_chosen_model
from pipeline.tracking.store import Store
from pipeline.tracking.views import save_views


class ReportError(PipelineError):
    """The report cannot be written."""


@dataclass(frozen=True)
class Report:
    """A report that was written."""

    sweep: str
    folder: Path  # of report.html, report.md, report.json, report.csv and the charts
    lines: tuple[str, ...]  # the output of a command
    notes: tuple[str, ...]
    best: Best | None
    verdict: str | None  # about the chosen models of two sweeps, if it compares them


def write_report(
    store: Store,
    sweep: Sweep,
    out: Path,
    against: Sweep | None = None,
    *,
    read_test: bool = False,
) -> Report:
    """Write the report of a sweep.

    Args:
        store: holds the runs. It receives the report as artifacts of the sweep's run, and the test
            accuracy as a metric of the chosen run.
        sweep: the sweep. Before all its planned jobs have ended, the test split is not read.
        out: the folder of the reports of all sweeps.
        against: another sweep to compare with. Such a report has a folder of its own, and is not
            stored as an artifact.
        read_test: whether to read the test split of an incomplete sweep, too.

    Raises:
        PipelineError: the runs cannot be read, or the report cannot be written.
    """
    found = analyse(store, sweep, read_test=read_test)
    comparison = compare_sweeps(store, found, analyse(store, against)) if against else None
    folder = out / folder_name(f"{sweep.name}-against-{against.name}" if against else sweep.name)
    drawings = draw(found)
    files = _files(found, comparison, drawings)
    try:
        publish(files, folder, store, None if against else sweep.run_id)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {folder} ({error.strerror}): make room there, or set "
            "PIPELINE_OUTPUTS to another folder"
        ) from error
    best = found.chosen.best if found.chosen else None
    lines = _lines(found, comparison, folder)
    if against is None:
        pictures = [f"{chart.name}.svg" for chart in drawings.charts]
        text = mlflow_description(found, sweep, pictures)
        store.log_summary(sweep, text, best.run_id if best else None)
        save_views(store, sweep, [name for name in swept_names(found.jobs) if name != "data.name"])
        lines += _log_model(store, sweep, best)
    return Report(
        sweep=sweep.name,
        folder=folder,
        lines=tuple(map(visible, lines)),
        notes=tuple(notes.all_notes(found)),
        best=best,
        verdict=verdict(comparison) if comparison else None,
    )


def _files(
    found: SweepAnalysis, comparison: SweepComparison | None, drawings: Drawings
) -> dict[str, str]:
    """The contents of each file of a report."""
    facts = to_dict(found, comparison)
    files = {
        "report.json": json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "report.csv": to_csv(found.jobs),
        "report.md": markdown(found, comparison),
        "report.html": html(found, comparison, drawings),
    }
    if found.evidence is not None:
        files["configurations.csv"] = to_csv(found.evidence.configurations)
    return files | {f"{chart.name}.svg": chart.svg for chart in drawings.charts}


def _lines(found: SweepAnalysis, comparison: SweepComparison | None, folder: Path) -> list[str]:
    lines = [*sentences.answer(found), *ensemble_answer(found), sentences.job_counts(found)]
    if comparison is not None:
        other = comparison.second.sweep.name
        lines.append(f"Comparison with {other}: {verdict(comparison)}")
    return [*lines, *sentences.missing_results(found), f"Report: {folder / 'report.html'}"]


def _log_model(store: Store, sweep: Sweep, best: Best | None) -> list[str]:
    """Record the chosen model in MLflow; a line if its store cannot."""
    try:
        log_chosen_model(store, sweep, best.run_id if best else None)
    except TrackingError as error:
        return [f"MLflow does not list the chosen model among its models: {error}"]
    return []


def folder_name(sweep: str) -> str:
    """The name of a report's folder. `latest` is the link to the newest report."""
    name = sweep.replace("/", "_")
    return f"{name}_" if name in (".", "..", "latest") else name


def publish(files: Mapping[str, str], folder: Path, store: Store, run_id: str | None) -> None:
    """Write files to a run of MLflow, if there is one, and to a folder; then update `latest`.

    Each file is replaced as a whole, so a reader never sees a partial file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    delete_abandoned(folder.parent)
    with temporary_folder(folder.parent) as temporary:
        staged = temporary / "report"
        staged.mkdir()
        for name, text in files.items():
            (staged / name).write_text(text, encoding="utf-8")
        if run_id is not None:
            store.artifacts.upload(run_id, temporary)
        for name in files:
            (staged / name).replace(folder / name)
        link = temporary / "latest"
        link.symlink_to(folder.name)
        link.replace(folder.parent / "latest")
