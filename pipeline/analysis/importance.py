"""Hyperparameter importance: shares of the variance of accuracy, by functional ANOVA.

Hutter, Hoos and Leyton-Brown (2014), "An efficient approach for assessing hyperparameter
importance". All combinations of the tried values form a grid, each cell weighs the same, and the
variance of accuracy over the cells is divided among single values, pairs and the rest.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

TREES = 100
MAX_CELLS = 50_000  # of a grid; of a larger one, evenly spaced values of each axis are used
SHARES = ["values", "share"]
MARGINALS = ["name", "value", "mean", "low", "high"]

Array = NDArray[np.float64]
Effects = dict[tuple[int, ...], Array]  # axes → their joint effect, with mean 0, broadcastable


@dataclass(frozen=True)
class Importance:
    """How much of the variance of the target the swept values explain."""

    method: str  # "exact": each cell was tried; "forest": a random forest predicted the others
    shares: pd.DataFrame  # values (a tuple of one or two names), share of variance; largest first
    rest: float  # the share of interactions of three or more values
    marginals: pd.DataFrame  # name, value, mean over all other values, low and high (95 %)
    tried: float  # the share of cells with a model
    worst_quarter: float  # the share of the variance that comes from the worst quarter of cells


class Grid(NamedTuple):
    """The mean target in each cell. Each axis is a swept value."""

    names: list[str]
    levels: list[list[Hashable]]  # of each axis, in order
    cells: Array  # (levels of the first axis, levels of the second, …)
    counts: NDArray[np.intp]  # of the models in each cell, in the same shape
    variance: float  # of replicates within a cell; NaN if there are none
    df: int  # degrees of freedom of that variance
    method: str  # as in `Importance`


def importance(
    models: pd.DataFrame,
    swept: Sequence[str],
    target: str = "best_val_acc",
    random_state: int = 0,
) -> Importance:
    """How much single values and pairs of them explain, and the mean of the target at each value.

    The result is exact if a model finished in every cell of the grid (with replicates, it uses the
    means of the cells). Otherwise a random forest predicts the cells without a finished model. A
    marginal mean has a 95 % interval if it is exact and there are replicates: Student's t with the
    variance within cells. Without replicates, the noise is not known, so there is no interval.

    Args:
        models: a row per model, with the columns of `swept` and `target`. Rows without a target are
            ignored.
        swept: the swept columns. A column with a single value is ignored.
        target: the column to explain.
        random_state: the seed of the forest.
    """
    runs = models.dropna(subset=[target, *swept])
    names = [name for name in swept if runs[name].nunique() > 1]
    if not names:
        empty = [pd.DataFrame(columns=columns) for columns in (SHARES, MARGINALS)]
        return Importance("exact", empty[0], 0.0, empty[1], 1.0, 0.0)
    grid = _tabulate(runs, names, target, random_state)
    effects = decompose(grid.cells)
    total = grid.cells.var()
    parts = [float((effect**2).mean() / total) if total > 0 else 0.0 for effect in effects.values()]
    keys = [tuple(names[axis] for axis in key) for key in effects]
    shares = pd.DataFrame(dict(zip(SHARES, (keys, parts), strict=True)))
    shares = shares.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    rest = max(0.0, 1 - sum(parts)) if total > 0 else 0.0
    return Importance(
        grid.method,
        shares,
        rest,
        _marginals(grid),
        tried=float((grid.counts > 0).mean()),
        worst_quarter=_worst_quarter(grid.cells),
    )


def concentration(models: pd.DataFrame, searched: Mapping[str, Mapping[str, Any]]) -> float:
    """How unevenly a sampler visited its intervals: 0.25 if evenly, 1 if only one quarter.

    Returns:
        The largest share of models in one quarter of the interval of a value, on the scale that
        the sampler used; 0 if no value has an interval.
    """
    shares = [0.0]
    for name, interval in searched.items():
        if interval and name in models:
            scale = np.log if interval["log"] else np.asarray
            ends = scale(np.array([interval["low"], interval["high"]], float))
            values = scale(pd.to_numeric(models[name]).to_numpy(float))
            counts, _ = np.histogram(values, bins=4, range=(float(ends[0]), float(ends[1])))
            shares.append(float(counts.max()) / max(1, len(values)))
    return max(shares)


def decompose(cells: Array) -> Effects:
    """The effects of single axes and pairs of axes on a grid (Hutter et al., section 3).

    The effect of axis i is f_i = E[y | i] − E[y], of a pair f_ij = E[y | i, j] − f_i − f_j − E[y].
    """
    centred = cells - cells.mean()
    effects: Effects = {}
    for size in (1, 2):
        for key in combinations(range(cells.ndim), size):
            others = tuple(axis for axis in range(cells.ndim) if axis not in key)
            effect = centred.mean(axis=others, keepdims=True)
            for axis in key if size == 2 else ():
                effect = effect - effects[axis,]
            effects[key] = effect
    return effects


def _tabulate(runs: pd.DataFrame, names: Sequence[str], target: str, random_state: int) -> Grid:
    """Average the models of each cell, and predict the cells without a model."""
    levels = [sorted(runs[name].unique(), key=_order) for name in names]
    X = np.stack([pd.Categorical(runs[n], v).codes for n, v in zip(names, levels, strict=True)], 1)
    y = runs[target].to_numpy(float)
    kept = _thin([len(values) for values in levels])  # of each axis: numbers of its levels
    shape = tuple(map(len, kept))
    on_grid = np.all([np.isin(X[:, axis], some) for axis, some in enumerate(kept)], axis=0)
    places = [np.searchsorted(some, X[on_grid, axis]) for axis, some in enumerate(kept)]
    index = np.ravel_multi_index(places, shape)
    counts = np.bincount(index, minlength=math.prod(shape))
    cells = np.bincount(index, y[on_grid], len(counts)) / np.maximum(counts, 1)
    within, df = y[on_grid] - cells[index], len(index) - int((counts > 0).sum())
    method = "exact" if counts.all() else "forest"
    if method == "forest":
        points = np.stack(np.meshgrid(*kept, indexing="ij"), -1).reshape(len(counts), -1)
        cells = np.where(counts > 0, cells, _forest(X, y, points, random_state))
    return Grid(
        names=list(names),
        levels=[[values[i] for i in some] for values, some in zip(levels, kept, strict=True)],
        cells=cells.reshape(shape),
        counts=counts.reshape(shape),
        variance=float(within @ within) / df if df else math.nan,
        df=df,
        method=method,
    )


def _forest(X: NDArray[np.integer], y: Array, points: NDArray[np.integer], seed: int) -> Array:
    """The prediction of a random forest at points (cells, axes), fitted to y at X (models, axes).

    The numbers of levels represent their values, because a tree uses their order only.
    """
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, random_state=seed).fit(X, y)
    return np.asarray(forest.predict(points), float)


def _marginals(grid: Grid) -> pd.DataFrame:
    """The mean over all other axes at each level, with its interval (see `importance`)."""
    tables = []
    for axis, (name, values) in enumerate(zip(grid.names, grid.levels, strict=True)):
        others = tuple(other for other in range(grid.cells.ndim) if other != axis)
        mean = grid.cells.mean(axis=others)
        if grid.method == "exact" and grid.df:
            weights = (1 / grid.counts).mean(axis=others) * len(values) / grid.cells.size
            half = stdtrit(grid.df, 0.975) * np.sqrt(grid.variance * weights)
        else:
            half = np.full(len(values), np.nan)
        columns = {"name": name, "value": values, "mean": mean}
        tables.append(pd.DataFrame(columns | {"low": mean - half, "high": mean + half}))
    return pd.concat(tables, ignore_index=True)


def _worst_quarter(cells: Array) -> float:
    """The share of the squared deviations from the mean that the worst quarter of cells has."""
    squares = (np.sort(cells, axis=None) - cells.mean()) ** 2
    total = float(squares.sum())
    return float(squares[: max(1, cells.size // 4)].sum()) / total if total > 0 else 0.0


def _thin(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """Indices of the levels of each axis, thinned out to at most MAX_CELLS cells."""
    most = max(sizes)
    while most > 2 and math.prod(min(most, size) for size in sizes) > MAX_CELLS:
        most -= 1
    return [np.linspace(0, n - 1, min(most, n)).round().astype(np.intp) for n in sizes]


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value  # numbers before texts
