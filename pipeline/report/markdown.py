"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from pipeline.analysis.calibration import BINS
from pipeline.analysis.diagnostics import Diagnostics
from pipeline.analysis.resources import SweepResources
from pipeline.analysis.result import SweepAnalysis, SweepComparison
from pipeline.report import notes, sentences
from pipeline.report.comparison import side_by_side, verdict
from pipeline.report.ensemble import ensemble_notes, ensemble_tables
from pipeline.report.formatting import duration, markdown_text, percent, show
from pipeline.report.labels import shared_values
from pipeline.report.links import run_address, ui_command
from pipeline.report.model_tables import (
    WIDE,
    confusion_table,
    confusions_table,
    feature_tables,
)
from pipeline.report.tables import Table, configuration_table, outcome_tables
from pipeline.tracking.entities import Sweep
from pipeline.tracking.views import View, view_page


def markdown(found: SweepAnalysis, comparison: SweepComparison | None) -> str:
    """The report as Markdown: everything except the charts."""
    lines = [f"# Report of sweep {markdown_text(found.sweep.name)}", "", description(found)]
    if comparison is not None:
        lines += ["", *_comparison(comparison)]
    if found.evidence is not None and len(found.evidence.configurations) > 1:
        table = configuration_table(found, found.evidence)
        lines += ["", "## All configurations", "", *_rows(table)]
    if found.diagnostics is not None and found.chosen is not None and found.chosen.data is not None:
        lines += ["", "## Chosen model", ""]
        classes = found.chosen.data.classes
        lines += [
            f"- {key}: {markdown_text(value)}" for key, value in figures(found.diagnostics, classes)
        ]
        lines += ["", "Confusion matrix: a row per class, a column per prediction.", ""]
        lines += _rows(confusion_table(found.diagnostics, classes))
        if len(classes) > WIDE:
            lines += ["", "Most frequent confusions:", ""]
            lines += _rows(confusions_table(found.diagnostics, classes))
        for caption, table in feature_tables(found.features) if found.features else ():
            lines += ["", markdown_text(caption), "", *_rows(table)]
    lines += _ensemble(found)
    for table in outcome_tables(found):
        lines += ["", f"## {table.name.capitalize()} jobs", "", *_rows(table)]
    lines += ["", "## Provenance", ""]
    lines += [f"- {key}: {markdown_text(value)}" for key, value in settings(found)]
    lines += [f"- {key}: {markdown_text(address)}" for key, address in links(found)]
    return "\n".join(lines) + "\n"


def description(found: SweepAnalysis) -> str:
    """The answer and the notes."""
    lines = [f"**{markdown_text(line)}**  " for line in sentences.answer(found)]
    return "\n".join([*lines, "", *(f"- {markdown_text(note)}" for note in notes.all_notes(found))])


def mlflow_description(found: SweepAnalysis, sweep: Sweep, pictures: Sequence[str]) -> str:
    """The text that MLflow's UI shows with a sweep. The UI folds all but its first lines.

    It contains the answer, links to the chosen run and the report, the notes, and the charts.
    """
    answer, _, notes = description(found).partition("\n\n")
    runs = f"#/experiments/{sweep.experiment_id}/runs"
    artifact = f"get-artifact?run_uuid={sweep.run_id}&path=report%2F"
    chosen = [f"[Chosen run]({runs}/{found.chosen.best.run_id})"] if found.chosen else []
    report = f"[Report]({runs}/{sweep.run_id}/artifacts/report)"
    views = [f"[{view.value.capitalize()}]({view_page(sweep, view)})" for view in View]
    links = " · ".join([*chosen, report, *views])
    shown = " ".join(f"![{name}]({artifact}{name})" for name in pictures)
    return "\n\n".join([answer, links, notes, shown])


