"""What a report says: the facts as JSON has them, and the same as Markdown and as an HTML page."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

import jinja2
import pandas as pd
from markupsafe import Markup

from pipeline.analysis.choice import (
    CURVES,
    DATA,
    PARAMS,
    Best,
    configuration,
    rank,
    records,
    wilson,
)
from pipeline.analysis.diagnostics import Diagnostics
from pipeline.analysis.evidence import Evidence, accuracy_in_words, as_facts
from pipeline.data import published
from pipeline.data.dataset import Dataset
from pipeline.nn.model import Params
from pipeline.report.charts import (
    COLOURS,
    GREY,
    MARKERS,
    Curves,
    draw_costs,
    draw_curves,
    draw_history,
    draw_marginals,
    draw_pair,
    draw_parallel,
    draw_weights,
)
from pipeline.report.tables import (
    GRID,
    HEADINGS,
    Table,
    axis,
    comparison,
    heatmaps,
    percent,
    show,
    tables,
)
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store

MISTAKE = ("number", "label", "predicted", "probability")  # what JSON has of a wrong image
PAIR_WIDTH = 200  # pixels of the page, of an image and its gradient

UNSEEN = ("Cc", "Cf", "Cs")  # Unicode's categories of control, format and half letters


@dataclass(frozen=True)
class SweepComparison:
    """Another sweep beside the one that is reported."""

    sweep: str
    verdict: str  # which has the better model, in a sentence
    rows: Sequence[tuple[str, str, str]]  # what it is, of the one, of the other


@dataclass(frozen=True)
class Report:
    """What a report says first, and where it is."""

    sweep: str
    folder: Path  # of report.html, report.md, report.csv and report.json
    answer: tuple[str, ...]  # three lines; one if there is no best
    jobs: str  # how many had which outcome
    missing: tuple[str, ...]  # which have no result, why, and how to train just those
    evidence: tuple[str, ...]  # how sure the choice is, what mattered, what to try next
    best: Best | None
    problem: str | None  # why there is no best, and what to do
    beside: SweepComparison | None = None


def varied(jobs: pd.DataFrame) -> list[str]:
    """The values that tell the jobs apart: those of the grid, and what else was swept."""
    return [key for key in PARAMS if key in GRID or jobs[key].nunique() > 1]


def gather(
    report: Report,
    command: str,
    jobs: pd.DataFrame,
    evidence: Evidence | None,
    look: tuple[Diagnostics, Dataset] | None,
) -> dict[str, Any]:
    """All facts of a report, as JSON has them."""

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
        "against": asdict(report.beside) if report.beside else None,
        "notes": [*report.missing, *report.evidence],
        "evidence": as_facts(evidence) if evidence else None,
        "portrait": _portrait_facts(*look) if look else None,
        "runs": records(jobs),
        "halted": apart("halted", epoch="halted_epoch", best_val_acc="best_val_acc"),
        "diverged": apart("diverged", epoch="diverged_epoch"),
        "failed": apart("failed", error="error"),
        "unfinished": apart("unfinished"),
    }


def _portrait_facts(portrait: Diagnostics, data: Dataset) -> dict[str, Any]:
    return {
        "train_acc": portrait.train_acc,
        "generalisation_gap": portrait.gap,
        "dead_units": portrait.dead,
        "update_ratio": dict(zip(("W1", "W2"), portrait.updates, strict=True)),
        "classes": list(data.classes),
        "confusion": portrait.confusion.tolist(),
        "mistakes": [
            {key: value for key, value in mistake._asdict().items() if key in MISTAKE}
            for mistake in portrait.mistakes
        ],
    }


def answer(jobs: pd.DataFrame, best: Best, evidence: Evidence | None) -> tuple[str, ...]:
    """The report in three lines; the best model is the first row of `jobs`."""
    row = jobs.iloc[0]
    values = [f"{HEADINGS.get(key, key)}={show(row[key])}" for key in varied(jobs)]
    test = f"unknown: {best.test_problem}" if best.test_acc is None else percent(best.test_acc)
    return (
        f"Best model: {', '.join(values)}",
        f"Validation accuracy: {accuracy_in_words(best, evidence)}",
        f"Test accuracy: {test}",
    )


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
    lines = [f"**{_escaped(line)}**  " for line in report.answer]
    lines += ["", *(f"- {_escaped(note)}" for note in (*report.missing, *report.evidence))]
    return "\n".join(lines)


def in_ui(report: Report, sweep: Sweep, pictures: Sequence[str]) -> str:
    """What the UI shows with a sweep, as Markdown: of a long text it folds all but the first lines.

    The answer, links to the chosen run and the report, what one should know, and the pictures.
    """
    said, _, known = description(report).partition("\n\n")
    runs = f"#/experiments/{sweep.experiment_id}/runs"
    artifact = f"get-artifact?run_uuid={sweep.run_id}&path=report%2F"
    chosen = [f"[The chosen run]({runs}/{report.best.run_id})"] if report.best else []
    links = " · ".join([*chosen, f"[The report]({runs}/{sweep.run_id}/artifacts/report)"])
    shown = " ".join(f"![{name}]({artifact}{name})" for name in pictures)
    return "\n\n".join([said, links, known, shown])


def markdown(
    report: Report, facts: Mapping[str, Any], jobs: pd.DataFrame, drawings: Mapping[str, Any]
) -> str:
    """The report as Markdown: all but the drawings."""
    lines = [f"# Report of sweep {_escaped(report.sweep)}", "", description(report)]
    if report.beside:
        beside = [("", report.sweep, report.beside.sweep), ("---",) * 3, *report.beside.rows]
        lines += ["", f"## Against {_escaped(report.beside.sweep)}", "", report.beside.verdict, ""]
        lines += [f"| {' | '.join(map(_escaped, row))} |" for row in beside]
    if drawings["compared"]:
        lines += ["", "## All configurations", "", *_rows(drawings["compared"])]
    if look := drawings["look"]:
        lines += ["", "## The chosen model", ""]
        lines += [f"- {key}: {_escaped(value)}" for key, value in look["figures"]]
        lines += ["", "Validation images: a row for each class, a column for each prediction.", ""]
        lines += _rows(_confusion(look))
    for table in tables(jobs, varied(jobs)):
        lines += ["", f"## {table.name.capitalize()} jobs", "", *_rows(table)]
    lines += ["", "## What was run", ""]
    lines += [f"- {key}: {_escaped(value)}" for key, value in settings(facts)]
    return "\n".join(lines) + "\n"


def _rows(table: Table) -> list[str]:
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    return [f"| {' | '.join(map(_escaped, row))} |" for row in rows]


def _confusion(look: Mapping[str, Any]) -> Table:
    header = ["class", *look["classes"], "accuracy"]
    rows = [
        [name, *(str(count) for count, _ in cells), recall[0] if recall else "–"]
        for name, cells, recall in look["rows"]
    ]
    return Table("confusion", header, rows, [])


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
    environment.filters |= {"axis": axis, "percent": percent, "show": show}
    script = (Path(__file__).parent / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        report=report,
        answer=report.answer,
        notes=facts["notes"],
        settings=settings(facts),
        tables=tables(jobs, varied(jobs)),
        colours=COLOURS,
        grey=GREY,
        script=script,
        script_hash=f"sha256-{digest}",
        **drawings,
    )


def draw(
    store: Store,
    jobs: pd.DataFrame,
    best: Best | None,
    weights: Params | None,
    evidence: Evidence | None,
    look: tuple[Diagnostics, Dataset] | None,
    *,
    searched: bool,
) -> dict[str, Any]:
    """The drawings of the page.

    Args:
        store: holds the runs.
        jobs: a row a run.
        best: the chosen model, if there is one.
        weights: of the chosen model, if they can be had.
        evidence: the statistics of the runs, if there are any.
        look: the chosen model's portrait and its data, likewise.
        searched: whether a sampler chose the values, in the order of the jobs.
    """
    shown = of_interest(jobs)
    histories = [
        Curves(queries.curves(store, run_id, CURVES), None if pd.isna(epoch) else int(epoch))
        for run_id, epoch in zip(shown["run_id"], shown["best_epoch"], strict=True)
    ]
    first_layer = None
    if weights is not None:
        old_shape = published.IMAGE_SHAPES.get(shown["dataset"].iloc[0])
        image_shape = look[1].image_shape if look else old_shape
        if image_shape is not None and weights.W1.shape[1] == math.prod(image_shape):
            first_layer = draw_weights(weights.W1[0], image_shape)
    several = evidence is not None and len(evidence.configurations) > 1
    return {
        "heatmaps": heatmaps(jobs, int(jobs.index[0]) if best else None),  # the first is chosen
        "models": list(zip(shown["label"], COLOURS, MARKERS.values(), strict=False)),
        "curves": {quantity: draw_curves(histories, quantity) for quantity in ("loss", "acc")},
        "first_layer": first_layer,
        "marginals": draw_marginals(evidence.importance.marginals) if evidence and several else {},
        "overview": [
            *(_history(evidence, jobs) if evidence and several and searched else []),
            *(_overview(evidence) if evidence and several else []),
        ],
        "compared": comparison(evidence.verdict.table) if evidence and several else None,
        "look": _look(*look) if look else None,
    }


def of_interest(jobs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose curves are drawn, each with a label: the best, the median, a diverged one."""
    ranking = rank(jobs)
    median = len(ranking) // 2
    labels = {i: f"{i + 1}. {ranking['name'].iloc[i]}" for i in range(min(3, len(ranking)))}
    if median not in labels and len(ranking):
        labels[median] = f"{median + 1}., the median: {ranking['name'].iloc[median]}"
    shown = ranking.iloc[list(labels)].assign(label=list(labels.values()))
    diverged = jobs[(jobs["outcome"] == "diverged") & jobs["best_epoch"].notna()]
    if len(shown) and len(diverged):
        longest = diverged.sort_values("diverged_epoch", ascending=False, kind="stable")[:1]
        label = [f"diverged in epoch {show(longest['diverged_epoch'].iloc[0])}: "]
        shown = pd.concat([shown, longest.assign(label=label + longest["name"])])
    return shown


