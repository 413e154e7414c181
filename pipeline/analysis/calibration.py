"""Calibration: whether a model is right as often as its probabilities state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.intervals import wilson

BINS = 15  # of equal width, as in Guo et al. (2017)


class Bin(NamedTuple):
    """The examples whose predicted class has a probability in an interval."""

    low: float  # exclusive
    high: float  # inclusive
    size: int  # its number of examples
    confidence: float  # mean probability of the predicted class
    accuracy: float
    accuracy_low: float  # 95 % interval (Wilson)
    accuracy_high: float


@dataclass(frozen=True)
class Calibration:
    """The confidence of a model compared with its accuracy."""

    error: float  # expected calibration error
    confidence: float  # mean probability of the predicted class
    bins: tuple[Bin, ...]  # without empty ones, in ascending order


def calibrate(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> Calibration:
    """Measure the expected calibration error.

    It is the mean of |accuracy − confidence| over bins of confidence, weighted by their examples
    (Naeini, Cooper and Hauskrecht, 2015; Guo, Pleiss, Sun and Weinberger, 2017, equation 3).

    Args:
        confidence: (n,), the probability of the predicted class.
        correct: (n,), whether the prediction is correct.
    """
    ends = np.linspace(0, 1, BINS + 1)
    number = np.clip(np.searchsorted(ends, confidence, side="left") - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for i in np.unique(number).tolist():
        own = number == i
        size, hits = int(own.sum()), int(correct[own].sum())
        mean = float(confidence[own].mean(dtype=float))
        error += abs(hits - mean * size) / len(correct)
        bins.append(
            Bin(float(ends[i]), float(ends[i + 1]), size, mean, hits / size, *wilson(hits, size))
        )
    return Calibration(error, float(confidence.mean(dtype=float)), tuple(bins))
