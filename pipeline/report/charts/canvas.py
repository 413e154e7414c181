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

COLOURS = ("#1f83d6", "#e0660a", "#12a075", "#cf6fae", "#b08a00")  # on white and on black
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # Matplotlib's name: as text
MAX_TICKS = 8  # labels on an axis of tried values
LETTERS = 48  # that fit along such an axis
GREY = "#808080"
GROUPS = {  # of configurations: colour, opacity, size of the mark, and its place above others
    "other": (GREY, 0.5, 4, 1),
    "tied": (COLOURS[0], 0.8, 5, 2),
    "chosen": (COLOURS[1], 1, 8, 3),
}

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
    "ytick.minor.size": 0,
}


class Drawing:
    """Axes to draw on, and then the finished chart."""

    def __init__(self, axes: Axes) -> None:
        """Start with empty axes."""
        self.axes = axes
        self.svg = ""


@contextmanager
def chart(name: str, height: float = 3.3) -> Iterator[Drawing]:
    """Give axes to draw on, then set `svg`. The name makes the IDs of its elements unique."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SVG_STYLE)
        figure = Figure(figsize=(4.8, height), layout="constrained")
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


def percent_axis(axes: Axes) -> None:
    """Label the y axis in percent."""
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def level_ticks(axes: Axes, levels: Sequence[Any]) -> None:
    """Label tried values at equal distances along x, as many as fit."""
    texts = [show(rounded(level)) for level in levels]
    named = spread(len(levels), LETTERS // (1 + max(map(len, texts))))
    axes.set_xticks(named, [texts[i] for i in named])
    axes.set_xlim(-0.5, len(levels) - 0.5)


def spread(count: int, most: int = MAX_TICKS) -> list[int]:
    """At most `most` and MAX_TICKS of 0 … count − 1, both ends among them, evenly."""
    shown = min(count, max(2, most), MAX_TICKS)
    return sorted(set(np.linspace(0, count - 1, shown).round().astype(int).tolist()))