def _history(evidence: Evidence, jobs: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """The chart of a search, as `_overview` has those of any sweep."""
    finished = jobs["outcome"] == "finished"
    groups = evidence.configurations.set_index("configuration")["group"]
    runs = jobs[finished]
    trials = pd.DataFrame(
        {
            "job": jobs["job"],
            "best_val_acc": jobs["best_val_acc"].where(finished),
            "group": configuration(runs, evidence.swept).map(groups),
        }
    ).sort_values("job")
    missing = "; short lines: without a result" if trials["best_val_acc"].isna().any() else ""
    highest = trials.sort_values("best_val_acc", ascending=False, kind="stable").iloc[0]
    return [
        (
            "history",
            f"Validation accuracy of each trial in its order; the line is the best so far{missing}",
            f"Validation accuracy of {len(trials)} trials in their order; the highest, "
            f"{percent(highest['best_val_acc'])}, was first reached by trial {highest['job']}",
            draw_history(trials),
        )
    ]


def _overview(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Charts of all configurations: name, title, what a screen reader says, and the chart."""
    table, front = evidence.configurations, evidence.front
    return [
        (
            "costs",
            "Accuracy against cost; the line joins those that no other beats in both",
            f"Validation accuracy against multiply-adds of {len(table)} configurations; "
            f"{len(front)} are on the Pareto front: {', '.join(front['configuration'])}",
            draw_costs(table, front),
        ),
        (
            "configurations",
            "Each configuration as a line through its values to its accuracy",
            f"Parallel coordinates of {len(table)} configurations",
            draw_parallel(table, evidence.swept),
        ),
    ]


def _look(portrait: Diagnostics, data: Dataset) -> dict[str, Any]:
    """The portrait as the page shows it."""
    W1, W2 = portrait.updates
    most = portrait.confusion.max()
    rows = []
    for own, (name, counts) in enumerate(
        zip(data.classes, portrait.confusion.tolist(), strict=True)
    ):
        # The square root shows the few mistakes beside the many right ones.
        cells = [(count, f"{0.75 * math.sqrt(count / most):.2f}") for count in counts]
        total = sum(counts)
        recall = (percent(counts[own] / total), wilson(counts[own], total)) if total else None
        rows.append((name, cells, recall))
    return {
        "figures": [
            ("Training accuracy", f"{percent(portrait.train_acc)}, of the stored weights"),
            (
                "Generalisation gap",
                f"{100 * portrait.gap:.1f} points between training and validation accuracy",
            ),
            (
                "Dead hidden units",
                f"{percent(portrait.dead)} are 0 on every training image, and learn no more",
            ),
            (
                "Update-to-weight ratio",
                f"{W1:.1e} for W1 and {W2:.1e} for W2 in one step (about 1e-3 is usual)",
            ),
        ],
        "classes": data.classes,
        "rows": rows,
        "mistakes": [
            (mistake, draw_pair(mistake.image, mistake.gradient, PAIR_WIDTH))
            for mistake in portrait.mistakes
        ],
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
