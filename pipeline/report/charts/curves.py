"""Learning curves and marginal accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.curves import LearningCurve
from pipeline.report.charts.canvas import (
    BLUE,
    CHOSEN,
    COLOURS,
    MARKERS,
    SMALL,
    chart,
    error_axis,
    level_ticks,
)
from pipeline.report.labels import symbol

LEAST_LOSS = 1e-6  # drawn in place of 0, which a log scale lacks


def draw_curves(
    name: str, models: Sequence[LearningCurve], metrics: Sequence[str], num_val: int
) -> str:
    """Draw metrics of models by epoch: losses, or accuracies on the log scale of the error.

    Training metrics are dashed lines. Validation metrics are solid lines with a marker at the best
    epoch.

    Args:
        name: of the chart.
        models: the chosen one first.
        metrics: of `pipeline.analysis.runs.CURVES`, either losses or accuracies.
        num_val: the number of validation images, which bounds the error.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    accuracies = metrics[0].endswith("acc")
    with chart(name, SMALL) as drawing:
        axes = drawing.axes
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        shown = []
        # The chosen model is drawn last, on top.
        for model, colour, marker in list(zip(models, COLOURS, MARKERS, strict=False))[::-1]:
            epochs, best = model.metrics.index, model.best_epoch
            at = [] if best is None else [epochs.get_loc(best)]
            for metric in metrics:
                values = model.metrics[metric]
                least = 0.5 / num_val if accuracies else LEAST_LOSS
                values = (1 - values if accuracies else values).clip(lower=least)
                shown.append(values)
                if metric.startswith("train"):
                    axes.plot(epochs, values, color=colour, linestyle=(0, (3, 2)), linewidth=1)
                else:
                    axes.plot(epochs, values, color=colour, marker=marker, markevery=at)
        if accuracies:
            error_axis(axes, pd.concat(shown))
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
            low, high = axes.get_ylim()
            if high < 100 * low:
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    return drawing.svg


def draw_marginals(
    marginals: pd.DataFrame, chosen: Mapping[str, Any], num_val: int
) -> dict[str, str]:
    """Draw the mean accuracy at each tried value with its 95 % interval, one chart for each name.

    The accuracies are on the log scale of the error.

    Args:
        marginals: name, value, mean, low and high, from `pipeline.analysis.importance`.
        chosen: the values of the chosen model, which are marked.
        num_val: the number of validation images, which bounds the error.
    """
    errors = 1 - marginals[["mean", "low", "high"]].astype(float)
    errors = errors.clip(lower=0.5 / num_val, upper=1)
    charts = {}
    for name, rows in marginals.groupby("name", sort=False):
        with chart(f"marginal-{name}", SMALL) as drawing:
            axes = drawing.axes
            error_axis(axes, pd.Series(errors.to_numpy(float).ravel()))
            axes.set_xlabel(symbol(str(name)))
            places = np.arange(len(rows))
            level_ticks(axes, list(rows["value"]))
            own = errors.loc[rows.index]
            axes.vlines(places, own["low"], own["high"], BLUE, alpha=0.5, linewidth=5)
            axes.plot(places, own["mean"], color=BLUE, marker="o", linewidth=1)
            mark = (rows["value"] == chosen[str(name)]).to_numpy()
            axes.plot(places[mark], own["mean"][mark], "o", color=CHOSEN, markersize=8)
        charts[str(name)] = drawing.svg
    return charts
