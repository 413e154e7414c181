"""Mini-batch SGD with L2 regularisation and optional momentum, for K models at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Hyperparameters
from pipeline.nn.model import Array, Params, sum_of_squares
from pipeline.nn.workspace import Buffers

# W1 is updated in blocks of rows, so that a block and its gradient stay in the cache. A block has
# about BLOCK_SIZE entries. Blocks of fewer than MIN_ROWS rows would slow down the matrix product.
BLOCK_SIZE, MIN_ROWS = 98_304, 384


class SGD:
    """The optimiser of K models of one hidden size (docs/model.md, "Training").

    Attributes:
        l2_reg: λ (K, 1, 1).
        learning_rate: η of the current epoch (K, 1, 1).
        velocity: v of models with momentum, in the shapes of the parameters; otherwise None.
    """

    def __init__(self, jobs: Sequence[Hyperparameters], params: Params, epochs: int = 0) -> None:
        """Create the optimiser of models that have completed some epochs.

        Args:
            jobs: the hyperparameters of each model.
            params: their parameters, which `step` updates in place.
            epochs: how often the learning rate has decayed.
        """
        self.params = params
        self.velocity = Params(*map(np.zeros_like, params)) if jobs[0].momentum else None
        self.learning_rate = self._column([job.learning_rate for job in jobs])
        self._decay = self._column([job.learning_rate_decay for job in jobs])
        self.l2_reg = self._column([job.l2_reg for job in jobs])
        self._momentum = self._column([job.momentum for job in jobs])
        for _ in range(epochs):
            self.decay_learning_rate()
        self._block()
        self._norms = np.zeros(len(jobs), params.W1.dtype)  # ΣW1² of models with a penalty
        self._accumulate_norms()

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self.params.W1.dtype)[:, None, None]

    def penalties(self) -> Array:
        """Compute λ ΣW1² + λ ΣW2² of each model, (K,)."""
        return np.asarray(self.l2_reg[:, 0, 0] * (self._norms + sum_of_squares(self.params.W2)))

    def step(self, X: Array, H: Array, dH0: Array, dS: Array, buffers: Buffers) -> None:
        """Update the parameters: W ← W − η (dW + 2λ W), or with momentum as docs/model.md states.

        Args:
            X: the mini-batch (N, D).
            H: hidden units (K, N, H).
            dH0: η times the gradient of L with respect to H0 (K, N, H).
            dS: η times the gradient of L with respect to S (K, N, C).
            buffers: memory for the gradients of the weights.
        """
        if self.velocity is not None:
            self._momentum_step(X, H, dH0, dS, buffers)
            return
        W1, b1, W2, b2 = self.params
        shrink = 1 - 2 * self.learning_rate * self.l2_reg
        for k, rows in self._blocks:
            W = W1[k, rows]
            if self._has_penalty[k]:
                W *= shrink[k]
            W -= np.matmul(X.T[rows], dH0[k], out=buffers.dW1[: len(W)])
            self._accumulate_norm(k, rows)
        W2 *= shrink
        W2 -= np.matmul(H.swapaxes(1, 2), dS, out=buffers.dW2)
        b1 -= _sum_over_images(dH0)
        b2 -= _sum_over_images(dS)

    def _momentum_step(self, X: Array, H: Array, dH0: Array, dS: Array, buffers: Buffers) -> None:
        """Update the parameters: v ← μ v − η (dW + 2λ W), W ← W + v."""
        assert self.velocity is not None
        for velocity in self.velocity:
            velocity *= self._momentum
        shrink = 2 * self.learning_rate * self.l2_reg
        for k, (v, W) in enumerate(zip(self.velocity.W1, self.params.W1, strict=True)):
            v -= np.matmul(X.T, dH0[k], out=buffers.dW1)
            v -= np.multiply(W, shrink[k], out=buffers.dW1)
        v = self.velocity.W2
        v -= np.matmul(H.swapaxes(1, 2), dS, out=buffers.dW2)
        v -= np.multiply(self.params.W2, shrink, out=buffers.dW2)
        b1, b2 = self.velocity.b1, self.velocity.b2
        b1 -= _sum_over_images(dH0)
        b2 -= _sum_over_images(dS)
        for array, velocity in zip(self.params, self.velocity, strict=True):
            array += velocity
        self._accumulate_norms()

    def decay_learning_rate(self) -> None:
        """Multiply each learning rate by its `learning_rate_decay`, after an epoch."""
        with np.errstate(all="ignore"):
            self.learning_rate *= self._decay

    def keep_only(self, models: list[int], params: Params) -> None:
        """Remove the other models.

        Args:
            models: the indices of the models that remain.
            params: the parameters of these models.
        """
        self.params = params
        if self.velocity is not None:
            self.velocity = Params(*(array[models] for array in self.velocity))
        self.learning_rate, self._decay = self.learning_rate[models], self._decay[models]
        self.l2_reg, self._momentum = self.l2_reg[models], self._momentum[models]
        self._norms = self._norms[models]
        self._block()

    def _block(self) -> None:
        """Divide each W1 into blocks of rows."""
        K, D, H = self.params.W1.shape
        size = max(MIN_ROWS, BLOCK_SIZE // H)
        starts = range(0, D, size)
        self._blocks = [(k, slice(i, min(i + size, D))) for k in range(K) for i in starts]
        self._has_penalty = self.l2_reg[:, 0, 0] > 0

    def _accumulate_norms(self) -> None:
        with np.errstate(all="ignore"):
            for k, rows in self._blocks:
                self._accumulate_norm(k, rows)

    def _accumulate_norm(self, k: int, rows: slice) -> None:
        """Add a block of W1 to ΣW1². A model without a penalty does not need the sum."""
        if self._has_penalty[k]:
            flat = self.params.W1[k, rows].reshape(-1)
            norm = np.vecdot(flat, flat)
            self._norms[k] = norm if rows.start == 0 else self._norms[k] + norm


def _sum_over_images(array: Array) -> NDArray[np.floating]:
    """Sum (K, N, M) over N as a matrix product, which BLAS computes for each model separately."""
    ones = np.ones((1, array.shape[1]), array.dtype)
    return ones @ array
