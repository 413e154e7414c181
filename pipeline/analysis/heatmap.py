"""Validation accuracy over the grid of the most important swept values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.analysis.runs import PARAMS, configuration_ids
from pipeline.outcomes import Outcome

GRID = ["hidden_size", "l2_reg", "learning_rate"]  # always in the tables of jobs
MAX_PANELS = 6  # values of the third axis
MAX_LEVELS = 24  # positions on an axis; more numbers than that share positions by intervals
DECADE = 10  # the ratio of the ends of an axis above which its intervals have equal ratios
NO_AXIS = ""  # the only position on an axis that does not exist


class Span(NamedTuple):
    """An interval of values that share a position on an axis."""

    low: float
    high: float


Level = Any  # a value of a hyperparameter, or a Span
CellKey = tuple[Level, ...]  # on the axes of the panels, the rows and the columns


@dataclass(frozen=True)
class Cell:
    """The runs at one position of a heatmap."""

    outcome: Outcome | None = None  # of the best run; None: there is no run
    val_acc: float | None = None  # mean over seeds; the highest if other values were swept too
    shade: float = 0.0  # from 0, the worst cell, to 1, the best, on the log scale of the error
    chosen: bool = False  # whether the chosen model is among them


@dataclass(frozen=True)
class Panel:
    """The runs at one value of the third axis."""

    level: Level  # NO_AXIS if there is no third axis
    rows: list[tuple[Level, list[Cell]]]  # and a cell for each column


@dataclass(frozen=True)
class Heatmap:
    """The best accuracy at each combination of the two or three most important swept values."""

    panel_name: str | None
    row_name: str | None
    column_name: str
    columns: list[Level]
    panels: list[Panel]


def rank_values(jobs: pd.DataFrame, shares: pd.DataFrame | None) -> list[str]:
    """The values in which the started jobs differ, without the seed, the most important one first.

    A value that differs only in jobs without a result decides whether training succeeds, so it
    comes before all others.

    Args:
        jobs: a row per run.
        shares: the importances of single values and pairs, as in `Importance`; None: unknown.
    """
    started = jobs[jobs["num_val"].notna()]
    names = [key for key in PARAMS if key != "seed" and started[key].nunique() > 1]
    if shares is None:
        return names
    known = {name for values in shares["values"] for name in values}
    total = {
        name: sum(s for values, s in shares.itertuples(index=False) if name in values)
        for name in known
    }
    return sorted(names, key=lambda name: -total.get(name, np.inf))


def make_heatmap(
    jobs: pd.DataFrame, ranked: Sequence[str], chosen: int | None = None
) -> Heatmap | None:
    """The best validation accuracy (mean over seeds) at the most important swept values.

    The columns are the axis with fewer values, so that the heatmap is rather high than wide.

    Args:
        jobs: a row per run, with outcome, best_val_acc and num_val.
        ranked: the swept values, the most important one first.
        chosen: the index label of the chosen run.
    """
    if not ranked:
        return None
    # A run that never started may have any value, so it gets no row or column of its own.
    started = jobs[jobs["num_val"].notna()]
    tried = {key: sorted(set(started[key].dropna()), key=_order) for key in ranked[:3]}
    column = ranked[0]
    row, panel = ([*ranked[1:3], None, None])[:2]
    if row is not None and len(tried[column]) > len(tried[row]):
        column, row = row, column
    if panel is not None and len(tried[panel]) > MAX_PANELS:
        panel = None
    axes = [_axis(jobs, name, tried) for name in (panel, row, column)]
    keys = pd.Series(list(zip(*(places for _, places in axes), strict=True)), jobs.index)
    cells = _cells(jobs, keys)
    if chosen is not None:
        cells[keys[chosen]] = replace(cells.get(keys[chosen], Cell()), chosen=True)
    (levels, rows, columns) = (levels for levels, _ in axes)
    panels = [
        Panel(level, [(y, [cells.get((level, y, x), Cell()) for x in columns]) for y in rows])
        for level in levels
    ]
    return Heatmap(panel, row, column, columns, panels)


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value  # numbers before texts


def _axis(
    jobs: pd.DataFrame, name: str | None, tried: Mapping[str, Sequence[Any]]
) -> tuple[list[Level], list[Level]]:
    """The positions on an axis, and the position of each job."""
    if name is None:
        return [NO_AXIS], [NO_AXIS] * len(jobs)
    level = _level_of(tried[name])
    levels = list(dict.fromkeys(map(level, tried[name])))
    return levels, [level(value) for value in jobs[name]]


def _level_of(tried: Sequence[Any]) -> Callable[[Any], Level]:
    """The position of a value on an axis: itself, or an interval if there are too many."""
    if len(tried) <= MAX_LEVELS or not all(isinstance(value, int | float) for value in tried):
        return lambda value: value
    positive = np.array([value for value in tried if value > 0], float)
    space = np.geomspace if positive[-1] > DECADE * positive[0] else np.linspace
    ends = space(positive[0], positive[-1], MAX_LEVELS)

    def level(value: Any) -> Level:
        if not isinstance(value, int | float) or not value > 0:
            return value
        i = int(np.clip(np.searchsorted(ends, value, side="right") - 1, 0, len(ends) - 2))
        return Span(float(ends[i]), float(ends[i + 1]))

    return level


def _cells(jobs: pd.DataFrame, keys: pd.Series[Any]) -> dict[CellKey, Cell]:
    finished = jobs[jobs["outcome"] == Outcome.FINISHED]
    ids = configuration_ids(jobs)[finished.index]
    means = finished.groupby(ids)["best_val_acc"].transform("mean")
    best: dict[CellKey, float] = {}
    for key, mean in zip(keys[finished.index], means, strict=True):
        best[key] = max(mean, best.get(key, mean))
    shades = _shades(list(best.values()), finished["num_val"].max()) if best else []
    cells = {
        key: Cell(Outcome.FINISHED, val_acc, shade)
        for (key, val_acc), shade in zip(best.items(), shades, strict=True)
    }
    for outcome in (Outcome.UNFINISHED, Outcome.HALTED, Outcome.DIVERGED, Outcome.FAILED):
        for key in keys[jobs["outcome"] == outcome]:
            cells.setdefault(key, Cell(outcome))
    return cells


def _shades(accuracies: Sequence[float], num_val: int) -> list[float]:
    errors = log_error(np.array(accuracies), num_val)
    shades: list[float] = ((errors.max() - errors) / (np.ptp(errors) or 1)).tolist()
    return shades


def log_error(accuracy: Any, num_val: int) -> Any:
    """The natural logarithm of the error, on which good models still differ.

    An accuracy of 1 counts as half an image wrong, because log 0 is not finite.
    """
    return np.log(np.maximum(1 - accuracy, 0.5 / num_val))
