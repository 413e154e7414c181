"""The selection rule of the project: which of two epochs, configurations or models is better.

The one with the higher validation accuracy is better. Ties go to the lower validation loss, then to
the smaller hidden size, then to the lower job number. The best epoch of a run, the comparison at a
rung of successive halving, the choice of the report, Optuna's objective and promote all use this
module. Of equal epochs, the trainer keeps the earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

DIGITS = 9  # decimals of a mean; later ones depend on how its values were rounded


class SelectionKey(NamedTuple):
    """The greater key is the better one."""

    val_acc: float  # also the value that Optuna maximises
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


def mean_key(keys: Sequence[SelectionKey | None]) -> SelectionKey:
    """The mean over the replicates of a configuration.

    Args:
        keys: at least one. None stands for a replicate without a result, because it diverged or
            failed: it makes the configuration the worst.
    """
    known = [WORST if key is None else key for key in keys]
    return SelectionKey(mean(key[0] for key in known), mean(key[1] for key in known))


def configuration_key(
    keys: Sequence[SelectionKey | None], hidden_size: int, job: int
) -> tuple[SelectionKey, int, int]:
    """The complete key of a configuration. No two configurations of a sweep have equal ones.

    Args:
        keys: of its replicates, as in `mean_key`.
        hidden_size: the smaller model wins a tie.
        job: the number of its first job, which decides between models of one size.
    """
    return mean_key(keys), -hidden_size, -job
