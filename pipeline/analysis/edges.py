"""Swept values of the chosen model that are the largest or smallest of the tried ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from pipeline.analysis.spacing import allowed, beyond
from pipeline.hyperparameters import HYPERPARAMETERS

NEAR = 0.05  # share of an interval that counts as its end
WIDER = 10  # the factor by which a log interval is widened; a linear one doubles
FEWEST = 3  # tried values below which every value would be an edge


@dataclass(frozen=True)
class Interval:
    """The interval from which a sampler draws a value."""

    low: float
    high: float
    log: bool


@dataclass(frozen=True)
class Edge:
    """The chosen model has the largest or the smallest of the tried values."""

    name: str
    value: float
    end: Literal["largest", "smallest"]
    further: tuple[float, ...]  # values to try next, from the edge outwards; of an interval none
    wider: Interval | None  # the interval to search next; of a grid None


def find_edges(
    models: pd.DataFrame,
    best: Mapping[Any, Any],
    swept: Sequence[str],
    searched: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Edge]:
    """Find the values of the best model that are the largest or smallest of the tried ones.

    λ = 0 is no edge, because no smaller value is allowed. A learning rate is no edge if larger ones
    were tried and diverged, so `models` includes diverged ones.

    Args:
        models: a row for each model that was trained, with the columns of `swept`.
        best: the values of the best model.
        swept: the columns to examine. Texts and seeds have no edge.
        searched: for values drawn from an interval, its `low` and `high` end and whether its scale
            is `log`. The best value is at an edge if it is near an end.
    """
    found = []
    for name in swept:
        if not HYPERPARAMETERS[name].traits.has_edge:
            continue
        if searched.get(name):
            found += _near_an_end(name, float(best[name]), Interval(**searched[name]))
            continue
        tried = sorted(pd.to_numeric(models[name], errors="coerce").dropna().unique().tolist())
        if len(tried) < FEWEST or best[name] not in (tried[0], tried[-1]):
            continue
        value, upwards = float(best[name]), best[name] == tried[-1]
        further = beyond(name, tried, upwards) if value > 0 else []
        if further:
            end: Literal["largest", "smallest"] = "largest" if upwards else "smallest"
            found.append(Edge(name, value, end, tuple(further), None))
    return found


def _near_an_end(name: str, value: float, tried: Interval) -> list[Edge]:
    """The edge of an interval that a value is near to, if there is one."""
    scale = math.log if tried.log else float
    low, high = tried.low, tried.high
    share = (scale(value) - scale(low)) / (scale(high) - scale(low))
    if NEAR < share < 1 - NEAR:
        return []
    upwards = share > NEAR
    if upwards:
        high = allowed(name, high * WIDER if tried.log else 2 * high - low, high)
    else:
        low = low / WIDER if tried.log else max(0.0, 2 * low - high)
    if HYPERPARAMETERS[name].type is int:
        low, high = (max(1.0, float(round(end))) for end in (low, high))
    wider = Interval(low, high, tried.log)
    if wider == tried:
        return []
    return [Edge(name, value, "largest" if upwards else "smallest", (), wider)]
