"""Continue a grid of tried values at its own spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.hyperparameters import HYPERPARAMETERS


def beyond(name: str, tried: Sequence[float], upwards: bool) -> list[float]:
    """Up to two values that continue a grid at its own spacing, from its end outwards.

    The spacing is a constant factor, a pattern that repeats in each decade (0.1, 0.3, 1, 3), or a
    constant step. An uneven grid is continued by its mean factor or mean step, whichever fits
    better, in few digits. The value 0 is ignored.

    Args:
        name: the hyperparameter, which determines the allowed values.
        tried: the tried values in ascending order.
        upwards: whether to continue above the largest value, or below the smallest one.
    """
    ordered = np.array([value for value in tried if value > 0][:: 1 if upwards else -1])
    if len(ordered) < 2:
        return []
    values = _repeated(ordered) or _mean_spaced(ordered)
    if HYPERPARAMETERS[name].type is int:
        values = [float(round(value)) for value in values]
    values = [allowed(name, value, float(ordered[-1])) for value in values]
    return [value for value in dict.fromkeys(values) if value > 0 and value != ordered[-1]]


def allowed(name: str, value: float, end: float) -> float:
    """A value beyond the end of the tried ones, moved into the bounds of its hyperparameter."""
    described = HYPERPARAMETERS[name]
    if value >= described.limit:
        return _rounded((end + described.limit) / 2, slack=0)
    return min(value, described.traits.largest_useful)


def _repeated(ordered: NDArray[np.float64]) -> list[float]:
    """The next values, if the factor is constant, or the pattern repeats in each decade."""
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
    """The next values at the mean step or factor, rounded within the unevenness of the grid."""
    end, away = ordered[-1], np.array([1, 2])
    steps, factors = np.diff(ordered), np.diff(np.log(ordered))
    linear = end + steps.mean() * away
    # Steps downwards soon reach 0, which a factor never does.
    if _unevenness(steps) < _unevenness(factors) and linear[0] > 1e-6 * end:
        exact, slack = linear, 1.5 * np.abs(steps - steps.mean()).max() * np.ones(2)
    else:
        exact = end * np.exp(factors.mean() * away)
        slack = 1.5 * np.expm1(np.abs(factors - factors.mean()).max()) * exact
    return [_rounded(*pair) for pair in zip(exact.tolist(), slack.tolist(), strict=True)]


def _unevenness(gaps: NDArray[np.float64]) -> float:
    return float(gaps.std() / abs(gaps.mean()))


def _rounded(value: float, slack: float) -> float:
    """The number with the fewest digits that differs from `value` by at most `slack`."""
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 6))
    near = (number for number in candidates if abs(number - value) <= slack + 1e-6 * abs(value))
    return next(near, float(f"{value:.6g}"))
