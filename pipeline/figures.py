"""What the report shows: tables, heatmaps, learning curves, and a model's first layer."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import short
from pipeline.data import as_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = ["hidden_size", "l2_reg", "learning_rate"]  # a panel, a row and a column of the heatmaps
MAX_UNITS = 100  # drawn of a hidden layer
PAGE_WIDTH = 560  # pixels that a picture may take
COLOURS = ("#1f83d6", "#e0660a", "#12a075", "#cf6fae", "#b08a00")  # on white and on black
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}  # Matplotlib's name: as text
LEAST_LOSS = 1e-6  # drawn, for a log scale has no place for 0
GREY = "#808080"

Place = tuple[float, float, float]  # values of GRID

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

COLUMNS = {  # of the table of each outcome, between a run's values and its name
    "finished": ["best_val_acc", "best_val_loss", "best_epoch", "train_acc", "seconds"],
    "diverged": ["diverged_epoch"],
    "failed": ["error"],
    "unfinished": [],
}
HEADINGS = {
    "hidden_size": "H",
    "l2_reg": "λ",
    "learning_rate": "lr",
    "best_epoch": "epoch",
    "train_acc": "last train_acc",
    "seconds": "time",
    "diverged_epoch": "in epoch",
}


class Table(NamedTuple):
    """The jobs of one outcome, as texts."""

    outcome: str
    header: list[str]
    rows: list[list[str]]


class Cell(NamedTuple):
    """The runs at one λ and learning rate of a heatmap."""

    outcome: str = ""  # of the best of them; "": there are none
    val_acc: float | None = None  # the highest, if one finished
    colour: str = "transparent"
    ink: str = "inherit"  # readable on that colour


class Heatmap(NamedTuple):
    """The runs of one hidden size."""

    hidden_size: int
    learning_rates: list[float]
    rows: list[tuple[float, list[Cell]]]  # λ, and a cell for each learning rate


class Curves(NamedTuple):
    """The history of a model."""

    metrics: pd.DataFrame  # a row an epoch, a column a metric
    best_epoch: int


class Picture(NamedTuple):
    """A PNG for an <img>."""

    source: str  # data:image/png;base64,…
    width: int  # in pixels of the page; each of the picture's is a square of several
    height: int
    units: int  # drawn in it


def show(value: Any) -> str:
    """A value as people write it: 0.3, 1e-4, 128, a text."""
    if pd.isna(value):
        return "–"
    return short(value) if isinstance(value, float) else str(value)


def percent(share: float) -> str:
    """A share as 97.2 %."""
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """A time as 4.2 s, 3 min 20 s or 2 h 5 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


FORMATS: Mapping[str, Callable[[Any], str]] = {
    "best_val_acc": percent,
    "best_val_loss": "{:.4f}".format,
    "train_acc": percent,
    "seconds": duration,
}


def tables(jobs: pd.DataFrame, varied: Sequence[str]) -> list[Table]:
    """All runs in the order of `jobs`, those of each outcome apart.

    Args:
        jobs: a row a run.
        varied: the columns of the values in which the runs differ.
    """
    found = []
    for outcome, columns in COLUMNS.items():
        runs = jobs[jobs["outcome"] == outcome]
        keys = ["rank" if outcome == "finished" else "job", *varied, *columns, "name"]
        rows = [
            [_cell_text(key, value) for key, value in zip(keys, row, strict=True)]
            for row in runs[keys].astype(object).itertuples(index=False)
        ]
        if rows:
            found.append(Table(outcome, [HEADINGS.get(key, key) for key in keys], rows))
    return found


def _cell_text(key: str, value: Any) -> str:
    return show(value) if pd.isna(value) else FORMATS.get(key, show)(value)


def heatmaps(jobs: pd.DataFrame) -> list[Heatmap]:
    """The best validation accuracy at each hidden size, λ and learning rate.

    Args:
        jobs: a row a run, with the columns of GRID, outcome, best_val_acc and num_val.
    """
    grid = jobs.assign(**{key: pd.to_numeric(jobs[key], errors="coerce") for key in GRID})
    cells = _finished_cells(grid[grid["outcome"] == "finished"])
    for outcome in ("unfinished", "diverged", "failed"):
        for place in grid[grid["outcome"] == outcome].set_index(GRID).index:
            cells.setdefault(place, Cell(outcome))
    # A run that never started may have any value: it gets no row or column of its own.
    started = grid[grid["num_val"].notna()]
    sizes, strengths, rates = (sorted(started[key].dropna().unique()) for key in GRID)
    return [
        Heatmap(int(H), rates, [(l2, _row(cells, H, l2, rates)) for l2 in strengths]) for H in sizes
    ]


def _row(cells: Mapping[Place, Cell], H: float, l2: float, rates: Sequence[float]) -> list[Cell]:
    return [cells.get((H, l2, lr), Cell()) for lr in rates]


def _finished_cells(runs: pd.DataFrame) -> dict[Place, Cell]:
    """From light to dark as the error falls, on a log scale, where good models still differ."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    best = runs.groupby(GRID)["best_val_acc"].max()
    half_an_image = 0.5 / runs["num_val"].max()  # as an error, stands for 0 on the log scale
    errors = np.log((1 - best).clip(lower=half_an_image))
    shares = (errors.max() - errors) / ((errors.max() - errors.min()) or 1)
    return {
        place: Cell(
            "finished",
            val_acc,
            to_hex(colormaps["Blues"](0.05 + 0.8 * share)),
            "#fff" if share > 0.6 else "#111",
        )
        for place, val_acc, share in zip(best.index, best, shares, strict=True)
    }


def draw_curves(models: Sequence[Curves], quantity: str) -> str:
    """Draw the `loss` or the `acc` of models as inline SVG, which takes the page's text colour.

    Validation is a full line with a marker at the best epoch, training a broken line. Everything
    that a run could have named itself stays out of the drawing.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SVG_STYLE)
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "acc":
            axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        else:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        # The best model is drawn last, on top.
        for model, colour, marker in list(zip(models, COLOURS, MARKERS, strict=False))[::-1]:
            epochs, at = model.metrics.index, [model.metrics.index.get_loc(model.best_epoch)]
            train, val = (model.metrics[f"{split}_{quantity}"] for split in ("train", "val"))
            if quantity == "loss":
                train, val = train.clip(lower=LEAST_LOSS), val.clip(lower=LEAST_LOSS)
            axes.plot(epochs, train, color=colour, linestyle=(0, (3, 2)), linewidth=1)
            axes.plot(epochs, val, color=colour, marker=marker, markevery=at)
        low, high = axes.get_ylim()
        if quantity == "loss" and high < 100 * low:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        return _svg(figure, quantity)


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Several drawings share the page, and an id may be there once.
    return re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", svg)


def draw_weights(W1: NDArray[np.floating], image_shape: tuple[int, int, int]) -> Picture:
    """Draw the weights W1 (D, H) of each hidden unit as an image, the largest norms first.

    Each is scaled by itself, from its smallest weight (black) to its largest (white).
    """
    units = np.argsort(-np.linalg.norm(W1, axis=0), kind="stable")[:MAX_UNITS]
    images = as_images(W1.T[units], image_shape)
    low = images.min(axis=(1, 2, 3), keepdims=True)
    span = images.max(axis=(1, 2, 3), keepdims=True) - low
    scaled = (images - low) / np.where(span > 0, span, 1)
    sheet = _sheet(np.rint(255 * scaled).astype(np.uint8))
    zoom = max(1, PAGE_WIDTH // sheet.shape[1])
    return Picture(_png(sheet), zoom * sheet.shape[1], zoom * sheet.shape[0], len(units))


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