def figures(measured: Diagnostics, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """The diagnostics of the chosen model that are single numbers."""
    W1, W2 = measured.updates
    dead = measured.dead_units or "none"
    return [
        ("Training accuracy", f"{percent(measured.train_acc)}, with the weights of the best epoch"),
        ("Balanced accuracy", f"{percent(measured.balanced_acc)}, the mean of the recalls"),
        (
            "Majority baseline",
            f"{percent(measured.baseline.val_acc)}, the accuracy of always predicting "
            f"{classes[measured.baseline.label]}, the most frequent class",
        ),
        (
            "Generalisation gap",
            f"{100 * measured.gap:.1f} points between training and validation accuracy",
        ),
        (
            "Calibration error",
            "on average, confidence and accuracy differ by "
            f"{100 * measured.calibration.error:.1f} points ({BINS} bins; expected calibration "
            "error: Guo et al., 2017)",
        ),
        (
            "Dead hidden units",
            f"{dead} of {measured.hidden_units} (a dead unit is 0 on every training example, so "
            "that its gradient is 0 too)",
        ),
        (
            "Update-to-weight ratio",
            f"{W1:.1e} for W1 and {W2:.1e} for W2 in one step (about 1e-3 is usual)",
        ),
    ]


def settings(found: SweepAnalysis) -> list[tuple[str, str]]:
    """The command, the outcomes, the data and the values that all jobs share."""
    jobs = found.jobs
    return [
        ("Command", found.sweep.command),
        ("Jobs", sentences.job_counts(found)),
        *(("Data", text) for text in _datasets(jobs)),
        (
            "Shared values",
            ", ".join(f"{key}={show(value)}" for key, value in shared_values(jobs).items()),
        ),
        *_resources(found.resources),
        *([("Weights of the chosen model", found.weights)] if found.weights else []),
    ]


def _datasets(jobs: pd.DataFrame) -> list[str]:
    """The data of the jobs, each dataset once; an en dash if no job has started."""
    columns = ["dataset", "dataset_digest", "num_train", "num_val"]
    known = jobs.loc[jobs["dataset"].notna(), columns].drop_duplicates("dataset_digest")
    return [
        f"{show(name)}, {_count(num_train)} training and {_count(num_val)} validation examples, "
        f"digest {show(digest)}"
        for name, digest, num_train, num_val in known.itertuples(index=False)
    ] or [show(None)]


def _count(number: Any) -> str:
    return show(None) if pd.isna(number) else f"{int(number):,}"


def _resources(took: SweepResources) -> Iterator[tuple[str, str]]:
    """The time and the arithmetic of the jobs that the sweep trained."""
    if took.started is not None and took.wall_seconds is not None:
        yield "Start", f"{took.started:%Y-%m-%d %H:%M:%S} UTC"
        took_time = duration(took.wall_seconds)
        yield (
            "Wall time",
            f"{took_time}, from the start of the first job to the end of the last one",
        )
    if took.core_hours is not None:
        hours = f"{took.core_hours:.3g}" if took.core_hours >= 0.001 else "less than 0.001"
        cores = "1 core" if took.cores == 1 else f"{took.cores} cores"
        yield "Core-hours", f"{hours} (wall time × {cores})"
    verb = "job reuses" if took.num_reused == 1 else "jobs reuse"
    reused = f"; {took.num_reused} {verb} earlier results" if took.num_reused else ""
    yield (
        "Multiply-adds",
        f"{took.multiply_adds:,} in the matrix products of training and evaluation{reused}",
    )


def links(found: SweepAnalysis) -> list[tuple[str, str]]:
    """Addresses in the MLflow UI: the sweep and the chosen run."""
    command = ui_command(found.store_uri)
    after = f" (after {command})" if command else ""
    run_ids = [("Sweep in MLflow", found.sweep.run_id)]
    if found.chosen is not None:
        run_ids.append(("Chosen run in MLflow", found.chosen.best.run_id))
    place = found.store_uri, found.sweep.experiment_id
    return [(f"{name}{after}", run_address(*place, run_id)) for name, run_id in run_ids]


def _ensemble(found: SweepAnalysis) -> Iterator[str]:
    notes = list(ensemble_notes(found))
    if not notes:
        return
    yield from ("", "## Ensemble", "", *(f"- {markdown_text(note)}" for note in notes))
    for table in ensemble_tables(found) or ():
        yield from ("", *_rows(table))


def _comparison(comparison: SweepComparison) -> Iterator[str]:
    first, second = comparison.first.sweep.name, comparison.second.sweep.name
    yield from (f"## Comparison with sweep {markdown_text(second)}", "")
    yield from (markdown_text(verdict(comparison)), "")
    for row in [("", first, second), ("---",) * 3, *side_by_side(comparison)]:
        yield f"| {' | '.join(map(markdown_text, row))} |"


def _rows(table: Table) -> list[str]:
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    return [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
