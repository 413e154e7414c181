"""Mini-batch SGD over a population of models that share every mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline import model
from pipeline.config import Hyperparameters
from pipeline.data import Dataset
from pipeline.model import Array, Labels, Params

# A stack's working arrays should fit a core's share of the cache: more models only add misses.
STACK_BYTES = 1 << 21


class Metrics(NamedTuple):
    """What one epoch of one model measured."""

    train_loss: float  # the objective L at each mini-batch before its step, averaged over images
    train_acc: float  # share of training images predicted right, each before its step
    val_loss: float  # data loss on the validation images after the epoch
    val_acc: float  # share of validation images predicted right after the epoch


@dataclass(frozen=True)
class EpochEnd:
    """A model has ended an epoch."""

    model: int  # its place in the population
    epoch: int  # 1, 2, …
    metrics: Metrics
    outcome: str | None  # None: it trains on; "finished"; "diverged": the loss is not finite
    best: Params | None  # with an outcome: the weights of its best epoch (K = 1), if there is one


def train(
    population: Sequence[Hyperparameters],
    data: Dataset,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[EpochEnd]:
    """Train models that share data, dtype, batch size and seed, and so every mini-batch.

    A model's numbers are bitwise the same in any population, as long as BLAS runs on one thread:
    NumPy calls it once per model. A model that has finished or diverged costs nothing more.

    Args:
        population: the models; their batch is at most the training set.
        data: X in the dtype of the models.
        stopped: asked before each step; if it says so, training ends there.

    Yields:
        One `EpochEnd` per model and epoch, in the order of the epochs.
    """
    work = Workspace(population, data)
    stacks = [Stack(population, members, data) for members in stack_members(population, data)]
    epoch = 0
    while stacks:
        epoch += 1
        for X, y in mini_batches(data, population[0], epoch, work):
            if stopped():
                return
            for stack in stacks:
                stack.step(X, y, work)
        for stack in stacks:
            yield from stack.end_epoch(epoch, data, work)
        stacks = [stack for stack in stacks if stack.members]


def mini_batches(
    data: Dataset, job: Hyperparameters, epoch: int, work: Workspace
) -> Iterator[tuple[Array, Labels]]:
    """The training images in a fresh order, which depends on (seed, epoch) alone."""
    order = np.random.default_rng([job.seed, epoch]).permutation(len(data.y_train))
    for start in range(0, len(order), job.batch_size):
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
    dW1: Array  # (K, D, H)
    dW2: Array  # (K, H, C); in the memory of dW1, which is used up by then


class Workspace:
    """The buffers of a training step, used by one stack after another."""

    def __init__(self, population: Sequence[Hyperparameters], data: Dataset) -> None:
        """Allocate for the largest stack."""
        D, C = data.X_train.shape[1], len(data.classes)
        batch = population[0].batch_size
        largest = max(
            len(members) * population[members[0]].hidden_size
            for members in stack_members(population, data)
        )
        dtype = data.X_train.dtype
        self.X = np.empty((batch, D), dtype)
        self._hidden = np.empty(largest * batch, dtype)
        self._d_hidden = np.empty(largest * batch, dtype)
        self._scores = np.empty(len(population) * batch * C, dtype)
        self._gradient = np.empty(largest * max(D, C), dtype)
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
                dW1=self._gradient[: K * D * H].reshape(K, D, H),
                dW2=self._gradient[: K * H * C].reshape(K, H, C),
            )
        return self._made[K, N, H, C]


class Stack:
    """K models of one hidden size, trained as one array operation after another."""

    def __init__(
        self, population: Sequence[Hyperparameters], members: list[int], data: Dataset
    ) -> None:
        """Draw the initial weights, each model's from its own seed."""
        jobs = [population[i] for i in members]
        D, C = data.X_train.shape[1], len(data.classes)
        drawn = [
            model.init_params(D, job.hidden_size, C, job.weight_std, job.seed, job.dtype)
            for job in jobs
        ]
        self.params = Params(*(np.concatenate(arrays) for arrays in zip(*drawn, strict=True)))
        self.best = Params(*(np.empty_like(array) for array in self.params))
        self.members = members
        self.num_epochs = [job.num_epochs for job in jobs]
        self.best_metrics: list[Metrics | None] = [None] * len(jobs)
        self.l2_reg = self._column([job.l2_reg for job in jobs])
        self.learning_rate = self._column([job.learning_rate for job in jobs])
        self.decay = self._column([job.learning_rate_decay for job in jobs])
        self.loss = np.zeros(len(jobs))  # the epoch's sum over images
        self.hits = np.zeros(len(jobs), np.int64)

    @np.errstate(over="ignore")  # a rate beyond float32 is infinite, and its model diverges
    def _column(self, values: list[float]) -> Array:
        return np.array(values, self.params.W1.dtype)[:, None, None]

    @np.errstate(all="ignore")
    def step(self, X: Array, y: Labels, work: Workspace) -> None:
        """One step of SGD, W ← W − η (dW + 2λ W), on a mini-batch X (N, D), y (N,)."""
        W1, b1, W2, b2 = self.params
        arrays = work.arrays(len(W2), len(y), *W2.shape[1:])
        H, S = model.forward(self.params, X, arrays.H, arrays.S)
        losses, hits, dS = model.cross_entropy(S, y)
        self.hits += hits.sum(axis=1)
        self.loss += losses.sum(axis=1) + len(y) * model.penalty(self.params, self.l2_reg)
        dS *= self.learning_rate  # η now scales every gradient below, for the price of (N, C)
        dH0 = model.backward(self.params, H, dS, arrays.dH0)
        shrink = 1 - 2 * self.learning_rate * self.l2_reg
        W1 *= shrink
        W1 -= np.matmul(X.T, dH0, out=arrays.dW1)
        W2 *= shrink
        W2 -= np.matmul(H.swapaxes(1, 2), dS, out=arrays.dW2)
        ones = np.ones((1, len(y)), X.dtype)  # a sum over images as a product: BLAS, per model
        b1 -= ones @ dH0
        b2 -= ones @ dS

    @np.errstate(all="ignore")
    def evaluate(self, X: Array, y: Labels, work: Workspace) -> tuple[Array, Array]:
        """Data loss and accuracy on X (N, D), y (N,): two arrays (K,)."""
        K, H, C = self.params.W2.shape
        loss, hits = np.zeros(K), np.zeros(K)
        for start in range(0, len(y), len(work.X)):
            rows = slice(start, start + len(work.X))
            arrays = work.arrays(K, len(y[rows]), H, C)
            _, S = model.forward(self.params, X[rows], arrays.H, arrays.S)
            losses, right, _ = model.cross_entropy(S, y[rows])
            loss += losses.sum(axis=1)
            hits += right.sum(axis=1)
        return loss / len(y), hits / len(y)

    def end_epoch(self, epoch: int, data: Dataset, work: Workspace) -> Iterator[EpochEnd]:
        """Evaluate, keep the best weights, decay the learning rate; models that are done leave."""
        num_train = len(data.y_train)
        val_loss, val_acc = self.evaluate(data.X_val, data.y_val, work)
        rows = zip(self.loss / num_train, self.hits / num_train, val_loss, val_acc, strict=True)
        training = []
        for k, row in enumerate(rows):
            metrics = Metrics(*map(float, row))
            outcome = None
            if not np.isfinite(metrics).all():
                outcome = "diverged"
            else:
                self._keep_best(k, metrics)
                if epoch == self.num_epochs[k]:
                    outcome = "finished"
            best = None
            if outcome is None:
                training.append(k)
            elif self.best_metrics[k] is not None:
                best = Params(*(array[k : k + 1].copy() for array in self.best))
            yield EpochEnd(self.members[k], epoch, metrics, outcome, best)
        self.learning_rate *= self.decay
        self.loss[:] = 0
        self.hits[:] = 0
        if len(training) < len(self.members):
            self._shrink_to(training)

    def _keep_best(self, k: int, metrics: Metrics) -> None:
        best = self.best_metrics[k]
        if best is None or better(metrics, best):
            self.best_metrics[k] = metrics
            for kept, array in zip(self.best, self.params, strict=True):
                kept[k] = array[k]

    def _shrink_to(self, training: list[int]) -> None:
        self.params = Params(*(array[training] for array in self.params))
        self.best = Params(*(array[training] for array in self.best))
        self.l2_reg, self.learning_rate, self.decay = (
            column[training] for column in (self.l2_reg, self.learning_rate, self.decay)
        )
        self.loss, self.hits = self.loss[training], self.hits[training]
        self.members = [self.members[k] for k in training]
        self.num_epochs = [self.num_epochs[k] for k in training]
        self.best_metrics = [self.best_metrics[k] for k in training]


def better(a: Metrics, b: Metrics) -> bool:
    """Whether `a` is the better epoch: higher val_acc, then lower val_loss."""
    return (a.val_acc, -a.val_loss) > (b.val_acc, -b.val_loss)
