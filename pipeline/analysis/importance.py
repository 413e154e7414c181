"""Which of the swept values matter: shares of the variance of accuracy, by functional ANOVA.

Hutter, Hoos and Leyton-Brown (2014), "An efficient approach for assessing hyperparameter
importance". All combinations of the tried values form a grid, each cell weighs the same, and the
variance of accuracy over the cells is divided among single values, pairs and the rest.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TREES = 100
MAX_CELLS = 50_000  # of a grid; beyond, evenly spaced ones of the tried values stand for all
SHARES = ["values", "share"]
MARGINALS = ["name", "value", "mean", "low", "high"]

Array = NDArray[np.float64]
Effects = dict[tuple[int, ...], Array]  # axes → what they do together, of mean 0, broadcastable


@dataclass(frozen=True)
class Importance:
    """How much of the accuracy's variance the swept values explain."""

    method: str  # "exact": each cell was tried; "forest": a random forest filled the others
    shares: pd.DataFrame  # values (a tuple of one or two names), share of variance; largest first
    rest: float  # share of what three or more values do together
    marginals: pd.DataFrame  # name, value, mean accuracy over all else, low and high (95 %)


class Grid(NamedTuple):
    """Mean accuracy in each cell, an axis a swept value."""

    names: list[str]
    levels: list[list[Hashable]]  # of each axis, in order
    cells: Array  # (levels of the first axis, levels of the second, …)
    counts: NDArray[np.intp]  # of the models in each cell, in the same shape
    variance: float  # of models within a cell (they differ by their seed); NaN if all are alone
    df: int  # degrees of freedom of that variance
    trees: Array | None  # (TREES, …): each tree's cells, if a forest was needed


def importance(
    models: pd.DataFrame,
    swept: Sequence[str],
    target: str = "best_val_acc",
    random_state: int = 0,
) -> Importance:
    """How much single values and pairs of them explain, and the mean accuracy at each value.

    Exact where a model finished in every cell of the grid (with several seeds: of the means of
    cells). Otherwise cells without one, diverged ones among them, get the prediction of a random
    forest; its marginals are means over all cells. A 95 % interval of a marginal mean is

    - exact, with several seeds: Student's t with the variance within cells;
    - exact, with one: the same with interactions of three values as the noise, of two where only
      two were swept (one observation a cell: Montgomery, Design and Analysis of Experiments, 5.3),
      and none where one was swept;
    - forest: 1.96 standard deviations over its trees, as in the paper.

    Args:
        models: a row a model, with the columns of `swept` and `target`; rows without a target are
            left out.
        swept: the columns whose values were swept; those with one value are left out.
        target: the accuracy, a share.
        random_state: of the forest.
    """
    runs = models.dropna(subset=[target, *swept])
    names = [name for name in swept if runs[name].nunique() > 1]
    if not names:
        empty = [pd.DataFrame(columns=columns) for columns in (SHARES, MARGINALS)]
        return Importance("exact", empty[0], 0.0, empty[1])
    grid = _tabulate(runs, names, target, random_state)
    effects = decompose(grid.cells)
    total = grid.cells.var()
    parts = [float((effect**2).mean() / total) if total > 0 else 0.0 for effect in effects.values()]
    keys = [tuple(names[axis] for axis in key) for key in effects]
    shares = pd.DataFrame(dict(zip(SHARES, (keys, parts), strict=True)))
    shares = shares.sort_values("share", ascending=False, kind="stable", ignore_index=True)
    rest = max(0.0, 1 - sum(parts)) if total > 0 else 0.0
    method = "exact" if grid.trees is None else "forest"
    return Importance(method, shares, rest, _marginals(grid, effects))


def decompose(cells: Array) -> Effects:
    """What single axes and pairs of them add to the mean of a grid (Hutter et al., section 3).

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
    """Put the models into their cells, and fill those that have none."""
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
    trees = None
    if not counts.all():
        points = np.stack(np.meshgrid(*kept, indexing="ij"), -1).reshape(len(counts), -1)
        trees = _forest(X, y, points, random_state)
        cells = np.where(counts > 0, cells, trees.mean(axis=0))
        trees = trees.reshape(TREES, *shape)
    return Grid(
        names=list(names),
        levels=[[values[i] for i in some] for values, some in zip(levels, kept, strict=True)],
        cells=cells.reshape(shape),
        counts=counts.reshape(shape),
        variance=float(within @ within) / df if df else math.nan,
        df=df,
        trees=trees,
    )


def _forest(X: NDArray[np.integer], y: Array, points: NDArray[np.integer], seed: int) -> Array:
    """Each tree's prediction (TREES, points), fitted to y at X (models, axes).

    Levels stand for values: a tree only knows their order.
    """
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(TREES, random_state=seed).fit(X, y)
    return np.stack([tree.predict(points.astype(np.float32)) for tree in forest.estimators_])


def _marginals(grid: Grid, effects: Effects) -> pd.DataFrame:
    """The mean over all other axes at each level, with its interval (see `importance`)."""
    from scipy.stats import t

    variance, df = (grid.variance, grid.df) if grid.df else _interactions(grid.cells, effects)
    tables = []
    for axis, (name, values) in enumerate(zip(grid.names, grid.levels, strict=True)):
        others = tuple(other for other in range(grid.cells.ndim) if other != axis)
        mean = grid.cells.mean(axis=others)
        if grid.trees is not None:
            over = tuple(1 + other for other in others)
            half = 1.96 * grid.trees.mean(axis=over).std(axis=0)
        elif df:
            of_mean = variance * (1 / grid.counts).mean(axis=others) * len(values) / grid.cells.size
            half = t.ppf(0.975, df) * np.sqrt(of_mean)
        else:
            half = np.full(len(values), np.nan)
        columns = {"name": name, "value": values, "mean": mean}
        tables.append(pd.DataFrame(columns | {"low": mean - half, "high": mean + half}))
    return pd.concat(tables, ignore_index=True)


def _interactions(cells: Array, effects: Effects) -> tuple[float, int]:
    """Mean square of what few values do not explain, and its degrees of freedom, maybe none."""
    if cells.ndim == 1:
        return math.nan, 0
    known = {key: effect for key, effect in effects.items() if cells.ndim > 2 or len(key) == 1}
    left = cells - cells.mean() - sum(known.values())
    df = cells.size - 1 - sum(math.prod(cells.shape[axis] - 1 for axis in key) for key in known)
    return float((left**2).sum()) / df, df


def _thin(sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """Levels of each axis, all of them unless that makes more than MAX_CELLS."""
    most = max(sizes)
    while most > 2 and math.prod(min(most, size) for size in sizes) > MAX_CELLS:
        most -= 1
    return [np.linspace(0, n - 1, min(most, n)).round().astype(np.intp) for n in sizes]


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value  # numbers before texts
