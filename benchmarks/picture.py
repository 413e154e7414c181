"""The chart of docs/benchmarks.md: horizontal bars, with this project in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import (
    cost_per_job,
    job_timings,
    memory_bound,
    step_timings,
    sweep_timings,
)

OURS, OTHER, LIMIT = "#1f6fb2", "#b9bec5", "#e2b04a"
WIDTH, ROW = 8.0, 0.32  # inches


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the chart as SVG. Equal results give equal bytes."""
    panels = list(_panels(results))
    style = {"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        heights = [len(rows) + 2 for _, _, rows in panels]
        figure = Figure((WIDTH, ROW * sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), height_ratios=heights, squeeze=False)[:, 0]
        for place, (title, unit, rows) in zip(axes, panels, strict=True):
            _bars(place, title, unit, rows)
        figure.savefig(path, format="svg", metadata={"Date": None})


Rows = Sequence[tuple[str, float, str]]  # label, value, colour


def _panels(results: Mapping[str, Any]) -> Sequence[tuple[str, str, Rows]]:
    panels: list[tuple[str, str, Rows]] = []
    if "step" in results:
        for D in results["step"]["sizes"]:
            timings = step_timings(results["step"], D)
            rows = [(group, 1000 * each.median, _colour(group)) for group, each in timings.items()]
            panels.append((f"One step of 64 models, D = {D}", "ms", rows))
    for name, title in (("digits", "digits"), ("cifar10", "CIFAR-10")):
        if (part := results.get(f"sweep-{name}")) is not None:
            timings = sweep_timings(part)
            rows = [(group, each.median, _colour(group)) for group, each in timings.items()]
            epochs = part["values"]["epochs"]
            panels.append((f"Command to report, {title}, {epochs} epochs", "s", rows))
    if "jobs" in results:
        panels.append(("Fixed cost of a job", "ms", _job_rows(results["jobs"])))
    if (part := results.get("memory")) is not None:
        peak = max(part["sweep"]["notes"]["peak_bytes"])
        rows = [("this project", peak / 1e6, OURS), ("bound", memory_bound(part) / 1e6, LIMIT)]
        panels.append(("Peak memory of a CIFAR-10 sweep", "MB", rows))
    return [panel for panel in panels if panel[2]]


def _job_rows(part: Mapping[str, Any]) -> Rows:
    ours, stock = job_timings(part, "population"), job_timings(part, "stock")
    counts = sorted(ours)[1:]
    rows = [(f"this project, {n:,} jobs", 1000 * cost_per_job(ours, n), OURS) for n in counts]
    for n in sorted(stock)[1:]:
        rows.append((f"Hydra + MLflow, {n:,} jobs", 1000 * cost_per_job(stock, n), OTHER))
    return rows


def _colour(group: str) -> str:
    if group in ("this trainer", "this project"):
        return OURS
    return LIMIT if group == "matrix-multiply floor" else OTHER


def _bars(axes: Axes, title: str, unit: str, rows: Rows) -> None:
    labels, values, colours = zip(*rows, strict=True)
    bars = axes.barh(labels, values, color=colours, height=0.7)
    axes.bar_label(
        bars,
        [f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}" for value in values],
        padding=3,
    )
    axes.set_title(title, loc="left", fontweight="bold", fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
