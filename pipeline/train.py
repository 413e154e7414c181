"""Mini-batch SGD over a population of models that share every mini-batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import model
from pipeline.config import Hyperparameters
from pipeline.data import Dataset
from pipeline.model import Array, Labels, Params

VERSION = 1  # of the numbers: a change here or in model.py that moves a single bit raises it
# A stack's working arrays should fit a core's share of the cache: more models only add misses.
STACK_BYTES = 1 << 23


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
    outcome: str | None  # None: it trains on; "finished"; "diverged": the loss is not finite
    best: Params | None  # the weights of its best epoch (K = 1), if there is one
    best_hits: NDArray[np.uint8]  # by them, the validation images predicted right: (⌈N/8⌉,) bits
    params: Params | None  # the weights now (K = 1), without an outcome
    step: int = 0  # mini-batches that are done of the epoch after the curve's last
    loss: float = 0.0  # and that epoch's sum of L over images so far
    hits: int = 0  # and its number of images predicted right

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
    outcome: str | None  # as in `Checkpoint`
    result: Checkpoint | None  # with an outcome


@dataclass(frozen=True)
class Snapshot:
    """Where a model stands in the middle of its training; its arrays change with the next step."""

    model: int
    checkpoint: Checkpoint


def train(
    population: Sequence[Hyperparameters],
    data: Dataset,
    saved: Sequence[Checkpoint] = (),
    stopped: Callable[[], bool] = lambda: False,
    due: Callable[[], bool] = lambda: False,
) -> Iterator[EpochEnd | Snapshot]:
    """Train models that share data, dtype, batch size and seed, and so every mini-batch.

    A model's numbers are bitwise the same in any population, and however often it was interrupted,
    as long as BLAS runs on one thread: NumPy calls it once per model. A model that has finished or
    diverged costs nothing more.

    Args:
        population: the models; their batch is at most the training set.
        data: X in the dtype of the models.
        saved: where each model goes on, all from the same progress; none: from the start.
        stopped: asked before each step; if it says so, training ends there.
        due: asked before each step; if it says so, all models are shown as they stand.

    Yields:
        One `EpochEnd` per model and epoch, in the order of the epochs; and one `Snapshot` per model
        that trains whenever they are due, or training was stopped.
    """
    work = Workspace(population, data)
    stacks = [
        Stack(population, members, data, saved) for members in stack_members(population, data)
    ]
    epoch, step = saved[0].progress if saved else (0, 0)
    while stacks:
        epoch += 1
        for X, y in mini_batches(data, population[0], epoch, step, work):
            if (stop := stopped()) or due():
                for stack in stacks:
                    yield from stack.snapshots(step)
                if stop:
                    return
            for stack in stacks:
                stack.step(X, y, work)
            step += 1
        step = 0
        for stack in stacks:
            yield from stack.end_epoch(epoch, data, work)
        stacks = [stack for stack in stacks if stack.members]


def mini_batches(
    data: Dataset, job: Hyperparameters, epoch: int, done: int, work: Workspace
) -> Iterator[tuple[Array, Labels]]:
    """The training images in a fresh order, which depends on (seed, epoch), after `done` steps."""
    order = np.random.default_rng([job.seed, epoch]).permutation(len(data.y_train))
    for start in range(done * job.batch_size, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        X = work.X[: len(rows)]
        np.take(data.X_train, rows, axis=0, out=X, mode="clip")  # "raise" would buffer `out`
        yield X, data.y_train[rows]


def stack_members(population: Sequence[Hyperparameters], data: Dataset) -> list[list[int]]:
    """Group the models by hidden size, into stacks that fit `STACK_BYTES`."""
    stacks: list[list[int]] = []
    D = data.X_train.shape[1]
    for H in sorted({job.hidden_size for job in population}):
        members = [i for i, job in enumerate(population) if job.hidden_size == H]
        model_bytes = H * (D + 2 * population[0].batch_size) * data.X_train.itemsize
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
        self.best_hits = np.zeros((len(jobs), -(-len(data.y_val) // 8)), np.uint8)
        self.best_metrics: list[Metrics | None] = [None] * len(jobs)
        self.members = members
        self.num_epochs = [job.num_epochs for job in jobs]
        self.curves: list[list[Row]] = [[] for _ in jobs]
        self.l2_reg = self._column([job.l2_reg for job in jobs])
        self.learning_rate = self._column([job.learning_rate for job in jobs])
        self.decay = self._column([job.learning_rate_decay for job in jobs])
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
            self.squares = model.sum_of_squares(self.params.W1)  # ΣW1², known from the last step

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self.params.W1.dtype)[:, None, None]

    def _restore(self, k: int, saved: Checkpoint) -> None:
        assert saved.params is not None
        _set(self.params, k, saved.params)
        self.curves[k] = list(saved.curve)
        self.loss[k], self.hits[k] = saved.loss, saved.hits
        if saved.best is not None:
            _set(self.best, k, saved.best)
            self.best_hits[k] = saved.best_hits
            self.best_metrics[k] = max((row.metrics for row in saved.curve), key=goodness)

    @np.errstate(all="ignore")
    def step(self, X: Array, y: Labels, work: Workspace) -> None:
        """One step of SGD, W ← W − η (dW + 2λ W), on a mini-batch X (N, D), y (N,)."""
        W1, b1, W2, b2 = self.params
        arrays = work.arrays(len(W2), len(y), *W2.shape[1:])
        H, S = model.forward(self.params, X, arrays.H, arrays.S)
        losses, hits, dS = model.cross_entropy(S, y)
        self.hits += hits.sum(axis=1)
        penalty = self.l2_reg[:, 0, 0] * (self.squares + model.sum_of_squares(W2))
        self.loss += losses.sum(axis=1) + len(y) * penalty
        dS *= self.learning_rate  # η now scales every gradient below, for the price of (N, C)
        dH0 = model.backward(self.params, H, dS, arrays.dH0)
        shrink = 1 - 2 * self.learning_rate * self.l2_reg
        for k in range(len(W1)):  # while a model's W1 and dW1 are in the cache
            W1[k] *= shrink[k]
            W1[k] -= np.matmul(X.T, dH0[k], out=arrays.dW1)
            self.squares[k] = model.sum_of_squares(W1[k : k + 1])[0]
        W2 *= shrink
        W2 -= np.matmul(H.swapaxes(1, 2), dS, out=arrays.dW2)
        ones = np.ones((1, len(y)), X.dtype)  # a sum over images as a product: BLAS, per model
        b1 -= ones @ dH0
        b2 -= ones @ dS

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
            outcome = None
            if not np.isfinite(metrics).all():
                outcome = "diverged"
            else:
                self._keep_best(k, metrics, hits[k])
                if epoch == self.num_epochs[k]:
                    outcome = "finished"
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

    def _checkpoint(self, k: int, outcome: str | None, step: int = 0) -> Checkpoint:
        one = slice(k, k + 1)
        return Checkpoint(
            curve=tuple(self.curves[k]),
            outcome=outcome,
            best=Params(*(a[one] for a in self.best)) if self.best_metrics[k] else None,
            best_hits=self.best_hits[k],
            params=None if outcome else Params(*(array[one] for array in self.params)),
            step=step,
            loss=float(self.loss[k]),
            hits=int(self.hits[k]),
        )

    def _keep_best(self, k: int, metrics: Metrics, hits: NDArray[np.bool_]) -> None:
        best = self.best_metrics[k]
        if best is None or goodness(metrics) > goodness(best):
            self.best_metrics[k] = metrics
            self.best_hits[k] = np.packbits(hits)
            _set(self.best, k, Params(*(array[k : k + 1] for array in self.params)))

    def _shrink_to(self, training: list[int]) -> None:
        self.params = Params(*(array[training] for array in self.params))
        self.best = Params(*(array[training] for array in self.best))
        self.l2_reg, self.learning_rate, self.decay = (
            column[training] for column in (self.l2_reg, self.learning_rate, self.decay)
        )
        self.loss, self.hits = self.loss[training], self.hits[training]
        self.squares, self.best_hits = self.squares[training], self.best_hits[training]
        self.members = [self.members[k] for k in training]
        self.num_epochs = [self.num_epochs[k] for k in training]
        self.best_metrics = [self.best_metrics[k] for k in training]
        self.curves = [self.curves[k] for k in training]


def _set(params: Params, k: int, one: Params) -> None:
    for array, value in zip(params, one, strict=True):
        array[k] = value[0]


def goodness(metrics: Metrics) -> tuple[float, float]:
    """The greater, the better the epoch: higher val_acc, then lower val_loss."""
    return metrics.val_acc, -metrics.val_loss
