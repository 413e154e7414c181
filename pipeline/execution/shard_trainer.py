"""Trains one shard in one process: checkpoints, and isolation of models that raise errors."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipeline.data.dataset import Dataset
from pipeline.execution.checkpoint_file import Model
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.failure import Failure
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.train import train


class ShardTrainer:
    """Trains models that share every mini-batch.

    Attributes:
        failures: of the jobs that failed, by their index.
    """

    def __init__(
        self,
        jobs: Mapping[int, Hyperparameters],
        checkpoint_names: Mapping[int, str],
        data: Dataset,
        checkpoints: Checkpoints,
        metrics: SharedMetrics,
        until: int | None = None,
        threads: int = 1,
    ) -> None:
        """Prepare to train.

        Args:
            jobs: the models, by their index in the plan.
            checkpoint_names: the name of each model's checkpoint.
            data: the dataset.
            checkpoints: the folder of the checkpoints.
            metrics: where each epoch is published.
            until: the epoch after which training pauses, with each model in its checkpoint.
            threads: the threads that share each training step.
        """
        self.failures: dict[int, Failure] = {}
        self._jobs, self._checkpoint_names, self._data = jobs, checkpoint_names, data
        self._checkpoints, self._metrics, self._until = checkpoints, metrics, until
        self._threads = threads
        self._ended: set[int] = set()
        self._unsaved: dict[int, Checkpoint] = {}  # results that are not on the disk yet
        self._schedule_checkpoint()

    def train(self, models: Sequence[int]) -> None:
        """Train each model to its end, and resume from its checkpoint if there is one."""
        self._train(models)
        self.failures |= self._save_results()

    def _train(self, models: Sequence[int]) -> None:
        """Train models together that are at the same mini-batch."""
        groups: dict[tuple[int, int], dict[int, Checkpoint | None]] = defaultdict(dict)
        for i in models:
            saved = self._checkpoints.read(
                self._checkpoint_names[i], Model.of(self._jobs[i], self._data)
            )
            if saved is not None and saved.outcome:
                self._unsaved[i] = saved
                continue
            if saved is not None:
                self._publish(i, saved)
            groups[saved.progress if saved else (0, 0)][i] = saved
        self._save_results()
        for group in groups.values():
            self._train_group(group)

    def _train_group(self, group: Mapping[int, Checkpoint | None]) -> None:
        """Train models. If that raises, train each half, until the faulty model is alone."""
        indices = list(group)
        saved = [checkpoint for checkpoint in group.values() if checkpoint is not None]
        try:
            jobs = [self._jobs[i] for i in indices]
            stopped, due = self._metrics.stopped, self._checkpoint_is_due
            for event in train(jobs, self._data, saved, stopped, due, self._until, self._threads):
                self._handle(indices[event.model], event)
        except Exception as error:
            left = [i for i in indices if i not in self._ended]
            if len(left) == 1:
                self.failures[left[0]] = Failure.from_exception(error)
                return
            del saved, group  # the error may be a lack of memory
            for half in (left[::2], left[1::2]):
                self._train(half)

    def _handle(self, i: int, event: EpochEnd | Snapshot) -> None:
        if isinstance(event, Snapshot):
            self._save_snapshot(i, event.checkpoint)
        elif event.result is not None:
            self._ended.add(i)
            self._unsaved[i] = event.result
            self._save_results()
        else:
            self._metrics.write(i, event.epoch, event.row, None)

    def _schedule_checkpoint(self) -> None:
        self._checkpoint_at = time.monotonic() + 60 * self._checkpoints.minutes

    def _checkpoint_is_due(self) -> bool:
        if time.monotonic() < self._checkpoint_at:
            return False
        self._schedule_checkpoint()
        return True

    def _save_snapshot(self, i: int, checkpoint: Checkpoint) -> None:
        try:
            if checkpoint.progress > (0, 0):
                paused = self._until is not None and len(checkpoint.curve) >= self._until
                self._checkpoints.write(self._checkpoint_names[i], checkpoint, own_copy=paused)
        except OSError as error:  # the previous checkpoint still exists
            self._metrics.set_error(error)

    def _save_results(self) -> dict[int, Failure]:
        """Save and publish results; return the failure of each that cannot be saved."""
        problems = {}
        for i, result in list(self._unsaved.items()):
            try:
                self._checkpoints.write(self._checkpoint_names[i], result)
            except OSError as error:
                problems[i] = Failure(f"its result cannot be saved: {error}", is_transient=True)
                continue
            self._publish(i, result)
            del self._unsaved[i]
        return problems

    def _publish(self, i: int, checkpoint: Checkpoint) -> None:
        """Publish all epochs of a checkpoint, the last one with the outcome."""
        last = len(checkpoint.curve)
        for epoch, row in enumerate(checkpoint.curve, 1):
            self._metrics.write(i, epoch, row, checkpoint.outcome if epoch == last else None)
