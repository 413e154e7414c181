"""Validation accuracy over a grid of hidden size, λ and learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.runs import configuration_ids
from pipeline.outcomes import Outcome

GRID = ["hidden_size", "l2_reg", "learning_rate"]  # a panel, a row and a column of the heatmaps
SPANS = {"hidden_size": 4, "l2_reg": 5, "learning_rate": 8}  # intervals for many searched values
SPARSE = 4  # cells per job above which the values come from a search and form no grid
DECADE = 10  # the ratio of the ends of an axis above which its intervals have equal ratios


class Span(NamedTuple):
    """An interval of values that share a position on an axis."""

    low: float
    high: float


Level = float | Span
CellKey = tuple[Level, Level, Level]  # on the axes of GRID


@dataclass(frozen=True)
class Cell:
    """The runs at one λ and learning rate of a heatmap."""

    outcome: Outcome | None = None  # of the best run; None: there is no run
    val_acc: float | None = None  # mean over seeds; the highest if other values were swept too
    shade: float = 0.0  # from 0, the worst cell, to 1, the best, on the log scale of the error
    chosen: bool = False  # whether the chosen model is among them


@dataclass(frozen=True)
class Heatmap:
    """The runs of one hidden size."""

    hidden_size: Level
    learning_rates: list[Level]
    rows: list[tuple[Level, list[Cell]]]  # λ, and a cell for each learning rate


def make_heatmaps(jobs: pd.DataFrame, chosen: int | None = None) -> list[Heatmap]:
    """The best validation accuracy (mean over seeds) at each hidden size, λ and learning rate.

    Where a search would leave most cells of a grid empty, values share cells by intervals.

    Args:
        jobs: a row per run, with the columns of GRID, outcome, best_val_acc and num_val.
        chosen: the index label of the chosen run.
    """
    values = jobs.assign(**{key: pd.to_numeric(jobs[key], errors="coerce") for key in GRID})
    # A run that never started may have any value, so it gets no row or column of its own.
    started = values[values["num_val"].notna()]
    tried = {key: np.sort(started[key].dropna().unique()) for key in GRID}
    sparse = np.prod([len(some) for some in tried.values()]) > SPARSE * len(jobs)
    level = {key: _level_of(tried[key], SPANS[key] if sparse else math.inf) for key in GRID}
    columns = {
        key: pd.Series([level[key](value) for value in values[key]], values.index, dtype=object)
        for key in GRID
    }
    finished = values[values["outcome"] == Outcome.FINISHED]
    ids = configuration_ids(jobs)[finished.index]
    means = finished.groupby(ids)["best_val_acc"].transform("mean")
    grid = values.assign(**columns, mean=means)
    cells = _finished_cells(grid[grid["outcome"] == Outcome.FINISHED])
    for outcome in (Outcome.UNFINISHED, Outcome.HALTED, Outcome.DIVERGED, Outcome.FAILED):
        for where in grid[grid["outcome"] == outcome].set_index(GRID).index:
            cells.setdefault(where, Cell(outcome))
    if chosen is not None:
        place = cast(CellKey, tuple(columns[key].loc[chosen] for key in GRID))
        cells[place] = replace(cells.get(place, Cell()), chosen=True)
    sizes, strengths, rates = (list(dict.fromkeys(map(level[key], tried[key]))) for key in GRID)
    return [
        Heatmap(
            H, rates, [(l2, [cells.get((H, l2, lr), Cell()) for lr in rates]) for l2 in strengths]
        )
        for H in sizes
    ]


def _level_of(tried: NDArray[np.float64], most: float) -> Callable[[float], Level]:
    """The position of a value on an axis: itself, or an interval if there are more than `most`."""
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


def _finished_cells(runs: pd.DataFrame) -> dict[CellKey, Cell]:
    if not len(runs):
        return {}
    best: pd.Series[Any] = runs.groupby(GRID, sort=False)["mean"].max()
    errors = log_error(best, runs["num_val"].max())
    shades = (errors.max() - errors) / ((errors.max() - errors.min()) or 1)
    return {
        place: Cell(Outcome.FINISHED, val_acc, shade)
        for place, val_acc, shade in zip(best.index, best, shades, strict=True)
    }


def log_error(accuracy: Any, num_val: int) -> Any:
    """The natural logarithm of the error, on which good models still differ.

    An accuracy of 1 counts as half an image wrong, because log 0 is not finite.
    """
    return np.log(np.maximum(1 - accuracy, 0.5 / num_val))
