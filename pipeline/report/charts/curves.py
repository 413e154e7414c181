"""Learning curves and marginal accuracies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.analysis.curves import LearningCurve
from pipeline.report.charts.canvas import COLOURS, MARKERS, chart, level_ticks, percent_axis
from pipeline.report.labels import symbol

LEAST_LOSS = 1e-6  # drawn in place of 0, which a log scale lacks


def draw_curves(models: Sequence[LearningCurve], quantity: str) -> str:
    """Draw the `loss` or the `acc` of models by epoch.

    Validation is a solid line with a marker at the best epoch; training is a dashed line.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    with chart(quantity) as drawing:
        axes = drawing.axes
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "acc":
            percent_axis(axes)
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        # The best model is drawn last, on top.
        for model, colour, marker in list(zip(models, COLOURS, MARKERS, strict=False))[::-1]:
            epochs, best = model.metrics.index, model.best_epoch
            at = [] if best is None else [model.metrics.index.get_loc(best)]
            train, val = (model.metrics[f"{split}_{quantity}"] for split in ("train", "val"))
            if quantity == "loss":
                train, val = train.clip(lower=LEAST_LOSS), val.clip(lower=LEAST_LOSS)
            axes.plot(epochs, train, color=colour, linestyle=(0, (3, 2)), linewidth=1)
            axes.plot(epochs, val, color=colour, marker=marker, markevery=at)
        low, high = axes.get_ylim()
        if quantity == "loss" and high < 100 * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    return drawing.svg


def draw_marginals(marginals: pd.DataFrame) -> dict[str, str]:
    """Draw the mean accuracy at each tried value with its 95 % interval, one chart for each name.

    Args:
        marginals: name, value, mean, low and high, from `pipeline.analysis.importance`.
    """
    low, high = marginals["low"].fillna(marginals["mean"]), marginals["high"]
    limits = low.min(), high.fillna(marginals["mean"]).max()
    margin = 0.05 * (limits[1] - limits[0]) or 0.01
    charts = {}
    for name, rows in marginals.groupby("name", sort=False):
        with chart(f"marginal-{name}", height=2.4) as drawing:
            axes = drawing.axes
            percent_axis(axes)
            axes.set_ylim(limits[0] - margin, limits[1] + margin)
            axes.set_xlabel(symbol(str(name)))
            places = np.arange(len(rows))
            level_ticks(axes, list(rows["value"]))
            mean = rows["mean"].to_numpy(float)
            ends = rows[["low", "high"]].to_numpy(float)
            axes.vlines(places, ends[:, 0], ends[:, 1], COLOURS[0], alpha=0.5, linewidth=5)
            axes.plot(places, mean, color=COLOURS[0], marker="o", linewidth=1)
        charts[str(name)] = drawing.svg
    return charts
