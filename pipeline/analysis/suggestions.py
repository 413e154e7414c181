"""What to try next: values beyond the edge of the grid, and models that cost less."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import short
from pipeline.nn.cost import prediction_cost, training_cost

WHOLE = ("hidden_size", "batch_size", "num_epochs")  # at least 1
NO_SCALE = ("seed",)  # numbers of which none is better than another
LARGEST = {"learning_rate_decay": 1.0}  # that make sense
BELOW = {"momentum": 1.0, "dropout": 1.0}  # what values must be; all others have no end
NEAR = 0.05  # of an interval, within which a value is at its end
WIDER = 10  # times as far a log scale then reaches; another one twice as far
FEWEST = 3  # tried values that have an edge: of two, each is one


@dataclass(frozen=True)
class Edge:
    """The chosen model has the largest or the smallest of the tried values."""

    name: str
    value: float
    end: str  # "largest" or "smallest"
    further: list[float]  # values to try next, from the edge outwards; of an interval none
    command: str  # that tries them, beside the value at the edge, or a wider interval

    def __str__(self) -> str:
        """One sentence for the report."""
        more = "larger" if self.end == "largest" else "smaller"
        if not self.further:
            end = "upper" if self.end == "largest" else "lower"
            return (
                f"{self.name}={short(float(f'{self.value:.3g}'))} is near the {end} end of the "
                f"interval that was searched: a {more} one may be better."
            )
        return (
            f"{self.name}={short(self.value)} is the {self.end} that was tried: a {more} one may "
            f"be better, e.g. {', '.join(map(short, self.further))}."
        )


def edges(
    models: pd.DataFrame,
    best: Mapping[Any, Any],
    swept: Sequence[str],
    command: str,
    searched: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Edge]:
    """The values of the best model that lie at the edge of what was tried.

    λ = 0 is no edge, nor is a learning rate beyond which the models diverged: for that, `models`
    has those too.

    Args:
        models: a row a model that was trained, with the columns of `swept`.
        best: the values of the best.
        swept: the columns to look at; texts and seeds have no edge.
        command: that started the sweep, as `python -m pipeline …`.
        searched: of values that come from an interval its low and high end, and whether its scale
            is log: there, the best is at an edge if it is near an end.
    """
    found = []
    for name in swept:
        if searched.get(name):
            found += _near_an_end(name, float(best[name]), command, **searched[name])
            continue
        tried = sorted(pd.to_numeric(models[name], errors="coerce").dropna().unique().tolist())
        if name in NO_SCALE or len(tried) < FEWEST or best[name] not in (tried[0], tried[-1]):
            continue
        value, upwards = float(best[name]), best[name] == tried[-1]
        further = beyond(name, tried, upwards) if value > 0 else []
        if further:
            again = extend(command, name, [value, *further])
            found.append(Edge(name, value, "largest" if upwards else "smallest", further, again))
    return found


def _near_an_end(
    name: str, value: float, command: str, low: float, high: float, *, log: bool
) -> list[Edge]:
    """The edge of an interval that a value is near to, if any, and the command for a wider one."""
    scale = math.log if log else float
    share = (scale(value) - scale(low)) / (scale(high) - scale(low))
    if NEAR < share < 1 - NEAR:
        return []
    upwards = share > NEAR
    wider = [low, high]
    if upwards:
        wider[1] = _allowed(name, high * WIDER if log else 2 * high - low, high)
    else:
        wider[0] = low / WIDER if log else max(0.0, 2 * low - high)
    if name in WHOLE:
        wider = [max(1.0, float(round(end))) for end in wider]
    if wider == [low, high]:
        return []
    text = f"interval({','.join(map(short, wider))})"
    text = f"int({text})" if name in WHOLE else text
    text = f"tag(log,{text})" if log else text
    end = "largest" if upwards else "smallest"
    return [Edge(name, value, end, [], overridden(command, name, text))]


def beyond(name: str, tried: Sequence[float], upwards: bool) -> list[float]:
    """Up to two values that continue a grid at its own spacing, from its end outwards.

    That is a constant factor, a pattern that repeats in each decade (0.1, 0.3, 1, 3), or a constant
    step; of a grid without any, the mean factor or step, whichever fits better, in few digits.
    The value 0 takes no part in it.

    Args:
        name: of the hyperparameter, for the values that it may have.
        tried: in rising order.
        upwards: beyond the largest; otherwise below the smallest.
    """
    ordered = np.array([value for value in tried if value > 0][:: 1 if upwards else -1])
    if len(ordered) < 2:
        return []
    values = _repeated(ordered) or _mean_spaced(ordered)
    if name in WHOLE:
        values = [float(round(value)) for value in values]
    values = [_allowed(name, value, float(ordered[-1])) for value in values]
    return [value for value in dict.fromkeys(values) if value > 0 and value != ordered[-1]]


def _allowed(name: str, value: float, end: float) -> float:
    """A value beyond the end of those tried, or what the hyperparameter allows on the way there."""
    if value >= BELOW.get(name, math.inf):
        return _rounded((end + BELOW[name]) / 2, slack=0)
    return min(value, LARGEST.get(name, math.inf))


def _repeated(ordered: NDArray[np.float64]) -> list[float]:
    """The next values, if all have the same factor between them, or two or three make a decade."""
    for period in (1, 2, 3):
        factors = ordered[period:] / ordered[:-period]
        decade = 10.0 if ordered[-1] > ordered[0] else 0.1
        if len(factors) and np.allclose(factors, factors[0] if period == 1 else decade):
            values: list[float] = ordered.tolist()
            for _ in range(2):
                values.append(_rounded(values[-period] * float(factors[0]), slack=0))
            return values[-2:]
    return []


def _mean_spaced(ordered: NDArray[np.float64]) -> list[float]:
    """The next values at the mean step or factor, rounded as far as the grid is uneven itself."""
    end, away = ordered[-1], np.array([1, 2])
    steps, factors = np.diff(ordered), np.diff(np.log(ordered))
    linear = end + steps.mean() * away
    # Downwards, steps soon leave nothing above 0; a factor always does.
    if _unevenness(steps) < _unevenness(factors) and linear[0] > 1e-6 * end:
        exact, slack = linear, 1.5 * np.abs(steps - steps.mean()).max() * np.ones(2)
    else:
        exact = end * np.exp(factors.mean() * away)
        slack = 1.5 * np.expm1(np.abs(factors - factors.mean()).max()) * exact
    return [_rounded(*pair) for pair in zip(exact.tolist(), slack.tolist(), strict=True)]


def _unevenness(gaps: NDArray[np.float64]) -> float:
    return float(gaps.std() / abs(gaps.mean()))


def _rounded(value: float, slack: float) -> float:
    """The number of fewest digits that is as near as `slack`."""
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 6))
    near = (number for number in candidates if abs(number - value) <= slack + 1e-6 * abs(value))
    return next(near, float(f"{value:.6g}"))


def extend(command: str, name: str, values: Sequence[float]) -> str:
    """The command of a sweep with other values of one hyperparameter, ready for a shell.

    Args:
        command: as `python -m pipeline …`.
        name: of the hyperparameter.
        values: to sweep instead of those in the command, or of a saved experiment.
    """
    return overridden(command, name, ",".join(map(short, values)))


def overridden(command: str, name: str, text: str) -> str:
    """The command of a sweep with another text for one hyperparameter."""
    start, words = shlex.split(command)[:3], shlex.split(command)[3:]
    override = f"{name}={text}"
    same = [i for i, word in enumerate(words) if word.lstrip("+").startswith(f"{name}=")]
    if same:
        words[same[-1]] = override
    else:
        last = [i for i, word in enumerate(words) if "=" in word and not word.startswith("-")]
        words.insert(last[-1] + 1 if last else len(words), override)
    if not {"-m", "--multirun"} & set(words):
        words.insert(0, "-m")
    return shlex.join([*start, *words])


def costs(models: pd.DataFrame, num_inputs: int, num_classes: int) -> pd.DataFrame:
    """Multiply-adds of the matrix products of each model (`pipeline.nn.cost`).

    Args:
        models: a row a model, with hidden_size, num_epochs, num_train and num_val.
        num_inputs: D.
        num_classes: C.

    Returns:
        The columns `prediction`, of one image; and `training`, of all epochs, each with its look
        at the validation images.
    """
    hidden_size, epochs = models["hidden_size"], models["num_epochs"]
    splits = models["num_train"], models["num_val"]
    return pd.DataFrame(
        {
            "prediction": prediction_cost(hidden_size, num_inputs, num_classes),
            "training": training_cost(hidden_size, epochs, *splits, num_inputs, num_classes),
        }
    )


def pareto(models: pd.DataFrame, cost: str, accuracy: str = "best_val_acc") -> pd.DataFrame:
    """The models that no other beats in both cost and accuracy (Pareto, 1896), cheapest first.

    A model is left out if another is no dearer and no less accurate, and better in one of them, or
    if it has no accuracy; equal ones stay together.
    """
    known = models.dropna(subset=[cost, accuracy])
    price, value = known[cost].to_numpy(float), known[accuracy].to_numpy(float)
    no_worse = (price <= price[:, None]) & (value >= value[:, None])
    better = (price < price[:, None]) | (value > value[:, None])
    front = np.flatnonzero(~np.any(no_worse & better, axis=1))
    return known.iloc[front[price[front].argsort(kind="stable")]]
