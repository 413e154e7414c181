"""What a report says: the facts as JSON has them, and the same as Markdown and as an HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any
from unicodedata import category

import jinja2
import pandas as pd
from markupsafe import Markup

from pipeline.choice import CURVES, DATA, PARAMS, Best, rank, records
from pipeline.data import SOURCES
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
from pipeline.model import Params
from pipeline.tracking import Store

UNSEEN = ("Cc", "Cf", "Cs")  # Unicode's categories of control, format and half letters


@dataclass(frozen=True)
class Report:
    """What a report says first, and where it is."""

    sweep: str
    folder: Path  # of report.html, report.md, report.csv and report.json
    jobs: str  # how many had which outcome
    missing: tuple[str, ...]  # which have no result, why, and how to train just those
    evidence: tuple[str, ...]  # how sure the choice is, what mattered, what to try next
    best: Best | None
    problem: str | None  # why there is no best, and what to do


def varied(jobs: pd.DataFrame) -> list[str]:
    """The values that tell the jobs apart: those of the grid, and what else was swept."""
    return [key for key in PARAMS if key in GRID or jobs[key].nunique() > 1]


def gather(report: Report, command: str, jobs: pd.DataFrame, evidence: Any) -> dict[str, Any]:
    """All facts of a report, as JSON has them; `evidence` are those of `pipeline.evidence`."""

    def apart(outcome: str, **more: str) -> list[dict[str, Any]]:
        keys = {key: key for key in ("job", "name", "run_id", *GRID)} | more
        chosen = jobs[jobs["outcome"] == outcome][list(keys.values())]
        return records(chosen.set_axis(list(keys), axis=1))

    first = jobs[jobs["dataset"].notna()][:1]
    return {
        "sweep": report.sweep,
        "command": command,
        "jobs": report.jobs,
        **(records(first[list(DATA)]) or [dict.fromkeys(DATA)])[0],
        "shared": {key: jobs[key].dropna().iloc[0] for key in PARAMS if jobs[key].nunique() == 1},
        "best": asdict(report.best) if report.best else None,
        "problem": report.problem,
        "notes": [*report.missing, *report.evidence],
        "evidence": evidence,
        "runs": records(jobs),
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


def settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was run."""
    sizes = f"{show(facts['num_train'])} training and {show(facts['num_val'])} validation images"
    return [
        ("Command", facts["command"]),
        ("Jobs", facts["jobs"]),
        ("Data", f"{show(facts['dataset'])}, {sizes}, digest {show(facts['dataset_digest'])}"),
        ("Same for all", ", ".join(f"{k}={show(v)}" for k, v in facts["shared"].items())),
    ]


def description(report: Report) -> str:
    """The answer and what one should know about it, as Markdown."""
    lines = [f"**{_escaped(line)}**  " for line in answer(report)]
    lines += ["", *(f"- {_escaped(note)}" for note in (*report.missing, *report.evidence))]
    return "\n".join(lines)


def markdown(report: Report, facts: Mapping[str, Any], jobs: pd.DataFrame) -> str:
    """The report as Markdown: all but the drawings."""
    lines = [f"# Report of sweep {_escaped(report.sweep)}", "", description(report)]
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
        finalize=_visible,
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
    source = SOURCES.get(top["dataset"].iloc[0]) if weights is not None else None
    if weights is not None and source and weights.W1.shape[1] == prod(source.image_shape):
        first_layer = draw_weights(weights.W1[0], source.image_shape)
    return {
        "heatmaps": heatmaps(jobs),
        "models": list(zip(top["name"], COLOURS, MARKERS.values(), strict=False)),
        "curves": {quantity: draw_curves(histories, quantity) for quantity in ("loss", "acc")},
        "first_layer": first_layer,
    }


def _escaped(text: str) -> str:
    """Text for one line of Markdown, in which nothing is markup."""
    markup = r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])"  # `_` within a word is none
    return re.sub(rf"({markup})", r"\\\1", _visible(" ".join(text.split())))


def _visible(value: Any) -> Any:
    """A text of a run without letters that steer a terminal, turn text around or are none."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if category(letter) in UNSEEN and letter not in "\n\t"
        else letter
        for letter in value
    )
