"""A stack: K models of one hidden size, trained as one array operation after another."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.nn import model
from pipeline.nn.history import Checkpoint, EpochEnd, Metrics, Row, Snapshot, selection_key
from pipeline.nn.model import Array, Labels, Params
from pipeline.outcomes import Outcome

# A stack's working arrays should fit a core's share of the cache: more models only add misses.
STACK_BYTES = 1 << 23
# So should a part of W1 and of its gradient; of fewer rows, a product would have too little to do.
BLOCK_SIZE, MIN_ROWS = 98_304, 384


def stack_members(population: Sequence[Hyperparameters], data: Dataset) -> list[list[int]]:
    """Group the models by their kind of step, into stacks that fit `STACK_BYTES`."""
    kinds = defaultdict(list)
    for i, job in enumerate(population):
        kinds[job.hidden_size, job.momentum > 0, job.dropout > 0].append(i)
    stacks: list[list[int]] = []
    D = data.X_train.shape[1]
    for kind, members in sorted(kinds.items()):
        model_bytes = kind[0] * (D + 2 * population[0].batch_size) * data.X_train.itemsize
        most = max(1, STACK_BYTES // model_bytes)
        stacks += [members[i : i + most] for i in range(0, len(members), most)]
    return stacks


class Arrays(NamedTuple):
    """Where a step of a stack puts its intermediate results."""

    H: Array  # (K, N, H)
    dH0: Array  # (K, N, H)
    S: Array  # (K, N, C)
    dW1: Array  # (D, H), of one model after another
    dW2: Array  # (K, H, C); in the memory of dW1, which is used up by then


class Workspace:
    """The buffers of a training step, used by one stack after another."""

    def __init__(self, population: Sequence[Hyperparameters], data: Dataset) -> None:
        """Allocate for the largest stack."""
        D, C = data.X_train.shape[1], len(data.classes)
        batch = population[0].batch_size
        stacks = stack_members(population, data)
        largest = max(len(members) * population[members[0]].hidden_size for members in stacks)
        widest = max(job.hidden_size for job in population)
        dtype = data.X_train.dtype
        self.X = np.empty((batch, D), dtype)
        self._hidden = np.empty(largest * batch, dtype)
        self._d_hidden = np.empty(largest * batch, dtype)
        self._scores = np.empty(max(map(len, stacks)) * batch * C, dtype)
        self._gradient = np.empty(max(widest * D, largest * C), dtype)
        self._made: dict[tuple[int, ...], Arrays] = {}

    def arrays(self, K: int, N: int, H: int, C: int) -> Arrays:
        """The buffers in the shapes of a stack; the memory is the same for all."""
        if (K, N, H, C) not in self._made:
            D = self.X.shape[1]
            self._made[K, N, H, C] = Arrays(
                H=self._hidden[: K * N * H].reshape(K, N, H),
                dH0=self._d_hidden[: K * N * H].reshape(K, N, H),
                # Memory that runs along the images makes the sums over classes fast.
                S=self._scores[: K * N * C].reshape(K, C, N).swapaxes(1, 2),
                dW1=self._gradient[: D * H].reshape(D, H),
                dW2=self._gradient[: K * H * C].reshape(K, H, C),
            )
        return self._made[K, N, H, C]


class Stack:
    """K models of one hidden size, trained as one array operation after another."""

    def __init__(
        self,
        population: Sequence[Hyperparameters],
        members: list[int],
        data: Dataset,
        saved: Sequence[Checkpoint],
    ) -> None:
        """Draw the initial weights, each model's from its own seed; or go on from those saved."""
        jobs = [population[i] for i in members]
        D, C = data.X_train.shape[1], len(data.classes)
        sizes = len(jobs), D, jobs[0].hidden_size, C
        self.params = model.empty_params(*sizes, jobs[0].dtype)
        self.best = model.empty_params(*sizes, jobs[0].dtype)
        self.velocity: Params | None = None  # as the weights, where there is momentum
        if jobs[0].momentum:
            self.velocity = Params(*map(np.zeros_like, self.params))
        self.best_hits = np.zeros((len(jobs), -(-len(data.y_val) // 8)), np.uint8)
        self.best_metrics: list[Metrics | None] = [None] * len(jobs)
        self.members = members
        self.num_epochs = [job.num_epochs for job in jobs]
        self.curves: list[list[Row]] = [[] for _ in jobs]
        self.l2_reg = self._column([job.l2_reg for job in jobs])
        self.learning_rate = self._column([job.learning_rate for job in jobs])
        self.decay = self._column([job.learning_rate_decay for job in jobs])
        self.momentum = self._column([job.momentum for job in jobs])
        self.dropout = self._column([job.dropout for job in jobs])
        self.seed = jobs[0].seed  # of all
        self.loss = np.zeros(len(jobs))  # the epoch's sum over images
        self.hits = np.zeros(len(jobs), np.int64)
        for k, job in enumerate(jobs):
            if saved:
                self._restore(k, saved[members[k]])
            else:
                std, seed = job.weight_std, job.seed
                drawn = model.init_params(D, job.hidden_size, C, std, seed, job.dtype)
                _set(self.params, k, drawn)
        with np.errstate(all="ignore"):
            for _ in self.curves[0]:
                self.learning_rate *= self.decay
            self.squares = np.zeros(len(jobs), self.params.W1.dtype)  # ΣW1²
            self._divide()
            self._square_all()

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self.params.W1.dtype)[:, None, None]

    def _restore(self, k: int, saved: Checkpoint) -> None:
        assert saved.params is not None
        _set(self.params, k, saved.params)
        self.curves[k] = list(saved.curve)
        self.loss[k], self.hits[k] = saved.loss, saved.hits
        if self.velocity is not None and saved.velocity is not None:
            _set(self.velocity, k, saved.velocity)
        if saved.best is not None:
            _set(self.best, k, saved.best)
            self.best_hits[k] = saved.best_hits
            self.best_metrics[k] = max((row.metrics for row in saved.curve), key=selection_key)

    @np.errstate(all="ignore")
    def step(self, X: Array, y: Labels, work: Workspace, epoch: int, step: int) -> None:
        """One step of SGD on a mini-batch X (N, D), y (N,), the epoch's `step`th (1, 2, …).

        W ← W − η (dW + 2λ W); with momentum v ← μ v − η (dW + 2λ W), W ← W + v.
        """
        W1, b1, W2, b2 = self.params
        arrays = work.arrays(len(W2), len(y), *W2.shape[1:])
        mask = None
        if self.dropout.any():  # by random numbers that no other model changes
            rng = np.random.default_rng([self.seed, epoch, step])
            noise = rng.random((len(y), W2.shape[1]), np.float32)
            mask = model.dropout_mask(noise, self.dropout)
        H, S = model.forward(self.params, X, arrays.H, arrays.S, mask)
        losses, hits, dS = model.cross_entropy(S, y)
        self.hits += hits.sum(axis=1)
        penalty = self.l2_reg[:, 0, 0] * (self.squares + model.sum_of_squares(W2))
        self.loss += losses.sum(axis=1) + len(y) * penalty
        dS *= self.learning_rate  # η now scales every gradient below, for the price of (N, C)
        dH0 = model.backward(self.params, H, dS, arrays.dH0, mask)
        ones = np.ones((1, len(y)), X.dtype)  # a sum over images as a product: BLAS, per model
        if self.velocity is not None:
            self._move(X, H, dH0, dS, ones, arrays)
            return
        shrink = 1 - 2 * self.learning_rate * self.l2_reg
        for k, rows in self.blocks:  # parts that stay in the cache
            W = W1[k, rows]
            if self.penalised[k]:
                W *= shrink[k]
            W -= np.matmul(X.T[rows], dH0[k], out=arrays.dW1[: len(W)])
            self._square(k, rows, W)
        W2 *= shrink
        W2 -= np.matmul(H.swapaxes(1, 2), dS, out=arrays.dW2)
        b1 -= ones @ dH0
        b2 -= ones @ dS

    def _divide(self) -> None:
        """Divide W1 into parts that stay in the cache while they are updated."""
        K, D, H = self.params.W1.shape
        size = max(MIN_ROWS, BLOCK_SIZE // H)
        starts = range(0, D, size)
        self.blocks = [(k, slice(i, min(i + size, D))) for k in range(K) for i in starts]
        self.penalised = self.l2_reg[:, 0, 0] > 0

    def _square_all(self) -> None:
        for k, rows in self.blocks:
            self._square(k, rows, self.params.W1[k, rows])

    def _square(self, k: int, rows: slice, W: Array) -> None:
        """Take a part of W1 into ΣW1², which is of no use without a penalty."""
        if self.penalised[k]:
            flat = W.reshape(-1)
            square = np.vecdot(flat, flat)
            self.squares[k] = square if rows.start == 0 else self.squares[k] + square

    def _move(self, X: Array, H: Array, dH0: Array, dS: Array, ones: Array, arrays: Arrays) -> None:
        """A step with momentum; dH0 and dS hold η already."""
        assert self.velocity is not None
        for velocity in self.velocity:
            velocity *= self.momentum
        decay = 2 * self.learning_rate * self.l2_reg
        for k, (v, W) in enumerate(zip(self.velocity.W1, self.params.W1, strict=True)):
            v -= np.matmul(X.T, dH0[k], out=arrays.dW1)
            v -= np.multiply(W, decay[k], out=arrays.dW1)
        v = self.velocity.W2
        v -= np.matmul(H.swapaxes(1, 2), dS, out=arrays.dW2)
        v -= np.multiply(self.params.W2, decay, out=arrays.dW2)
        b1, b2 = self.velocity.b1, self.velocity.b2
        b1 -= ones @ dH0
        b2 -= ones @ dS
        for array, velocity in zip(self.params, self.velocity, strict=True):
            array += velocity
        self._square_all()

    @np.errstate(all="ignore")
    def evaluate(
        self, X: Array, y: Labels, work: Workspace
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Data loss (K,) on X (N, D), y (N,), and which images are predicted right (K, N)."""
        K, H, C = self.params.W2.shape
        loss, hits = np.zeros(K), np.empty((K, len(y)), np.bool_)
        for start in range(0, len(y), len(work.X)):
            rows = slice(start, start + len(work.X))
            arrays = work.arrays(K, len(y[rows]), H, C)
            _, S = model.forward(self.params, X[rows], arrays.H, arrays.S)
            losses, hits[:, rows], _ = model.cross_entropy(S, y[rows])
            loss += losses.sum(axis=1)
        return loss / len(y), hits

    def end_epoch(self, epoch: int, data: Dataset, work: Workspace) -> Iterator[EpochEnd]:
        """Evaluate, keep the best weights, decay the learning rate; models that are done leave."""
        num_train = len(data.y_train)
        val_loss, hits = self.evaluate(data.X_val, data.y_val, work)
        train_loss, train_acc = self.loss / num_train, self.hits / num_train
        rows = zip(train_loss, train_acc, val_loss, hits.mean(axis=1), strict=True)
        now = time.time_ns() // 1_000_000
        training = []
        for k, values in enumerate(rows):
            metrics = Metrics(*map(float, values))
            self.curves[k].append(Row(metrics, now))
            outcome: Outcome | None = None
            if not np.isfinite(metrics).all():
                outcome = Outcome.DIVERGED
            else:
                self._keep_best(k, metrics, hits[k])
                if epoch == self.num_epochs[k]:
                    outcome = Outcome.FINISHED
            if outcome is None:
                training.append(k)
            result = self._checkpoint(k, outcome) if outcome else None
            yield EpochEnd(self.members[k], epoch, self.curves[k][-1], outcome, result)
        with np.errstate(all="ignore"):
            self.learning_rate *= self.decay
        self.loss[:] = 0
        self.hits[:] = 0
        if len(training) < len(self.members):
            self._shrink_to(training)

    def snapshots(self, step: int) -> Iterator[Snapshot]:
        """How each model stands after some steps of an epoch."""
        for k, member in enumerate(self.members):
            yield Snapshot(member, self._checkpoint(k, None, step))

    def _checkpoint(self, k: int, outcome: Outcome | None, step: int = 0) -> Checkpoint:
        def one_of(params: Params) -> Params:
            return Params(*(array[k : k + 1] for array in params))

        return Checkpoint(
            curve=tuple(self.curves[k]),
            outcome=outcome,
            best=one_of(self.best) if self.best_metrics[k] else None,
            best_hits=self.best_hits[k],
            params=None if outcome else one_of(self.params),
            step=step,
            loss=float(self.loss[k]),
            hits=int(self.hits[k]),
            velocity=None if outcome or self.velocity is None else one_of(self.velocity),
        )

    def _keep_best(self, k: int, metrics: Metrics, hits: NDArray[np.bool_]) -> None:
        best = self.best_metrics[k]
        if best is None or selection_key(metrics) > selection_key(best):
            self.best_metrics[k] = metrics
            self.best_hits[k] = np.packbits(hits)
            _set(self.best, k, Params(*(array[k : k + 1] for array in self.params)))

    def _shrink_to(self, training: list[int]) -> None:
        self.params = Params(*(array[training] for array in self.params))
        self.best = Params(*(array[training] for array in self.best))
        if self.velocity is not None:
            self.velocity = Params(*(array[training] for array in self.velocity))
        for name in ("l2_reg", "learning_rate", "decay", "momentum", "dropout"):
            setattr(self, name, getattr(self, name)[training])
        self.loss, self.hits = self.loss[training], self.hits[training]
        self.squares, self.best_hits = self.squares[training], self.best_hits[training]
        self._divide()
        self.members = [self.members[k] for k in training]
        self.num_epochs = [self.num_epochs[k] for k in training]
        self.best_metrics = [self.best_metrics[k] for k in training]
        self.curves = [self.curves[k] for k in training]


def _set(params: Params, k: int, one: Params) -> None:
    for array, value in zip(params, one, strict=True):
        array[k] = value[0]
