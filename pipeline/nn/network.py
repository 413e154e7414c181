"""K models of one hidden size as arrays with a model axis: their scores, losses and SGD steps.

A step is divided into tasks for a team of threads. The result of a step does not depend on the
number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.hyperparameters import Hyperparameters
from pipeline.nn import model
from pipeline.nn.batches import MiniBatch
from pipeline.nn.memory import Workspace
from pipeline.nn.model import Array, Labels, Params, Weights
from pipeline.nn.population import tile_columns
from pipeline.nn.rates import Rates
from pipeline.nn.team import Gate, Task
from pipeline.nn.tile import Block, Tile, average_step, momentum_step


class Network:
    """K models whose hidden units are divided into tiles.

    Attributes:
        loss: the sum of L over the images of the current epoch (K,).
        hits: the number of these images that were predicted correctly (K,).
    """

    def __init__(
        self,
        jobs: Sequence[Hyperparameters],
        params: Sequence[Params],
        velocity: Sequence[Params] = (),
        average: Sequence[Params] = (),
        epochs: int = 0,
    ) -> None:
        """Create the network.

        Args:
            jobs: the hyperparameters of each model.
            params: the parameters of each model (K = 1); copied.
            velocity: their velocities (K = 1) if they have momentum; empty means v = 0.
            average: the averages of their weights (K = 1) with `ema`; empty before the first step.
            epochs: the number of epochs that the models have completed.
        """
        self.rates = Rates(jobs, epochs)
        self.columns = tile_columns(jobs[0].hidden_size)
        if jobs[0].momentum and not velocity:
            velocity = [Params(*map(np.zeros_like, each)) for each in params]
        if self.rates.has_ema and not average:
            average = [Params(*map(np.zeros_like, each)) for each in params]
        self._set(params, velocity, average)
        self.loss = np.zeros(len(jobs))
        self.hits = np.zeros(len(jobs), np.int64)

    def _set(
        self, params: Sequence[Params], velocity: Sequence[Params], average: Sequence[Params]
    ) -> None:
        """Copy the parameters of the models into tiles."""
        self.tiles = [
            Tile(
                _columns_of(params, columns),
                _columns_of(velocity, columns) if velocity else None,
                _columns_of(average, columns) if average else None,
                self.rates,
            )
            for columns in self.columns
        ]
        self._b2 = np.concatenate([each.b2 for each in params])
        self._v2 = np.concatenate([each.b2 for each in velocity]) if velocity else None
        self._a2 = np.concatenate([each.b2 for each in average]) if average else None

    def params(self, k: int) -> Params:
        """Return the parameters of a model (K = 1). The next step may change them."""
        return _join([tile.weights for tile in self.tiles], self._b2, k)

    def velocity(self, k: int) -> Params | None:
        """Return the velocity of a model (K = 1), if it has momentum."""
        if self._v2 is None:
            return None
        return _join([tile.velocity for tile in self.tiles if tile.velocity], self._v2, k)

    def average(self, k: int) -> Params | None:
        """Return the average of the weights of a model (K = 1), if it trains with `ema`."""
        if self._a2 is None:
            return None
        return _join([tile.average for tile in self.tiles if tile.average], self._a2, k)

    def keep_only(self, models: list[int]) -> None:
        """Remove the other models."""
        params = [self.params(k) for k in models]
        velocity = [v for k in models if (v := self.velocity(k)) is not None]
        average = [a for k in models if (a := self.average(k)) is not None]
        self.rates.keep_only(models)
        self._set(params, velocity, average)
        self.loss, self.hits = self.loss[models], self.hits[models]

    def tasks(self, memory: Workspace, parts: int) -> tuple[list[Task], list[Task]]:
        """Return the tasks of a step: the forward pass, and the backward pass with the updates.

        They apply to the mini-batch of the last `begin_step`.

        Args:
            memory: the buffers for H and S between the two passes.
            parts: into how many tasks the backward pass of a tile is divided, if possible.
        """
        self._memory = memory
        self._scored = Gate()
        forward = [Task(partial(self._forward, t)) for t in range(len(self.tiles))]
        self._parts = [tile.divide(parts) for tile in self.tiles]
        self._updated = [Gate() for _ in self.tiles]
        backward = [
            Task(partial(self._backward, t, blocks), self._scored)
            for t, divided in enumerate(self._parts)
            for blocks in divided
        ]
        return forward, backward

    def begin_step(self, batch: MiniBatch, noise: Array | None, steps: int) -> None:
        """Set the mini-batch of a step.

        Args:
            batch: the mini-batch.
            noise: uniform numbers (N, H) for the dropout masks; None means no dropout.
            steps: the number of steps since the start of the training, with this one.
        """
        K, N = len(self._b2), len(batch.y)
        self._batch, self._noise = batch, noise
        if self.rates.has_ema:
            self.rates.begin_step(steps)
        self._H = self._memory.hidden.arrays(*((K, N, tile.width) for tile in self.tiles))
        self._S = self._score_arrays(self._memory, N)
        self._scored.close(len(self.tiles))
        for gate, divided in zip(self._updated, self._parts, strict=True):
            gate.close(len(divided))

    def _score_arrays(self, work: Workspace, N: int) -> list[Array]:
        """Return an array for each tile's part of the scores, as views of (K, C, N)."""
        K, _, C = self._b2.shape
        arrays = work.scores.arrays(*((K, C, N) for _ in self.tiles))
        return [array.swapaxes(1, 2) for array in arrays]

    def _forward(self, t: int, work: Workspace) -> None:
        """Compute a tile's hidden units; the last tile to end computes the loss."""
        noise = None if self._noise is None else self._noise[:, self.columns[t]]
        self.tiles[t].forward(self._batch.X, self._H[t], self._S[t], noise)
        if self._scored.is_last():
            self._loss()
            self._scored.open()

    def _loss(self) -> None:
        """Add the mini-batch to the sums of the epoch, and compute dS in the memory of S."""
        S, smoothing = _add_scores(self._S, self._b2), self.rates.smoothing
        _, y, mixture = self._batch
        losses, hits, dS = model.cross_entropy(S, y, smoothing, mixture)
        penalties = self.rates["l2_reg"][:, 0, 0] * sum(
            tile.sum_of_squares() for tile in self.tiles
        )
        self.loss += losses.sum(axis=1) + len(y) * penalties
        self.hits += hits.sum(axis=1)
        dS *= self.rates.learning_rate  # η then scales all gradients, for the cost of (N, C)
        db2 = model.sum_over_images(dS)
        if self._v2 is not None:
            self._v2 *= self.rates["momentum"]
            self._v2 -= db2
            momentum_step(self._b2, self._v2, db2, self.rates, slice(None))
        else:
            self._b2 -= db2
        if self._a2 is not None:
            average_step(self._a2, self._b2, self.rates.ema_weight, db2)

    def _backward(self, t: int, blocks: list[Block], work: Workspace) -> None:
        """Update some blocks of a tile; the last part to end updates the rest of the tile."""
        tile, H, dS = self.tiles[t], self._H[t], self._S[0]
        dH0 = tile.backward(self._batch.X, H, dS, blocks, work)
        if self._updated[t].is_last():
            tile.update_others(H, dH0, dS, work)

    def end_epoch(self) -> None:
        """Decay the learning rates, and reset the sums of the epoch."""
        self.rates.decay()
        self.loss[:] = 0
        self.hits[:] = 0

    def evaluate(self, X: Array, y: Labels, work: Workspace) -> tuple[Array, NDArray[np.bool_]]:
        """Compute the data losses (K, N) and the hits (K, N) of images X (N, D), y (N,).

        Models with `ema` are evaluated with the averages of their weights.
        """
        parts = self._score_arrays(work, len(y))
        for tile, S in zip(self.tiles, parts, strict=True):
            H = work.hidden.array(len(self._b2), len(y), tile.width)
            tile.evaluate(X, H, S)
        b2 = self._b2 if self._a2 is None else self._a2
        losses, hits, _ = model.cross_entropy(_add_scores(parts, b2), y)
        return losses, hits


def _add_scores(parts: Sequence[Array], b2: Array) -> Array:
    """Compute S = Σ H W2 + b2 in the memory of the first part."""
    S, *others = parts
    for other in others:  # always in this order
        S += other
    S += b2
    return S


def _columns_of(params: Sequence[Params], columns: slice) -> Weights:
    """Copy the weights of some hidden units of K models into contiguous arrays."""
    return Weights(
        np.concatenate([each.W1[:, :, columns] for each in params]),
        np.concatenate([each.b1[:, :, columns] for each in params]),
        np.concatenate([each.W2[:, columns] for each in params]),
    )


def _join(tiles: Sequence[Weights], b2: Array, k: int) -> Params:
    """Join the tiles of a model."""
    if len(tiles) == 1:
        W1, b1, W2 = tiles[0]
        return Params(W1[k : k + 1], b1[k : k + 1], W2[k : k + 1], b2[k : k + 1])
    return Params(
        np.concatenate([tile.W1[k : k + 1] for tile in tiles], axis=2),
        np.concatenate([tile.b1[k : k + 1] for tile in tiles], axis=2),
        np.concatenate([tile.W2[k : k + 1] for tile in tiles], axis=1),
        b2[k : k + 1],
    )
