"""The selection rule of the project: which of two epochs, configurations or models is better.

The one with the higher validation accuracy is better; of two with equal accuracy, the one with the
lower validation loss. The best epoch of a run, the comparison at a rung, the choice of the report,
Optuna's objective and promote all use this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

DIGITS = 12  # decimals of a mean; later ones depend on how its values were rounded


class SelectionKey(NamedTuple):
    """The greater key is the better one."""

    val_acc: float
    negative_val_loss: float


WORST = SelectionKey(-math.inf, -math.inf)  # the key of a run without a result


def selection_key(val_acc: float, val_loss: float) -> SelectionKey:
    """The key of an epoch, or of the best epoch of a run."""
    return SelectionKey(val_acc, -val_loss)


def mean(values: Iterable[float]) -> float:
    """The mean over replicates; the same for any order of the values.

    It is rounded to `DIGITS` decimals: configurations whose replicates have the same number of
    correct predictions in total have equal means.
    """
    numbers = list(values)
    total = math.fsum(numbers) if all(map(math.isfinite, numbers)) else sum(numbers)
    return round(total / len(numbers), DIGITS)


def mean_key(keys: Sequence[SelectionKey]) -> SelectionKey:
    """The key of a configuration: the mean over its replicates."""
    return SelectionKey(mean(key[0] for key in keys), mean(key[1] for key in keys))
