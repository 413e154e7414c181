"""What training tells of a model: its epochs, where it stands, and its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.nn.model import Params
from pipeline.outcomes import Outcome

VERSION = 2  # of the numbers: a change here or in model.py that moves a single bit raises it


class Metrics(NamedTuple):
    """What one epoch of one model measured."""

    train_loss: float  # the objective L at each mini-batch before its step, averaged over images
    train_acc: float  # share of training images predicted right, each before its step
    val_loss: float  # data loss on the validation images after the epoch
    val_acc: float  # share of validation images predicted right after the epoch


class Row(NamedTuple):
    """An epoch of a learning curve."""

    metrics: Metrics
    milliseconds: int  # when it ended, since 1970


@dataclass(frozen=True)
class Checkpoint:
    """Where one model stands: with an outcome its result, otherwise all that it takes to go on."""

    curve: tuple[Row, ...]  # an epoch each
    outcome: Outcome | None  # FINISHED or DIVERGED; None: training continues
    best: Params | None  # the weights of its best epoch (K = 1), if there is one
    best_hits: NDArray[np.uint8]  # by them, the validation images predicted right: (⌈N/8⌉,) bits
    params: Params | None  # the weights now (K = 1), without an outcome
    step: int = 0  # mini-batches that are done of the epoch after the curve's last
    loss: float = 0.0  # and that epoch's sum of L over images so far
    hits: int = 0  # and its number of images predicted right
    velocity: Params | None = None  # v (K = 1) of a model with momentum that trains on

    @property
    def progress(self) -> tuple[int, int]:
        """Epochs done, and steps of the next: equal for models that can train on together."""
        return len(self.curve), self.step


@dataclass(frozen=True)
class EpochEnd:
    """A model has ended an epoch."""

    model: int  # its place in the population
    epoch: int  # 1, 2, …
    row: Row
    outcome: Outcome | None  # as in `Checkpoint`
    result: Checkpoint | None  # with an outcome


@dataclass(frozen=True)
class Snapshot:
    """Where a model stands in the middle of its training; its arrays change with the next step."""

    model: int
    checkpoint: Checkpoint


def selection_key(metrics: Metrics) -> tuple[float, float]:
    """The greater, the better the epoch: higher val_acc, then lower val_loss."""
    return metrics.val_acc, -metrics.val_loss
