"""Scatter plots of a search: its values lie in intervals, so they form no grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.report.charts.canvas import (
    BLUE,
    CHOSEN,
    GREY,
    SMALL,
    chart,
    error_axis,
    level_ticks,
    mark_groups,
)
from pipeline.report.formatting import show
from pipeline.report.labels import symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DECADES = 1000  # the ratio of the ends of a log axis above which powers of ten suffice as labels
LEAST_OPACITY = 0.25  # of the worst model in a plane


def draw_scatter(configurations: pd.DataFrame, name: str, interval: Mapping[str, Any]) -> str:
    """Draw the accuracy of each configuration by one of its values.

    Args:
        configurations: the column `name`, error (1 − accuracy) and group (of GROUPS).
        name: the hyperparameter on the x axis.
        interval: its searched interval, with its low and high end and whether it is log; empty for
            a list of choices.
    """
    with chart(f"scatter-{name}", SMALL) as drawing:
        axes = drawing.axes
        places = _value_axis(axes, "x", configurations[name], interval)
        axes.set_xlabel(symbol(name))
        error_axis(axes, configurations["error"])
        mark_groups(axes, configurations.assign(place=places), "place", "error")
    return drawing.svg


def draw_plane(
    configurations: pd.DataFrame,
    lost: pd.DataFrame,
    names: tuple[str, str],
    searched: Mapping[str, Mapping[str, Any]],
) -> str:
    """Draw each configuration by its two most important values. Stronger colours are better.

    Args:
        configurations: the columns of `names`, shade (from 0, the worst, to 1, the best) and group.
        lost: the columns of `names` of the runs that diverged; crosses.
        names: the hyperparameters on the x and the y axis.
        searched: the interval of each hyperparameter, as in `draw_scatter`.
    """
    from matplotlib.colors import to_rgba

    with chart("plane") as drawing:
        axes = drawing.axes
        places = []
        for side, name in zip("xy", names, strict=True):
            everything = pd.concat([configurations[name], lost[name]])
            places.append(_value_axis(axes, side, everything, searched.get(name, {})))
        x, y = (place[: len(configurations)] for place in places)
        opacities = LEAST_OPACITY + (1 - LEAST_OPACITY) * configurations["shade"]
        colours = [to_rgba(BLUE, opacity) for opacity in opacities]
        axes.scatter(x, y, s=50, c=colours, linewidths=0)
        x, y = (place[len(configurations) :] for place in places)
        axes.scatter(x, y, s=30, color=GREY, marker="x", linewidths=1)
        chosen = (configurations["group"] == "chosen").to_numpy()
        x, y = (place[: len(configurations)][chosen] for place in places)
        axes.scatter(x, y, s=110, facecolors="none", edgecolors=CHOSEN, linewidths=2.5)
        axes.set_xlabel(symbol(names[0]))
        axes.set_ylabel(symbol(names[1]))
    return drawing.svg


def _value_axis(axes: Axes, side: str, values: pd.Series[Any], interval: Mapping[str, Any]) -> Any:
    """Prepare an axis for values; return the position of each value on it."""
    if interval:
        _interval_axis(axes, side, float(interval["low"]), float(interval["high"]), interval["log"])
        return pd.to_numeric(values).to_numpy(float)
    levels = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    level_ticks(axes, levels, side)
    return values.map({level: place for place, level in enumerate(levels)}).to_numpy(float)


def _interval_axis(axes: Axes, side: str, low: float, high: float, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    margin = 0.04 * (high - low)
    limits = low - margin, high + margin
    axis = axes.xaxis if side == "x" else axes.yaxis
    if log:
        (axes.set_xscale if side == "x" else axes.set_yscale)("log")
        factor = (high / low) ** 0.04
        limits = low / factor, high * factor
        axis.set_major_locator(LogLocator(subs=(1,) if high > DECADES * low else (1, 3)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: show(float(f"{value:.3g}"))))
    (axes.set_xlim if side == "x" else axes.set_ylim)(*limits)
