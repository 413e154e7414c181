"""Charts of all configurations. Each table has their error on the validation images, 1 − accuracy.

The axis of the error is logarithmic, as are the shades of the heatmaps, so that good models differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.report.charts.canvas import (
    GREEN,
    GREY,
    GROUPS,
    chart,
    error_axis,
    mark_groups,
    spread,
)
from pipeline.report.formatting import percent, rounded, show
from pipeline.report.labels import symbol

MAX_LEVEL_TITLES = 4  # names beside each other below parallel coordinates; more are slanted


def draw_history(trials: pd.DataFrame) -> str:
    """Draw the accuracy of each trial of a search, and the best so far as a line.

    Args:
        trials: in their order: job (its number), error (of finished trials) and group (of GROUPS);
            the others are short lines at the bottom.
    """
    from matplotlib.ticker import MaxNLocator

    with chart("history") as drawing:
        axes = drawing.axes
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        finished = trials[trials["error"].notna()]
        error_axis(axes, finished["error"])
        best = finished["error"].cummin()
        axes.step(finished["job"], best, where="post", color=GREEN, linewidth=1.5)
        mark_groups(axes, finished, "job", "error")
        others = trials.loc[trials["error"].isna(), "job"]
        axes.vlines(others, 0, 0.04, GREY, transform=axes.get_xaxis_transform())
    return drawing.svg


def draw_costs(configurations: pd.DataFrame, front: pd.DataFrame) -> str:
    """Draw accuracy against cost, and the Pareto front as a line.

    Args:
        configurations: cost (multiply-adds of a prediction), error and group (of GROUPS).
        front: the configurations on the Pareto front, cheapest first.
    """
    from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

    unit = EngFormatter()
    costs = configurations["cost"]
    with chart("costs") as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        axes.set_xlim(costs.min() / 1.15, costs.max() * 1.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        if costs.max() < 5 * costs.min():
            axes.xaxis.set_major_locator(FixedLocator([costs.min(), costs.max()]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: unit(float(f"{cost:.2g}"))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("multiply-adds of a prediction")
        error_axis(axes, configurations["error"])
        axes.step(front["cost"], front["error"], where="post", color=GREEN, linewidth=1.5)
        mark_groups(axes, configurations, "cost", "error")
    return drawing.svg


def draw_parallel(configurations: pd.DataFrame, swept: Sequence[str]) -> str:
    """Draw each configuration as a line through its values to its accuracy (Inselberg, 1985).

    Args:
        configurations: the columns of `swept`, mean (accuracy), error and group (of GROUPS).
        swept: the hyperparameters, an axis each.
    """
    from matplotlib.collections import LineCollection

    heights = []
    with chart("parallel") as drawing:
        axes = drawing.axes
        labels: Any = {"textcoords": "offset points", "zorder": 5}
        for x, name in enumerate(swept):
            levels = sorted(set(configurations[name]), key=lambda v: (isinstance(v, str), v))
            scale = max(1, len(levels) - 1)
            heights.append([levels.index(value) / scale for value in configurations[name]])
            for i in spread(len(levels)):
                text = show(rounded(levels[i]))
                axes.annotate(text, (x, i / scale), xytext=(4, 2), **labels)
        error = np.log(configurations["error"])
        low, high = error.min(), error.max()
        heights.append(list((high - error) / ((high - low) or 1)))
        for end, share in ((0, configurations["mean"].min()), (1, configurations["mean"].max())):
            axes.annotate(percent(share), (len(swept), end), xytext=(4, -3), **labels)
        lines = np.stack(
            np.broadcast_arrays(np.arange(len(swept) + 1), np.transpose(heights)), axis=2
        )
        for group, (colour, alpha, size, order) in GROUPS.items():
            some = lines[(configurations["group"] == group).to_numpy()]
            opacity = alpha if group == "chosen" else alpha / 2
            width = 0.4 * size - 1
            axes.add_collection(
                LineCollection(
                    list(some), colors=colour, alpha=opacity, linewidths=width, zorder=order
                )
            )
        axes.set_xlim(-0.1, len(swept) + 0.1 * len(swept) + 0.05)
        axes.set_ylim(-0.05, 1.08)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        titles = [*(symbol(name) for name in swept), "accuracy"]
        axes.set_xticks(range(len(titles)), titles)
        if len(titles) > MAX_LEVEL_TITLES:
            for title in axes.get_xticklabels():
                title.set(rotation=25, ha="right", rotation_mode="anchor")
    return drawing.svg
