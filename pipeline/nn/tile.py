"""A tile: the hidden units that one thread computes, and the SGD steps of their weights.

A tile contains either all hidden units of K models of one hidden size, or some of the hidden units
of K wider models. docs/model.md states the equations.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from pipeline.nn import model
from pipeline.nn.memory import Workspace
from pipeline.nn.model import Array, Weights
from pipeline.nn.rates import Rates

# W1 is updated in blocks of rows, so that a block and its gradient stay in the cache. A block has
# about BLOCK_SIZE entries. Blocks of fewer than MIN_ROWS rows would slow down the matrix product.
BLOCK_SIZE, MIN_ROWS = 98_304, 384


def rows_per_block(width: int) -> int:
    """Return the number of rows of W1 that form a block in a tile of this width."""
    return max(MIN_ROWS, BLOCK_SIZE // width)


class Block(NamedTuple):
    """A part of W1: all rows of some models, or some rows of one model."""

    models: slice
    rows: slice
    number: int  # 0, 1, … among the blocks of the same models
    has_penalty: bool  # whether λ > 0 for some of the models


class Tile:
    """Hidden units of K models, w units of each.

    Attributes:
        weights: W1 (K, D, w), b1 (K, 1, w) and W2 (K, w, C). Steps update them in place.
        velocity: v in the same shapes, if the models have momentum; otherwise None.
        average: the averages of the weights, if the models train with `ema`; otherwise None.
    """

    def __init__(
        self, weights: Weights, velocity: Weights | None, average: Weights | None, rates: Rates
    ) -> None:
        """Create the tile of a stack, whose models have these rates."""
        self.weights, self.velocity, self.average, self.rates = weights, velocity, average, rates
        K, D, w = weights.W1.shape
        size = rows_per_block(w)
        starts = range(0, D, size)
        group = max(1, BLOCK_SIZE // (D * w)) if size >= D else 1  # models of a block
        self._has_penalty = bool(rates.has_penalty.any())
        self.blocks = [
            Block(models, slice(start, start + size), number, bool(rates.has_penalty[models].any()))
            for models in (slice(k, k + group) for k in range(0, K, group))
            for number, start in enumerate(starts)
        ]
        self._norms = np.zeros((len(starts), K), weights.W1.dtype)  # ΣW1² of each block
        with np.errstate(all="ignore"):
            for block in self.blocks:
                self._update_norm(block)

    @property
    def width(self) -> int:
        """The number of hidden units of each model, w."""
        return int(self.weights.W1.shape[2])

    def divide(self, parts: int) -> list[list[Block]]:
        """Divide the blocks into at most `parts` lists, each the work of one thread.

        With momentum, all blocks of a model share one matrix product and stay together.
        """
        count = 1 if self.velocity is not None else min(parts, len(self.blocks))
        ends = [len(self.blocks) * i // count for i in range(count + 1)]
        return [self.blocks[start:end] for start, end in itertools.pairwise(ends)]

    def forward(self, X: Array, H: Array, S: Array, noise: Array | None) -> None:
        """Compute H = max(0, X W1 + b1) ∘ mask and S = H W2.

        Args:
            X: the images (N, D).
            H: the buffer for the hidden units (K, N, w).
            S: the buffer for this tile's part of the scores (K, N, C).
            noise: uniform numbers (N, w) for the dropout mask; None means no dropout.
        """
        model.hidden_units(self.weights.W1, self.weights.b1, X, H)
        if noise is not None:
            H *= model.dropout_mask(noise, self.rates["dropout"])
        np.matmul(H, self.weights.W2, out=S)

    def evaluate(self, X: Array, H: Array, S: Array) -> None:
        """Compute H = max(0, X W1 + b1) and S = H W2, with the averages of the weights if any.

        Args:
            X: the images (N, D).
            H: the buffer for the hidden units (K, N, w).
            S: the buffer for this tile's part of the scores (K, N, C).
        """
        W1, b1, W2 = self.average or self.weights
        model.hidden_units(W1, b1, X, H)
        np.matmul(H, W2, out=S)

    def backward(
        self, X: Array, H: Array, dS: Array, blocks: list[Block], work: Workspace
    ) -> Array:
        """Compute dH0 and update some blocks of W1.

        Args:
            X: the images (N, D).
            H: the hidden units (K, N, w).
            dS: η times the gradient of L with respect to S (K, N, C).
            blocks: the blocks to update.
            work: the buffers of this thread.

        Returns:
            η times the gradient of L with respect to H0 (K, N, w), in a buffer of `work`.
        """
        dH0 = model.backward(self.weights.W2, H, dS, work.hidden.array(*H.shape))
        if self.rates.has_dropout:
            dH0 *= 1 / (1 - self.rates["dropout"])  # the value of the mask wherever H > 0
        for block in blocks:
            self._update_block(block, X, dH0, work)
        return dH0

    def _update_block(self, block: Block, X: Array, dH0: Array, work: Workspace) -> None:
        """Update a block of W1, and its sum of squares."""
        models, rows, number, has_penalty = block
        W, dH0 = self.weights.W1[models, rows], dH0[models]
        if self.velocity is None:
            dW = np.matmul(X.T[rows], dH0, out=work.grad.array(*W.shape))
            self._step(W, None, dW, models, has_penalty)
        else:  # one product for all blocks of a model: a part of it could differ in the last bits
            whole = work.grad.array(len(W), X.shape[1], W.shape[2])
            if number == 0:
                np.matmul(X.T, dH0, out=whole)
            dW = whole[:, rows]
            self._step(W, self.velocity.W1[models, rows], dW, models, has_penalty)
        if self.average is not None:
            average_step(self.average.W1[models, rows], W, self.rates.ema_weight[models], dW)
        self._update_norm(block)

    def update_others(self, H: Array, dH0: Array, dS: Array, work: Workspace) -> None:
        """Update W2 and b1, after all blocks of W1."""
        _, b1, W2 = self.weights
        dW2 = np.matmul(H.swapaxes(1, 2), dS, out=work.grad.array(*W2.shape))
        db1 = model.sum_over_images(dH0)
        if self.velocity is None:
            self._step(W2, None, dW2, slice(None), self._has_penalty)
            b1 -= db1
        else:
            _, v, v2 = self.velocity
            self._step(W2, v2, dW2, slice(None), self._has_penalty)
            v *= self.rates["momentum"]
            v -= db1
            momentum_step(b1, v, db1, self.rates, slice(None))
        if self.average is not None:
            average_step(self.average.W2, W2, self.rates.ema_weight, dW2)
            average_step(self.average.b1, b1, self.rates.ema_weight, db1)

    def _step(self, W: Array, v: Array | None, dW: Array, models: slice, has_penalty: bool) -> None:
        """Take a step of SGD with an array of weights.

        W ← W − η (dW + 2λ W). With momentum: v ← μ v − η (dW + 2λ W), then `momentum_step`.

        Args:
            W: weights of some models.
            v: their velocity.
            dW: η times the gradient of the data loss; overwritten.
            models: the models.
            has_penalty: whether λ > 0 for some of the models.
        """
        if v is None:
            if has_penalty:
                W *= 1 - self.rates.l2_step[models]
            W -= dW
            return
        v *= self.rates["momentum"][models]
        v -= dW
        if has_penalty:
            penalty = None if self.rates.nesterov else dW  # Nesterov's step needs dW once more
            penalty = np.multiply(W, self.rates.l2_step[models], out=penalty)
            v -= penalty
            if self.rates.nesterov:
                dW += penalty
        momentum_step(W, v, dW, self.rates, models)

    def _update_norm(self, block: Block) -> None:
        """Compute ΣW1² of a block. Models without a penalty do not need it."""
        if block.has_penalty:
            W = self.weights.W1[block.models, block.rows]
            self._norms[block.number, block.models] = model.sum_of_squares(W)

    def sum_of_squares(self) -> Array:
        """Compute ΣW1² + ΣW2² of each model, (K,). ΣW1² is 0 for models without a penalty."""
        total = self._norms[0]
        for norms in self._norms[1:]:  # always in this order
            total = total + norms
        total = np.where(self.rates.has_penalty, total, 0)
        return total + model.sum_of_squares(self.weights.W2)


def momentum_step(W: Array, v: Array, dW: Array, rates: Rates, models: slice) -> None:
    """Add the updated velocity to some weights, in place: W ← W + v.

    Nesterov's momentum: W ← W + μ v − η dW (Sutskever et al., 2013, in the form of CS231n).

    Args:
        W: weights of some models.
        v: their velocity, after its update.
        dW: η times the gradient of L; used only by Nesterov's momentum.
        rates: of the stack.
        models: the models.
    """
    if rates.nesterov:
        W += rates["momentum"][models] * v
        W -= dW
    else:
        W += v


def average_step(average: Array, W: Array, weight: Array, memory: Array) -> None:
    """Update the average of some weights after a step, in place: a ← a + weight (W − a).

    Args:
        average: a, the averages of the weights of some models.
        W: their weights.
        weight: of these weights in the average (K, 1, 1), see `Rates.begin_step`.
        memory: an array of the same shape, which is overwritten.
    """
    np.subtract(W, average, out=memory)
    memory *= weight
    average += memory
