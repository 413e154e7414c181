"""Everything that a report draws, for the page and for MLflow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pipeline.analysis.curves import LearningCurve
from pipeline.analysis.diagnostics import Mistake
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.data import published
from pipeline.outcomes import Outcome
from pipeline.report.charts.canvas import COLOURS, MARKERS
from pipeline.report.charts.configurations import draw_costs, draw_history, draw_parallel
from pipeline.report.charts.curves import draw_curves, draw_marginals
from pipeline.report.charts.images import Picture, draw_pair, draw_weights
from pipeline.report.formatting import percent, show
from pipeline.report.labels import label, run_label

PAIR_WIDTH = 200  # pixels of the page for an image and its gradient


class Chart(NamedTuple):
    """A chart with its texts."""

    name: str  # of its file
    title: str
    alternative: str  # for a screen reader
    svg: str


@dataclass(frozen=True)
class Drawings:
    """The charts and images of a report."""

    curve_labels: Sequence[tuple[str, str, str]]  # label, colour and marker of each curve
    curves: Sequence[Chart]  # loss and accuracy
    marginals: Sequence[Chart]  # one for each hyperparameter
    configurations: Sequence[Chart]
    mistakes: Sequence[tuple[Mistake, Picture]]
    first_layer: Picture | None

    @property
    def charts(self) -> list[Chart]:
        """The charts that are saved as files, too."""
        return [*self.curves, *self.configurations]


def draw(found: SweepAnalysis) -> Drawings:
    """Draw everything that a report shows of a sweep."""
    evidence = found.evidence
    several = evidence is not None and len(evidence.configurations) > 1
    searched = bool(found.sweep.searched)
    configurations: list[Chart] = []
    if evidence is not None and several:
        configurations = [_history(found.jobs, evidence)] if searched else []
        configurations += [_costs(evidence), _parallel(evidence)]
    diagnostics = found.diagnostics
    return Drawings(
        curve_labels=_curve_labels(found),
        curves=_curves(found.curves),
        marginals=_marginals(evidence) if evidence is not None and several else [],
        configurations=configurations,
        mistakes=[
            (mistake, draw_pair(mistake.image, mistake.gradient, PAIR_WIDTH))
            for mistake in (diagnostics.mistakes if diagnostics else [])
        ],
        first_layer=_first_layer(found),
    )


def _curve_labels(found: SweepAnalysis) -> list[tuple[str, str, str]]:
    labels = []
    for curve, colour, marker in zip(found.curves, COLOURS, MARKERS.values(), strict=False):
        text = run_label(curve.run, found.jobs)
        if curve.role == "diverged":
            text = f"diverged in epoch {show(curve.run['diverged_epoch'])}: {text}"
        else:
            text = f"{curve.place}.{' (median)' if curve.role == 'median' else ''} {text}"
        labels.append((text, colour, marker))
    return labels


def _curves(curves: Sequence[LearningCurve]) -> list[Chart]:
    return [
        Chart(
            name,
            title,
            f"{title} by epoch, in training and validation, of the models in the legend",
            draw_curves(curves, name),
        )
        for name, title in (("loss", "Loss"), ("acc", "Accuracy"))
    ]


def _marginals(evidence: Evidence) -> list[Chart]:
    charts = draw_marginals(evidence.importance.marginals)
    return [
        Chart(f"marginal-{name}", name, f"Mean validation accuracy at each value of {name}", svg)
        for name, svg in charts.items()
    ]


def _history(jobs: pd.DataFrame, evidence: Evidence) -> Chart:
    finished = jobs["outcome"] == Outcome.FINISHED
    groups = evidence.configurations.set_index("configuration")["group"]
    trials = pd.DataFrame(
        {
            "job": jobs["job"],
            "best_val_acc": jobs["best_val_acc"].where(finished),
            "group": jobs["configuration"].where(finished).map(groups),
        }
    ).sort_values("job")
    missing = "; short lines: without a result" if trials["best_val_acc"].isna().any() else ""
    highest = trials.sort_values("best_val_acc", ascending=False, kind="stable").iloc[0]
    return Chart(
        "history",
        f"Validation accuracy of each trial in its order; the line is the best so far{missing}",
        f"Validation accuracy of {len(trials)} trials in their order; the highest, "
        f"{percent(highest['best_val_acc'])}, was first reached by trial {highest['job']}",
        draw_history(trials),
    )


def _costs(evidence: Evidence) -> Chart:
    table, front = evidence.configurations, evidence.front
    labels = ", ".join(label(row, evidence.swept) for row in front.to_dict("records"))
    return Chart(
        "costs",
        "Accuracy against cost; the line is the Pareto front, which no other configuration beats",
        f"Validation accuracy against multiply-adds of {len(table)} configurations; "
        f"{len(front)} are on the Pareto front: {labels}",
        draw_costs(table, front),
    )


def _parallel(evidence: Evidence) -> Chart:
    table = evidence.configurations
    return Chart(
        "configurations",
        "Parallel coordinates: each line is a configuration, from its values to its accuracy",
        f"Parallel coordinates of {len(table)} configurations",
        draw_parallel(table, evidence.swept),
    )


def _first_layer(found: SweepAnalysis) -> Picture | None:
    if found.chosen is None or found.chosen.weights is None:
        return None
    data, W1 = found.chosen.data, found.chosen.weights.W1[0]
    old_shape = published.IMAGE_SHAPES.get(found.jobs["dataset"].iloc[0])
    shape = data.image_shape if data is not None else old_shape
    if shape is None or W1.shape[0] != math.prod(shape):
        return None
    return draw_weights(W1, shape)
