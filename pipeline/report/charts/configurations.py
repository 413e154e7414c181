"""Charts of all configurations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.report.charts.canvas import (
    COLOURS,
    GREY,
    GROUPS,
    chart,
    mark_groups,
    percent_axis,
    spread,
)
from pipeline.report.formatting import rounded, show
from pipeline.report.labels import symbol


def draw_history(trials: pd.DataFrame) -> str:
    """Draw the accuracy of each trial of a search, and the best so far as a line.

    Args:
        trials: in their order: job (its number), best_val_acc (of finished trials) and group
            (of GROUPS); the others are short lines at the bottom.
    """
    from matplotlib.ticker import MaxNLocator

    with chart("history") as drawing:
        axes = drawing.axes
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        percent_axis(axes)
        finished = trials[trials["best_val_acc"].notna()]
        best = finished["best_val_acc"].cummax()
        axes.step(finished["job"], best, where="post", color=COLOURS[2], linewidth=1.5)
        mark_groups(axes, finished, "job", "best_val_acc")
        others = trials.loc[trials["best_val_acc"].isna(), "job"]
        axes.vlines(others, 0, 0.04, GREY, transform=axes.get_xaxis_transform())
    return drawing.svg


def draw_costs(configurations: pd.DataFrame, front: pd.DataFrame) -> str:
    """Draw accuracy against cost, and the Pareto front as a line.

    Args:
        configurations: cost (multiply-adds of a prediction), mean (accuracy) and group (of GROUPS).
        front: the configurations on the Pareto front, cheapest first.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    with chart("costs") as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("multiply-adds of a prediction")
        percent_axis(axes)
        axes.step(front["cost"], front["mean"], where="post", color=COLOURS[2], linewidth=1.5)
        mark_groups(axes, configurations, "cost", "mean")
    return drawing.svg


def draw_parallel(configurations: pd.DataFrame, swept: Sequence[str]) -> str:
    """Draw each configuration as a line through its values to its accuracy (Inselberg, 1985).

    Args:
        configurations: the columns of `swept`, mean (accuracy) and group (of GROUPS).
        swept: the hyperparameters, an axis each.
    """
    from matplotlib.collections import LineCollection

    heights = []
    with chart("parallel") as drawing:
        axes = drawing.axes
        for x, name in enumerate(swept):
            levels = sorted(set(configurations[name]), key=lambda v: (isinstance(v, str), v))
            scale = max(1, len(levels) - 1)
            heights.append([levels.index(value) / scale for value in configurations[name]])
            for i in spread(len(levels)):
                axes.annotate(
                    show(rounded(levels[i])),
                    (x, i / scale),
                    xytext=(4, 2),
                    textcoords="offset points",
                )
        accuracy = configurations["mean"]
        low, high = accuracy.min(), accuracy.max()
        heights.append(list((accuracy - low) / ((high - low) or 1)))
        for end, share in ((0, low), (1, high)):
            axes.annotate(
                f"{100 * share:.1f} %",
                (len(swept), end),
                xytext=(4, -3),
                textcoords="offset points",
            )
        lines = np.stack(
            np.broadcast_arrays(np.arange(len(swept) + 1), np.transpose(heights)), axis=2
        )
        for group, (colour, alpha, size, order) in GROUPS.items():
            some = lines[(configurations["group"] == group).to_numpy()]
            width = 0.4 * size - 1
            axes.add_collection(
                LineCollection(
                    list(some), colors=colour, alpha=alpha / 2, linewidths=width, zorder=order
                )
            )
        axes.set_xlim(-0.1, len(swept) + 0.35)
        axes.set_ylim(-0.05, 1.08)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        titles = [*(symbol(name) for name in swept), "accuracy"]
        axes.set_xticks(range(len(titles)), titles)
    return drawing.svg
