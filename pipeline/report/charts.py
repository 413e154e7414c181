"""The pictures of the report: charts as inline SVG, which take the page's text colour, and PNGs.

Everything that a run could have named itself stays out of them.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.dataset import as_images
from pipeline.report.tables import HEADINGS, rounded, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_UNITS = 100  # drawn of a hidden layer
PAGE_WIDTH = 560  # pixels that a picture may take
COLOURS = ("#1f83d6", "#e0660a", "#12a075", "#cf6fae", "#b08a00")  # on white and on black
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # Matplotlib's name: as text
LEAST_LOSS = 1e-6  # drawn, for a log scale has no place for 0
MAX_TICKS = 8  # named on an axis of tried values
LETTERS = 48  # that such an axis has room for
GREY = "#808080"
GROUPS = {  # of configurations: colour, opacity, size of the mark, and its place above others
    "other": (GREY, 0.5, 4, 1),
    "alike": (COLOURS[0], 0.8, 5, 2),
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


class Curves(NamedTuple):
    """The history of a model."""

    metrics: pd.DataFrame  # a row an epoch, a column a metric
    best_epoch: int | None  # None: no epoch was kept


class Picture(NamedTuple):
    """A PNG for an <img>."""

    source: str  # data:image/png;base64,…
    width: int  # in pixels of the page; each of the picture's is a square of several
    height: int
    images: int  # in it


class Drawing:
    """A chart on its way to SVG."""

    def __init__(self, axes: Axes) -> None:
        """Start with empty axes."""
        self.axes = axes
        self.svg = ""


@contextmanager
def _chart(name: str, height: float = 3.3) -> Iterator[Drawing]:
    """Axes to draw on; then `svg` is the chart, whose elements are called after `name`."""
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
    # Several drawings share the page, and an id may be there once.
    drawing.svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def draw_curves(models: Sequence[Curves], quantity: str) -> str:
    """Draw the `loss` or the `acc` of models by epoch.

    Validation is a full line with a marker at the best epoch, training a broken line.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    with _chart(quantity) as drawing:
        axes = drawing.axes
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "acc":
            _in_percent(axes)
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
    """Draw the mean accuracy at each tried value with its 95 % interval, a chart a hyperparameter.

    Args:
        marginals: name, value, mean, low and high, as `pipeline.analysis.importance` has them.
    """
    low, high = marginals["low"].fillna(marginals["mean"]), marginals["high"]
    limits = low.min(), high.fillna(marginals["mean"]).max()
    margin = 0.05 * (limits[1] - limits[0]) or 0.01
    charts = {}
    for name, rows in marginals.groupby("name", sort=False):
        with _chart(f"marginal-{name}", height=2.4) as drawing:
            axes = drawing.axes
            _in_percent(axes)
            axes.set_ylim(limits[0] - margin, limits[1] + margin)
            axes.set_xlabel(HEADINGS.get(str(name), str(name)))
            places = np.arange(len(rows))
            _name_levels(axes, list(rows["value"]))
            mean = rows["mean"].to_numpy(float)
            ends = rows[["low", "high"]].to_numpy(float)
            axes.vlines(places, ends[:, 0], ends[:, 1], COLOURS[0], alpha=0.5, linewidth=5)
            axes.plot(places, mean, color=COLOURS[0], marker="o", linewidth=1)
        charts[str(name)] = drawing.svg
    return charts


def draw_history(trials: pd.DataFrame) -> str:
    """Draw the accuracy of each trial of a search, and the best so far as a line.

    Args:
        trials: in their order: job (its number), best_val_acc (of those that finished) and group
            (of GROUPS); the others are short lines at the bottom.
    """
    from matplotlib.ticker import MaxNLocator

    with _chart("history") as drawing:
        axes = drawing.axes
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _in_percent(axes)
        finished = trials[trials["best_val_acc"].notna()]
        best = finished["best_val_acc"].cummax()
        axes.step(finished["job"], best, where="post", color=COLOURS[2], linewidth=1.5)
        _mark_groups(axes, finished, "job", "best_val_acc")
        others = trials.loc[trials["best_val_acc"].isna(), "job"]
        axes.vlines(others, 0, 0.04, GREY, transform=axes.get_xaxis_transform())
    return drawing.svg


