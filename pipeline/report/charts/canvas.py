"""A chart as inline SVG that takes the text colour and font of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.report.formatting import rounded, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN = "#1f83d6", "#e0660a", "#12a075"  # visible on white and on black
CHOSEN = ORANGE  # the colour of the chosen model in every chart
COLOURS = (CHOSEN, BLUE, GREEN, "#cf6fae", "#b08a00")  # of curves
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # Matplotlib's name: as text
MAX_TICKS = 8  # labels on an axis of tried values
LETTERS = 36  # that fit along such an axis
GREY = "#808080"
GROUPS = {  # of configurations: colour, opacity, size of the mark, and its place above others
    "other": (GREY, 0.6, 4, 1),
    "tied": (BLUE, 0.8, 5, 2),
    "chosen": (CHOSEN, 1, 8, 3),
}
WIDE, SMALL = (4.8, 3.3), (3.4, 2.4)  # inches of a chart in one of two and of three columns
SUBDIVISIONS = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 6, 8),
)  # of a decade of errors, by ticks

SVG_STYLE: Any = {
    "svg.fonttype": "none",  # text that takes the page's font and colour
    "svg.hashsalt": "report",  # the same names of elements every time
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.25,
    "grid.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


class Drawing:
    """Axes to draw on, and then the finished chart."""

    def __init__(self, axes: Axes) -> None:
        """Start with empty axes."""
        self.axes = axes
        self.svg = ""


@contextmanager
def chart(name: str, size: tuple[float, float] = WIDE) -> Iterator[Drawing]:
    """Give axes to draw on, then set `svg`. The name makes the IDs of its elements unique."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SVG_STYLE)
        figure = Figure(figsize=size, layout="constrained")
        drawing = Drawing(figure.subplots())
        yield drawing
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Several charts share the page, in which each ID must be unique.
    drawing.svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def mark_groups(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw a mark for each row in the style of its group."""
    for group, (colour, alpha, size, order) in GROUPS.items():
        some = table[table["group"] == group]
        axes.plot(
            *(some[x], some[y], "o"),
            color=colour,
            alpha=alpha,
            markersize=size,
            markeredgewidth=0,
            zorder=order,
        )


def error_axis(axes: Axes, errors: pd.Series[float]) -> None:
    """Let y be an error (1 − accuracy) on a log scale, less error higher up, labelled as accuracy.

    Args:
        axes: to change.
        errors: all values on the axis, positive; NaN is ignored.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    low, high = float(errors.min()), float(errors.max())
    margin = max(1.1, (high / low) ** 0.06)
    low, high = low / margin, high * margin
    axes.set_yscale("log")
    axes.set_ylim(high, low)
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks: Any = []
    for parts in SUBDIVISIONS:
        ticks = [tick for tick in np.outer(decades, parts).ravel() if low <= tick <= min(high, 1)]
        if len(ticks) >= 3:
            break
    if len(ticks) < 3:
        ticks = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= min(high, 1)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 * (1 - error):.5g} %"))
    axes.yaxis.set_minor_locator(NullLocator())


def level_ticks(axes: Axes, levels: Sequence[Any], side: str = "x") -> None:
    """Label tried values at equal distances along an axis, x or y, as many as fit."""
    texts = [show(rounded(level)) for level in levels]
    if side == "x":
        named = spread(len(levels), LETTERS // (1 + max(map(len, texts))))
        axes.set_xticks(named, [texts[i] for i in named])
        axes.set_xlim(-0.5, len(levels) - 0.5)
    else:
        named = spread(len(levels))
        axes.set_yticks(named, [texts[i] for i in named])
        axes.set_ylim(-0.5, len(levels) - 0.5)


def spread(count: int, most: int = MAX_TICKS) -> list[int]:
    """At most `most` and MAX_TICKS of 0 … count − 1, both ends among them, evenly."""
    shown = min(count, max(2, most), MAX_TICKS)
    return sorted(set(np.linspace(0, count - 1, shown).round().astype(int).tolist()))
