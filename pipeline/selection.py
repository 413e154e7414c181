"""The selection rule of the project: which of two epochs, configurations or models is better.

The value `select_by` names the metric that decides. Ties go to the lower validation loss (for
`val_loss`: to the higher validation accuracy), then to the smaller hidden size, then to the lower
job number. The best epoch of a run, the comparison at a rung of successive halving, the choice of
the report, Optuna's objective and promote all use this module. Of equal epochs, the trainer keeps
the earlier one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

SelectBy = Literal["val_acc", "val_loss", "balanced_acc"]
METRICS: tuple[SelectBy, ...] = get_args(SelectBy)
DEFAULT: SelectBy = "val_acc"  # also of runs that are older than the choice
DIGITS = 9  # decimals of a mean; later ones depend on how its values were rounded


class SelectionKey(NamedTuple):
    """The greater key is the better one."""

    score: float  # the metric; negative for `val_loss`
    tie_break: float


WORST = SelectionKey(-math.inf, -math.inf)  # the key of a run without a result


def selection_key(
    val_acc: float,
    val_loss: float,
    balanced_acc: float | None = None,
    select_by: SelectBy = DEFAULT,
) -> SelectionKey:
    """The key of an epoch, or of the best epoch of a run.

    Args:
        val_acc: validation accuracy.
        val_loss: validation loss.
        balanced_acc: the mean over the classes of their validation accuracy; needed only if it is
            the metric.
        select_by: the metric.
    """
    match select_by:
        case "val_loss":
            return SelectionKey(-val_loss, val_acc)
        case "balanced_acc":
            return SelectionKey(-math.inf if balanced_acc is None else balanced_acc, -val_loss)
    return SelectionKey(val_acc, -val_loss)


def direction(select_by: SelectBy) -> Literal["maximize", "minimize"]:
    """The direction of the metric, as Optuna names it."""
    return "minimize" if select_by == "val_loss" else "maximize"


def parse_select_by(value: Any) -> SelectBy:
    """The metric that a stored run names; the default for a run that names none of `METRICS`."""
    return next((metric for metric in METRICS if metric == value), DEFAULT)


def describe_score(score: float, select_by: SelectBy) -> str:
    """The name and the value of the metric, as the terminal shows them."""
    shown = f"{score:.4f}" if select_by == "val_loss" else f"{100 * score:.1f} %"
    return f"{select_by} {shown}"


def best_name(select_by: SelectBy) -> str:
    """The name under which a run records the metric of its best epoch."""
    return f"best_{select_by}"


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
