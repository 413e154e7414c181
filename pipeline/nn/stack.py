"""A stack: K models of one hidden size that train as one set of arrays with a model axis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.nn import model
from pipeline.nn.history import Checkpoint, EpochEnd, Metrics, Row, Snapshot, selection_key
from pipeline.nn.model import Array, Labels, Params
from pipeline.nn.sgd import SGD
from pipeline.nn.workspace import Workspace
from pipeline.outcomes import Outcome


class Stack:
    """K models of one hidden size, their optimiser, and their learning curves."""

    def __init__(
        self,
        population: Sequence[Hyperparameters],
        members: list[int],
        data: Dataset,
        saved: Sequence[Checkpoint] = (),
    ) -> None:
        """Create the models.

        Args:
            population: the hyperparameters of all models of the population.
            members: the indices of this stack's models in the population.
            data: the images.
            saved: for each model of the population its checkpoint, all with equal progress. If it
                is empty, each model starts from weights that its own seed determines.
        """
        jobs = [population[i] for i in members]
        D, C = data.X_train.shape[1], len(data.classes)
        sizes = len(jobs), D, jobs[0].hidden_size, C
        self.members = members
        self.params = model.empty_params(*sizes, jobs[0].dtype)
        self.best = model.empty_params(*sizes, jobs[0].dtype)
        self.best_hits = np.zeros((len(jobs), -(-len(data.y_val) // 8)), np.uint8)
        self.best_metrics: list[Metrics | None] = [None] * len(jobs)
        self.curves: list[list[Row]] = [[] for _ in jobs]
        self.loss = np.zeros(len(jobs))  # sum of L over the images of the current epoch
        self.hits = np.zeros(len(jobs), np.int64)  # images predicted correctly in this epoch
        self.num_epochs = [job.num_epochs for job in jobs]
        self.seed = jobs[0].seed  # equal for the whole population
        self.dropout = np.array([job.dropout for job in jobs], jobs[0].dtype)[:, None, None]
        mine = [saved[i] for i in members] if saved else []
        for k, job in enumerate(jobs):
            if mine:
                self._restore(k, mine[k])
            else:
                H, std, seed = job.hidden_size, job.weight_std, job.seed
                _set(self.params, k, model.init_params(D, H, C, std, seed, job.dtype))
        self.optimizer = SGD(jobs, self.params, epochs=len(self.curves[0]))
        for k, checkpoint in enumerate(mine):
            if self.optimizer.velocity is not None and checkpoint.velocity is not None:
                _set(self.optimizer.velocity, k, checkpoint.velocity)

    def _restore(self, k: int, saved: Checkpoint) -> None:
        """Resume a model from its checkpoint."""
        assert saved.params is not None
        _set(self.params, k, saved.params)
        self.curves[k] = list(saved.curve)
        self.loss[k], self.hits[k] = saved.loss, saved.hits
        if saved.best is not None:
            _set(self.best, k, saved.best)
            self.best_hits[k] = saved.best_hits
            self.best_metrics[k] = max((row.metrics for row in saved.curve), key=selection_key)

    @np.errstate(all="ignore")  # a model that overflows is recognised at the end of the epoch
    def step(self, X: Array, y: Labels, work: Workspace, epoch: int, step: int) -> None:
        """Take one step of SGD with each model, and add its loss and hits to the epoch's sums.

        Args:
            X: the mini-batch (N, D).
            y: its classes (N,).
            work: memory for intermediate arrays.
            epoch: 1, 2, …
            step: the number of the step in the epoch: 1, 2, …
        """
        K, H, C = self.params.W2.shape
        buffers = work.buffers(K, len(y), H, C)
        mask = self._dropout_mask(len(y), epoch, step)
        hidden, scores = model.forward(self.params, X, buffers.H, buffers.S, mask)
        losses, hits, dS = model.cross_entropy(scores, y)
        self.loss += losses.sum(axis=1) + len(y) * self.optimizer.penalties()
        self.hits += hits.sum(axis=1)
        dS *= self.optimizer.learning_rate  # η then scales all gradients, for the cost of (N, C)
        dH0 = model.backward(self.params, hidden, dS, buffers.dH0, mask)
        self.optimizer.step(X, hidden, dH0, dS, buffers)

    def _dropout_mask(self, N: int, epoch: int, step: int) -> Array | None:
        """Draw the masks of a step from a generator that depends on (seed, epoch, step) only."""
        if not self.dropout.any():
            return None
        rng = np.random.default_rng([self.seed, epoch, step])
        noise = rng.random((N, self.params.W1.shape[2]), np.float32)
        return model.dropout_mask(noise, self.dropout)

    @np.errstate(all="ignore")
    def evaluate(
        self, X: Array, y: Labels, work: Workspace
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Compute the mean data loss (K,) on X (N, D), y (N,), and the hits (K, N)."""
        K, H, C = self.params.W2.shape
        loss, hits = np.zeros(K), np.empty((K, len(y)), np.bool_)
        for start in range(0, len(y), len(work.X)):
            rows = slice(start, start + len(work.X))
            buffers = work.buffers(K, len(y[rows]), H, C)
            _, scores = model.forward(self.params, X[rows], buffers.H, buffers.S)
            losses, hits[:, rows], _ = model.cross_entropy(scores, y[rows])
            loss += losses.sum(axis=1)
        return loss / len(y), hits

    def end_epoch(self, epoch: int, data: Dataset, work: Workspace) -> Iterator[EpochEnd]:
        """Evaluate the models, update the best weights, and remove the models that have ended."""
        num_train = len(data.y_train)
        val_loss, hits = self.evaluate(data.X_val, data.y_val, work)
        train_loss, train_acc = self.loss / num_train, self.hits / num_train
        columns = zip(train_loss, train_acc, val_loss, hits.mean(axis=1), strict=True)
        now = time.time_ns() // 1_000_000
        training = []
        for k, values in enumerate(columns):
            metrics = Metrics(*map(float, values))
            self.curves[k].append(Row(metrics, now))
            outcome: Outcome | None = None
            if not np.isfinite(metrics).all():
                outcome = Outcome.DIVERGED
            else:
                self._update_best(k, metrics, hits[k])
                if epoch == self.num_epochs[k]:
                    outcome = Outcome.FINISHED
            if outcome is None:
                training.append(k)
            result = self._checkpoint(k, outcome) if outcome else None
            yield EpochEnd(self.members[k], epoch, self.curves[k][-1], outcome, result)
        self.optimizer.decay_learning_rate()
        self.loss[:] = 0
        self.hits[:] = 0
        if len(training) < len(self.members):
            self._keep_only(training)

    def snapshots(self, step: int) -> Iterator[Snapshot]:
        """Yield the state of each model after `step` mini-batches of the current epoch."""
        for k, member in enumerate(self.members):
            yield Snapshot(member, self._checkpoint(k, None, step))

    def _checkpoint(self, k: int, outcome: Outcome | None, step: int = 0) -> Checkpoint:
        velocity = self.optimizer.velocity
        return Checkpoint(
            curve=tuple(self.curves[k]),
            outcome=outcome,
            best=_get(self.best, k) if self.best_metrics[k] else None,
            best_hits=self.best_hits[k],
            params=None if outcome else _get(self.params, k),
            step=step,
            loss=float(self.loss[k]),
            hits=int(self.hits[k]),
            velocity=None if outcome or velocity is None else _get(velocity, k),
        )

    def _update_best(self, k: int, metrics: Metrics, hits: NDArray[np.bool_]) -> None:
        best = self.best_metrics[k]
        if best is None or selection_key(metrics) > selection_key(best):
            self.best_metrics[k] = metrics
            self.best_hits[k] = np.packbits(hits)
            _set(self.best, k, _get(self.params, k))

    def _keep_only(self, models: list[int]) -> None:
        """Remove the models that have ended."""
        self.members = [self.members[k] for k in models]
        self.params = Params(*(array[models] for array in self.params))
        self.best = Params(*(array[models] for array in self.best))
        self.best_hits = self.best_hits[models]
        self.best_metrics = [self.best_metrics[k] for k in models]
        self.curves = [self.curves[k] for k in models]
        self.loss, self.hits = self.loss[models], self.hits[models]
        self.num_epochs = [self.num_epochs[k] for k in models]
        self.dropout = self.dropout[models]
        self.optimizer.keep_only(models, self.params)


def _get(params: Params, k: int) -> Params:
    """Return views of one model's arrays (K = 1)."""
    return Params(*(array[k : k + 1] for array in params))


def _set(params: Params, k: int, one: Params) -> None:
    """Copy one model's arrays (K = 1) into position k."""
    for array, value in zip(params, one, strict=True):
        array[k] = value[0]