def draw_costs(configurations: pd.DataFrame, front: pd.DataFrame) -> str:
    """Draw accuracy against cost, and the line of those that no other beats in both.

    Args:
        configurations: cost (multiply-adds of a prediction), mean (accuracy) and group (of GROUPS).
        front: those that no other beats in both, cheapest first.
    """
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    with _chart("costs") as drawing:
        axes = drawing.axes
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("multiply-adds of a prediction")
        _in_percent(axes)
        axes.step(front["cost"], front["mean"], where="post", color=COLOURS[2], linewidth=1.5)
        _mark_groups(axes, configurations, "cost", "mean")
    return drawing.svg


def draw_parallel(configurations: pd.DataFrame, swept: Sequence[str]) -> str:
    """Draw each configuration as a line through its values to its accuracy (Inselberg, 1985).

    Args:
        configurations: the columns of `swept`, mean (accuracy) and group (of GROUPS).
        swept: the hyperparameters, an axis each.
    """
    from matplotlib.collections import LineCollection

    heights = []
    with _chart("parallel") as drawing:
        axes = drawing.axes
        for x, name in enumerate(swept):
            levels = sorted(set(configurations[name]), key=lambda v: (isinstance(v, str), v))
            scale = max(1, len(levels) - 1)
            heights.append([levels.index(value) / scale for value in configurations[name]])
            for i in _spread(len(levels)):
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
        titles = [*(HEADINGS.get(name, name) for name in swept), "accuracy"]
        axes.set_xticks(range(len(titles)), titles)
    return drawing.svg


def draw_weights(W1: NDArray[np.floating], image_shape: tuple[int, int, int]) -> Picture:
    """Draw the weights W1 (D, H) of each hidden unit as an image, the largest norms first.

    Each is scaled by itself, from its smallest weight (black) to its largest (white).
    """
    units = np.argsort(-np.linalg.norm(W1, axis=0), kind="stable")[:MAX_UNITS]
    return draw_images(_stretched(as_images(W1.T[units], image_shape)), PAGE_WIDTH)


def draw_images(images: NDArray[np.uint8], width: int) -> Picture:
    """Lay out images (n, height, width, channels) as a square, at most `width` pixels wide."""
    sheet = _sheet(images)
    zoom = max(1, width // sheet.shape[1])
    return Picture(_png(sheet), zoom * sheet.shape[1], zoom * sheet.shape[0], len(images))


def draw_pair(image: NDArray[np.floating], gradient: NDArray[np.floating], width: int) -> Picture:
    """An image (height, width, channels) beside the size of the gradient by each of its pixels.

    The image is scaled from its darkest to its brightest value, the gradient's absolute value, the
    largest over channels (Simonyan, Vedaldi and Zisserman, 2014), from 0 (black) to its largest.
    """
    size = np.abs(gradient).max(axis=2, keepdims=True)
    saliency = np.rint(255 * size / (size.max() or 1)).astype(np.uint8)
    pair = [_stretched(image[None])[0], np.broadcast_to(saliency, image.shape)]
    return draw_images(np.stack(pair), width)


def _stretched(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    scaled = 255 * (images - low) / np.where(span > 0, span, 1)
    return np.asarray(np.rint(scaled), np.uint8)


def _mark_groups(axes: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    """Draw a mark for each row, as GROUPS says."""
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


def _in_percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))


def _name_levels(axes: Axes, levels: Sequence[Any]) -> None:
    """Name tried values, which stand at equal distances, along x: as many as there is room for."""
    texts = [show(rounded(level)) for level in levels]
    named = _spread(len(levels), LETTERS // (1 + max(map(len, texts))))
    axes.set_xticks(named, [texts[i] for i in named])
    axes.set_xlim(-0.5, len(levels) - 0.5)


def _spread(count: int, most: int = MAX_TICKS) -> list[int]:
    """At most `most` and MAX_TICKS of 0 … count − 1, both ends among them, evenly."""
    shown = min(count, max(2, most), MAX_TICKS)
    return sorted(set(np.linspace(0, count - 1, shown).round().astype(int).tolist()))


def _sheet(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay out images (n, height, width, channels) as a square of RGBA, a clear pixel apart."""
    n, height, width, _ = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def _png(pixels: NDArray[np.uint8]) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
