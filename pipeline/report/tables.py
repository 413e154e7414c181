"""What the report shows as text: numbers as people write them, tables and heatmaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import Hyperparameters, short

GRID = ["hidden_size", "l2_reg", "learning_rate"]  # a panel, a row and a column of the heatmaps

SPANS = {"hidden_size": 4, "l2_reg": 5, "learning_rate": 8}  # that stand for many searched values
SPARSE = 4  # cells a job, above which the values were searched, and are no grid
DECADE = 10  # from the smallest to the largest of searched values: then spans have equal ratios

COLUMNS = {  # of the table of each outcome, between a run's values and its name
    "finished": ["best_val_acc", "best_val_loss", "best_epoch", "train_acc", "gap", "seconds"],
    "halted": ["halted_epoch", "best_val_acc"],
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
    "gap": "gap to val_acc",
    "seconds": "time",
    "diverged_epoch": "in epoch",
    "halted_epoch": "after epoch",
    "n": "seeds",
    "mean": "val_acc",
    "std": "deviation",
    "low": "95 % from",
    "high": "to",
    "cost": "multiply-adds",
    "p_adjusted": "p",
    "could_be_best": "could be best",
}


class Span(NamedTuple):
    """Values that share a place on an axis."""

    low: float
    high: float


Level = float | Span
Place = tuple[Level, Level, Level]  # on the axes of GRID


class Table(NamedTuple):
    """The jobs of one outcome, or the configurations, as texts."""

    name: str  # the outcome, or "compared"
    header: list[str]
    rows: list[list[str]]
    keys: list[list[float | None]]  # to sort by, where a text is not the number that it shows

    def keyed(self) -> list[list[tuple[str, float | None]]]:
        """The rows as pairs of a text and its key."""
        return [list(zip(*pair, strict=True)) for pair in zip(self.rows, self.keys, strict=True)]


class Cell(NamedTuple):
    """The runs at one λ and learning rate of a heatmap."""

    outcome: str = ""  # of the best of them; "": there are none
    val_acc: float | None = None  # mean over seeds; the highest, if other values were swept too
    colour: str = "transparent"
    ink: str = "inherit"  # readable on that colour
    chosen: bool = False  # whether the chosen model is among them


class Heatmap(NamedTuple):
    """The runs of one hidden size."""

    hidden_size: Level
    learning_rates: list[Level]
    rows: list[tuple[Level, list[Cell]]]  # λ, and a cell for each learning rate


def show(value: Any) -> str:
    """A value as people write it: 0.3, 1e-4, 128, a text."""
    if pd.isna(value):
        return "–"
    return short(value) if isinstance(value, float) else str(value)


def rounded(value: Any) -> Any:
    """A value on an axis, in three digits if it is a float."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def axis(level: Level) -> str:
    """A place on an axis of a heatmap."""
    if isinstance(level, Span):
        return "–".join(show(float(f"{end:.2g}")) for end in level)
    return show(level if level.is_integer() else rounded(level))


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
    "gap": percent,
    "seconds": duration,
    "mean": percent,
    "std": percent,
    "low": percent,
    "high": percent,
    "p_adjusted": "{:.2g}".format,
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
        if len(runs):
            found.append(_table(outcome, runs[keys]))
    return found


def comparison(configurations: pd.DataFrame) -> Table:
    """Each configuration, how good it is, and whether it could be the best; the chosen one first.

    Args:
        configurations: the table of `pipeline.analysis.significance.compare`.
    """
    could = ["no" if worse else "yes" for worse in configurations["worse"]]
    p_values = [np.nan, *configurations["p_adjusted"][1:]]
    rows = configurations.assign(could_be_best=["chosen", *could[1:]], p_adjusted=p_values)
    of_seeds = ["n", "std"] if (rows["n"] > 1).any() else []
    keys = ["configuration", "mean", *of_seeds, "low", "high", "cost", "p_adjusted"]
    return _table("compared", rows[[*keys, "could_be_best"]])


def _table(name: str, rows: pd.DataFrame) -> Table:
    values = [
        list(zip(rows.columns, row, strict=True))
        for row in rows.astype(object).itertuples(index=False)
    ]
    return Table(
        name,
        header=[HEADINGS.get(key, key) for key in rows.columns],
        rows=[[_cell_text(key, value) for key, value in row] for row in values],
        keys=[[_cell_key(key, value) for key, value in row] for row in values],
    )


