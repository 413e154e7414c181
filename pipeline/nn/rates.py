"""The hyperparameters of SGD as arrays over the models of a stack."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.nn.model import Array


class Rates:
    """The hyperparameters of K models that are of type float.

    `rates[name]` is an array (K, 1, 1) in the dtype of the models.

    Attributes:
        learning_rate: η of the current epoch (K, 1, 1).
        l2_step: 2 η λ, the factor by which a step shrinks the weights (K, 1, 1).
        has_penalty: whether λ > 0, (K,).
        has_dropout: whether p > 0 for some model.
        smoothing: ε of label smoothing (K, 1, 1); None if no model uses it.
        nesterov: whether the models use Nesterov's momentum; it is the same for all.
        has_ema: whether the models average their weights; it is the same for all.
        ema_weight: the weight of the newest weights in their average (K, 1, 1); set in each step.
    """

    def __init__(self, jobs: Sequence[Hyperparameters], epochs: int = 0) -> None:
        """Take the rates of models that have completed some epochs."""
        self._dtype = np.dtype(jobs[0].dtype)
        self._columns = {
            name: self._column([getattr(job, name) for job in jobs])
            for name, each in HYPERPARAMETERS.items()
            if each.type is float and not each.words
        }
        self.nesterov, self.has_ema = jobs[0].nesterov, jobs[0].ema > 0
        self._epoch, self._jobs = 0, list(jobs)
        self._decayed = self["learning_rate"]
        self._update()
        for _ in range(epochs):
            self.decay()

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self._dtype)[:, None, None]

    def __getitem__(self, name: str) -> Array:
        """The values of a hyperparameter (K, 1, 1)."""
        return self._columns[name]

    def decay(self) -> None:
        """Multiply each learning rate by its `learning_rate_decay`, after an epoch."""
        self._epoch += 1
        with np.errstate(all="ignore"):
            self._decayed = self._decayed * self["learning_rate_decay"]
        self._update()

    def begin_step(self, steps: int) -> None:
        """Compute `ema_weight` for a step.

        After t steps, a ← a + (1 − β) / (1 − β^t) (W − a) is the average of W over these steps with
        weights proportional to β^(t − i), without the initial weights (Kingma and Ba, 2015, § 3).

        Args:
            steps: t, the number of steps since the start of the training, with the current one.
        """
        weights = [(1 - job.ema) / (1 - job.ema**steps) for job in self._jobs]
        self.ema_weight = self._column(weights)

    def keep_only(self, models: list[int]) -> None:
        """Remove the other models."""
        self._columns = {name: column[models] for name, column in self._columns.items()}
        self._decayed, self._jobs = self._decayed[models], [self._jobs[k] for k in models]
        self._update()

    def _update(self) -> None:
        with np.errstate(all="ignore"):
            factors = [schedule_factor(job, self._epoch) for job in self._jobs]
            self.learning_rate = self._decayed * self._column(factors)
            self.l2_step = 2 * self.learning_rate * self["l2_reg"]
        self.smoothing = self["label_smoothing"] if self["label_smoothing"].any() else None
        self.has_dropout = bool(self["dropout"].any())
        self.has_penalty: NDArray[np.bool_] = self["l2_reg"][:, 0, 0] > 0


def schedule_factor(job: Hyperparameters, epochs: int) -> float:
    """The factor of the schedule and of the warm-up on the learning rate of an epoch.

    cosine: ½ (1 + cos(π e / num_epochs)) after e epochs (Loshchilov and Hutter, 2017, without
    restarts). Warm-up of w epochs: (e + 1) / (w + 1) for e < w (Goyal et al., 2017).

    Args:
        job: the hyperparameters of the model.
        epochs: e, the number of epochs that the model has completed.
    """
    factor = 1.0
    if job.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * epochs / job.num_epochs))
    if epochs < job.warmup_epochs:
        factor *= (epochs + 1) / (job.warmup_epochs + 1)
    return factor
