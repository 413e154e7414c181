"""The hyperparameters of SGD as arrays over the models of a stack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.model import Array


class Rates:
    """The rates of K models, each as an array (K, 1, 1) in the dtype of the models.

    Attributes:
        learning_rate: η of the current epoch.
        l2_reg: λ.
        l2_step: 2 η λ, the factor by which a step shrinks the weights.
        momentum: μ.
        dropout: p, the probability that a hidden unit is disabled.
        has_penalty: whether λ > 0, (K,).
        has_dropout: whether p > 0 for some model.
    """

    def __init__(self, jobs: Sequence[Hyperparameters], epochs: int = 0) -> None:
        """Take the rates of models that have completed some epochs."""
        self._dtype = np.dtype(jobs[0].dtype)
        self.learning_rate = self._column([job.learning_rate for job in jobs])
        self._decay = self._column([job.learning_rate_decay for job in jobs])
        self.l2_reg = self._column([job.l2_reg for job in jobs])
        self.momentum = self._column([job.momentum for job in jobs])
        self.dropout = self._column([job.dropout for job in jobs])
        self._update()
        for _ in range(epochs):
            self.decay()

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self._dtype)[:, None, None]

    def decay(self) -> None:
        """Multiply each learning rate by its `learning_rate_decay`, after an epoch."""
        with np.errstate(all="ignore"):
            self.learning_rate = self.learning_rate * self._decay
        self._update()

    def keep_only(self, models: list[int]) -> None:
        """Remove the other models."""
        self.learning_rate, self._decay = self.learning_rate[models], self._decay[models]
        self.l2_reg, self.momentum = self.l2_reg[models], self.momentum[models]
        self.dropout = self.dropout[models]
        self._update()

    def _update(self) -> None:
        with np.errstate(all="ignore"):
            self.l2_step = 2 * self.learning_rate * self.l2_reg
        self.has_dropout = bool(self.dropout.any())
        self.has_penalty: NDArray[np.bool_] = self.l2_reg[:, 0, 0] > 0