def _cell_text(key: str, value: Any) -> str:
    return show(value) if pd.isna(value) else FORMATS.get(key, show)(value)


def _cell_key(key: str, value: Any) -> float | None:
    return float(f"{value:.6g}") if key in FORMATS and not pd.isna(value) else None


def heatmaps(jobs: pd.DataFrame, chosen: int | None = None) -> list[Heatmap]:
    """The best validation accuracy (mean over seeds) at each hidden size, λ and learning rate.

    Where a search has left a grid of its values almost empty, spans of them share a cell.

    Args:
        jobs: a row a run, with the columns of GRID, outcome, best_val_acc and num_val.
        chosen: the row of the chosen model, by its label.
    """
    values = jobs.assign(**{key: pd.to_numeric(jobs[key], errors="coerce") for key in GRID})
    # A run that never started may have any value: it gets no row or column of its own.
    started = values[values["num_val"].notna()]
    tried = {key: np.sort(started[key].dropna().unique()) for key in GRID}
    sparse = np.prod([len(some) for some in tried.values()]) > SPARSE * len(jobs)
    level = {key: _level_of(tried[key], SPANS[key] if sparse else math.inf) for key in GRID}
    places = {key: [level[key](value) for value in values[key]] for key in GRID}
    columns = {key: pd.Series(places[key], values.index, dtype=object) for key in GRID}
    names = {"data.name", *(field.name for field in fields(Hyperparameters))} - {"seed"}
    finished = values[values["outcome"] == "finished"]
    alike = finished.groupby([key for key in finished if key in names], dropna=False)
    grid = values.assign(**columns, mean=alike["best_val_acc"].transform("mean"))
    cells = _finished_cells(grid[grid["outcome"] == "finished"])
    for outcome in ("unfinished", "halted", "diverged", "failed"):
        for where in grid[grid["outcome"] == outcome].set_index(GRID).index:
            cells.setdefault(where, Cell(outcome))
    if chosen is not None:
        place = cast(Place, tuple(columns[key].loc[chosen] for key in GRID))
        cells[place] = cells.get(place, Cell())._replace(chosen=True)
    sizes, strengths, rates = (list(dict.fromkeys(map(level[key], tried[key]))) for key in GRID)
    return [
        Heatmap(
            H, rates, [(l2, [cells.get((H, l2, lr), Cell()) for lr in rates]) for l2 in strengths]
        )
        for H in sizes
    ]


def _level_of(tried: NDArray[np.float64], most: float) -> Callable[[float], Level]:
    """Where a value stands on an axis: itself, or among more than `most` in a span; 0 apart."""
    positive = tried[tried > 0]
    if len(positive) <= most:
        return float
    low, high = positive[0], positive[-1]
    space = np.geomspace if high > DECADE * low else np.linspace
    ends = space(low, high, int(most) + 1)

    def level(value: float) -> Level:
        if not value > 0:
            return value
        i = int(np.clip(np.searchsorted(ends, value, side="right") - 1, 0, len(ends) - 2))
        return Span(float(ends[i]), float(ends[i + 1]))

    return level


def _finished_cells(runs: pd.DataFrame) -> dict[Place, Cell]:
    """From light to dark as the error falls, on a log scale, where good models still differ."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    best = runs.groupby(GRID, sort=False)["mean"].max()
    half_an_image = 0.5 / runs["num_val"].max()  # as an error, stands for 0 on the log scale
    errors = np.log((1 - best).clip(lower=half_an_image))
    shares = (errors.max() - errors) / ((errors.max() - errors.min()) or 1)
    colours = colormaps["Blues"](0.05 + 0.8 * shares.to_numpy())
    return {
        place: Cell("finished", val_acc, to_hex(colour), _ink(colour))
        for place, val_acc, colour in zip(best.index, best, colours, strict=True)
    }


def _ink(colour: NDArray[np.float64]) -> str:
    """Black or white, whichever has the higher contrast to a colour (RGB from 0 to 1; WCAG 2.1)."""
    rgb = colour[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"
