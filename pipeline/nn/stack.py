"""A stack: K models of one hidden size, their learning curves and the weights of the best epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn import model
from pipeline.nn.batches import MiniBatch, num_steps
from pipeline.nn.history import Checkpoint, EpochEnd, Metrics, Row, Snapshot, selection_key
from pipeline.nn.memory import Workspace
from pipeline.nn.model import Params
from pipeline.nn.network import Network
from pipeline.nn.team import Task
from pipeline.outcomes import Outcome
from pipeline.selection import SelectionKey


class Stack:
    """K models of one hidden size that train together."""

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
        self.members, self.jobs, self._data = members, jobs, data
        self.curves: list[list[Row]] = [[] for _ in jobs]
        self.best: list[Params | None] = [None] * len(jobs)
        self.best_hits = np.zeros((len(jobs), -(-len(data.y_val) // 8)), np.uint8)
        self.best_metrics: list[Metrics | None] = [None] * len(jobs)
        if saved:
            self._restore([saved[i] for i in members])
            return
        D, C = data.X_train.shape[1], len(data.classes)
        self.network = Network(
            jobs,
            [
                model.init_params(D, job.hidden_size, C, job.weight_std, job.seed, job.dtype)
                for job in jobs
            ],
        )

    def _restore(self, saved: Sequence[Checkpoint]) -> None:
        """Resume the models from their checkpoints."""
        self.curves = [list(checkpoint.curve) for checkpoint in saved]
        self.network = Network(
            self.jobs,
            [checkpoint.params for checkpoint in saved if checkpoint.params],
            [checkpoint.velocity for checkpoint in saved if checkpoint.velocity],
            [checkpoint.average for checkpoint in saved if checkpoint.average],
            epochs=len(self.curves[0]),
        )
        for k, checkpoint in enumerate(saved):
            self.network.loss[k], self.network.hits[k] = checkpoint.loss, checkpoint.hits
            if checkpoint.best is not None:
                self.best[k] = checkpoint.best
                self.best_hits[k] = checkpoint.best_hits
                self.best_metrics[k] = max(
                    (row.metrics for row in self.curves[k]), key=partial(self._key, k)
                )

    def tasks(self, memory: Workspace, parts: int) -> tuple[list[Task], list[Task]]:
        """Return the tasks of a step, as `Network.tasks` does."""
        return self.network.tasks(memory, parts)

    def begin_step(self, batch: MiniBatch, epoch: int, step: int) -> None:
        """Set the mini-batch of a step, and draw its dropout noise.

        The noise depends on the seed, the epoch and the step only.

        Args:
            batch: the mini-batch.
            epoch: 1, 2, …
            step: the number of the step in the epoch: 1, 2, …
        """
        noise = None
        if self.network.rates.has_dropout:
            rng = np.random.default_rng([self.jobs[0].seed, epoch, step])
            noise = rng.random((len(batch.y), self.jobs[0].hidden_size), np.float32)
        steps = (epoch - 1) * num_steps(self._data, self.jobs[0]) + step
        self.network.begin_step(batch, noise, steps)

    def evaluation_tasks(self) -> list[Task]:
        """Return the tasks that evaluate the models on the validation images."""
        X, y, size = self._data.X_val, self._data.y_val, self.jobs[0].batch_size
        chunks = [slice(start, start + size) for start in range(0, len(y), size)]
        self._losses = np.empty((len(chunks), len(self.jobs)), X.dtype)
        self._val_hits = np.empty((len(self.jobs), len(y)), np.bool_)

        def evaluate(i: int, rows: slice, work: Workspace) -> None:
            losses, self._val_hits[:, rows] = self.network.evaluate(X[rows], y[rows], work)
            self._losses[i] = losses.sum(axis=1)

        return [Task(partial(evaluate, i, rows)) for i, rows in enumerate(chunks)]

    def end_epoch(self) -> Iterator[EpochEnd]:
        """Record the metrics, update the best weights, and remove the models that have ended.

        The evaluation tasks must have ended.
        """
        epoch = len(self.curves[0]) + 1
        now = time.time_ns() // 1_000_000
        training = []
        for k, metrics in enumerate(self._metrics()):
            self.curves[k].append(Row(metrics, now))
            outcome: Outcome | None = None
            if not metrics.are_finite:
                outcome = Outcome.DIVERGED
            else:
                self._update_best(k, metrics)
                if epoch == self.jobs[k].num_epochs:
                    outcome = Outcome.FINISHED
            if outcome is None:
                training.append(k)
            result = self._checkpoint(k, outcome) if outcome else None
            yield EpochEnd(self.members[k], epoch, self.curves[k][-1], outcome, result)
        self.network.end_epoch()
        if len(training) < len(self.members):
            self._keep_only(training)

    def _metrics(self) -> Iterator[Metrics]:
        """Compute the metrics of the epoch for each model."""
        num_train, num_val = len(self._data.y_train), len(self._data.y_val)
        val_loss = np.zeros(len(self.jobs))
        for losses in self._losses:  # always in this order
            val_loss += losses
        columns = (
            self.network.loss / num_train,
            self.network.hits / num_train,
            val_loss / num_val,
            self._val_hits.mean(axis=1),
        )
        for k, values in enumerate(zip(*columns, strict=True)):
            metrics = Metrics(*map(float, values))
            if self.jobs[k].select_by == "balanced_acc":
                balanced = model.balanced_accuracy(self._val_hits[k], self._data.y_val)
                metrics = metrics._replace(balanced_acc=balanced)
            yield metrics

    def snapshots(self, step: int) -> Iterator[Snapshot]:
        """Yield the state of each model after `step` mini-batches of the current epoch."""
        for k, member in enumerate(self.members):
            yield Snapshot(member, self._checkpoint(k, None, step))

    def _checkpoint(self, k: int, outcome: Outcome | None, step: int = 0) -> Checkpoint:
        return Checkpoint(
            curve=tuple(self.curves[k]),
            outcome=outcome,
            best=self.best[k],
            best_hits=self.best_hits[k],
            params=None if outcome else self.network.params(k),
            step=step,
            loss=float(self.network.loss[k]),
            hits=int(self.network.hits[k]),
            velocity=None if outcome else self.network.velocity(k),
            average=None if outcome else self.network.average(k),
        )

    def _update_best(self, k: int, metrics: Metrics) -> None:
        """Copy the weights if this epoch is better than all before."""
        best = self.best_metrics[k]
        if best is None or self._key(k, metrics) > self._key(k, best):
            self.best_metrics[k] = metrics
            self.best_hits[k] = np.packbits(self._val_hits[k])
            self.best[k] = _copy(self.network.average(k) or self.network.params(k), self.best[k])

    def _key(self, k: int, metrics: Metrics) -> SelectionKey:
        return selection_key(metrics, self.jobs[k].select_by)

    def _keep_only(self, models: list[int]) -> None:
        """Remove the models that have ended."""
        self.members = [self.members[k] for k in models]
        self.jobs = [self.jobs[k] for k in models]
        self.curves = [self.curves[k] for k in models]
        self.best = [self.best[k] for k in models]
        self.best_hits = self.best_hits[models]
        self.best_metrics = [self.best_metrics[k] for k in models]
        if models:
            self.network.keep_only(models)


def _copy(params: Params, memory: Params | None) -> Params:
    """Copy parameters into the memory of an earlier copy, if there is one."""
    if memory is None:
        return Params(*(array.copy() for array in params))
    for target, array in zip(memory, params, strict=True):
        target[:] = array
    return memory
