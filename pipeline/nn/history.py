"""The results of training: metrics, learning curves and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline import selection
from pipeline.nn.model import Params
from pipeline.outcomes import Outcome
from pipeline.selection import DEFAULT, SelectBy, SelectionKey


class Metrics(NamedTuple):
    """The metrics of one model after one epoch."""

    train_loss: float  # the objective L of each mini-batch before its step, averaged over images
    train_acc: float  # share of training images predicted correctly, each before its step
    val_loss: float  # data loss on the validation images after the epoch
    val_acc: float  # share of validation images predicted correctly after the epoch
    balanced_acc: float | None = None  # mean of this share over the classes; None: not measured

    @property
    def are_finite(self) -> bool:
        """Whether no metric is infinite or NaN, apart from one that was not measured."""
        return all(math.isfinite(value) for value in self.measured().values())

    def measured(self) -> dict[str, float]:
        """The metrics by name, without one that was not measured."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def as_row(self) -> list[float]:
        """The metrics as numbers: NaN stands for one that was not measured."""
        return [math.nan if value is None else value for value in self]

    @classmethod
    def from_row(cls, values: Iterable[float]) -> Self:
        """Read metrics from the numbers of `as_row`. Older checkpoints have the first four."""
        metrics = cls(*map(float, values))
        if metrics.balanced_acc is None or math.isnan(metrics.balanced_acc):
            return metrics._replace(balanced_acc=None)
        return metrics


class Row(NamedTuple):
    """One epoch of a learning curve."""

    metrics: Metrics
    milliseconds: int  # when the epoch ended, since 1970


@dataclass(frozen=True)
class Checkpoint:
    """The state of one model: its result if it has an outcome, otherwise all it needs to resume."""

    curve: tuple[Row, ...]  # one row per completed epoch
    outcome: Outcome | None  # FINISHED or DIVERGED; None while the model trains
    best: Params | None  # the weights of the best epoch (K = 1); None before the first epoch
    best_hits: NDArray[np.uint8]  # (⌈N/8⌉,) bits: validation images that `best` predicts correctly
    params: Params | None  # the current weights (K = 1); None once there is an outcome
    step: int = 0  # completed mini-batches of the epoch in progress
    loss: float = 0.0  # the sum of L over the images of the epoch in progress
    hits: int = 0  # the number of images predicted correctly in the epoch in progress
    velocity: Params | None = None  # v (K = 1) of a model with momentum that still trains
    average: Params | None = None  # of the weights (K = 1), if the model trains with `ema`

    @property
    def progress(self) -> tuple[int, int]:
        """Completed epochs, and completed steps of the next one.

        Models with equal progress can train together.
        """
        return len(self.curve), self.step


@dataclass(frozen=True)
class EpochEnd:
    """The event that a model has completed an epoch."""

    model: int  # index in the population
    epoch: int  # 1, 2, …
    row: Row
    outcome: Outcome | None  # as in `Checkpoint`
    result: Checkpoint | None  # set if there is an outcome


@dataclass(frozen=True)
class Snapshot:
    """The state of a model that still trains. The next step overwrites its arrays."""

    model: int  # index in the population
    checkpoint: Checkpoint


def selection_key(metrics: Metrics, select_by: SelectBy = DEFAULT) -> SelectionKey:
    """Order the epochs of a run by the selection rule (`pipeline.selection`)."""
    _, _, val_loss, val_acc, balanced_acc = metrics
    return selection.selection_key(val_acc, val_loss, balanced_acc, select_by)
