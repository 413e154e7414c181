"""The training of a shard: from checkpoint to checkpoint, and what becomes of models that raise."""

from __future__ import annotations

import time
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.train import train


class ShardTrainer:
    """Trains models that share every mini-batch, in one process."""

    def __init__(
        self,
        jobs: Mapping[int, Hyperparameters],
        names: Mapping[int, str],
        data: Dataset,
        checkpoints: Checkpoints,
        board: SharedMetrics,
        until: int | None = None,
    ) -> None:
        """Take jobs and the names of their checkpoints by the place of the job.

        After the epoch `until` training pauses: each model is left in its checkpoint.
        """
        self.failed: dict[int, str] = {}  # the traceback or the reason
        self._jobs, self._names, self._data = jobs, names, data
        self._checkpoints, self._board, self._until = checkpoints, board, until
        self._ended: set[int] = set()
        self._unsaved: dict[int, Checkpoint] = {}  # results that the disk had no room for
        self._save_at = time.monotonic() + 60 * checkpoints.minutes

    def train(self, models: Sequence[int]) -> None:
        """Train each model to its end, from its checkpoint if it has one."""
        self._train(models)
        self.failed |= self._save_results()

    def _train(self, models: Sequence[int]) -> None:
        """Train together what stands at the same mini-batch."""
        together: dict[tuple[int, int], dict[int, Checkpoint | None]] = defaultdict(dict)
        for i in models:
            saved = self._checkpoints.read(self._names[i])
            if saved is not None and saved.outcome:
                self._unsaved[i] = saved
                continue
            if saved is not None:
                self._publish(i, saved)
            together[saved.progress if saved else (0, 0)][i] = saved
        self._save_results()
        for group in together.values():
            self._train_group(group)

    def _train_group(self, group: Mapping[int, Checkpoint | None]) -> None:
        """Train models; if that raises, try halves, until the guilty one is alone."""
        places = list(group)
        saved = [checkpoint for checkpoint in group.values() if checkpoint is not None]
        try:
            jobs = [self._jobs[i] for i in places]
            for event in train(
                jobs, self._data, saved, self._board.stopped, self._due, self._until
            ):
                self._take(places[event.model], event)
        except Exception:
            left = [i for i in places if i not in self._ended]
            if len(left) == 1:
                self.failed[left[0]] = traceback.format_exc()
                return
            del saved, group  # their memory may be what was missing
            for half in (left[::2], left[1::2]):
                self._train(half)

    def _take(self, i: int, event: EpochEnd | Snapshot) -> None:
        if isinstance(event, Snapshot):
            self._snapshot(i, event.checkpoint)
        elif event.result is not None:
            self._ended.add(i)
            self._unsaved[i] = event.result
            self._save_results()
        else:
            self._board.write(i, event.epoch, event.row, None)

    def _due(self) -> bool:
        if time.monotonic() < self._save_at:
            return False
        self._save_at = time.monotonic() + 60 * self._checkpoints.minutes
        return True

    def _snapshot(self, i: int, checkpoint: Checkpoint) -> None:
        try:
            if checkpoint.progress > (0, 0):
                paused = self._until is not None and len(checkpoint.curve) >= self._until
                self._checkpoints.write(self._names[i], checkpoint, own=paused)
        except OSError as error:  # the one before is still there; the next may have room
            self._board.set_error(error)

    def _save_results(self) -> dict[int, str]:
        """Keep and publish results; returns of each that cannot be kept why not."""
        problems = {}
        for i, result in list(self._unsaved.items()):
            try:
                self._checkpoints.write(self._names[i], result)
            except OSError as error:
                problems[i] = f"its result cannot be kept: {error}"
                continue
            self._publish(i, result)
            del self._unsaved[i]
        return problems

    def _publish(self, i: int, checkpoint: Checkpoint) -> None:
        """Show all epochs of a checkpoint, the last one with its outcome."""
        last = len(checkpoint.curve)
        for epoch, row in enumerate(checkpoint.curve, 1):
            outcome = checkpoint.outcome if epoch == last else None
            self._board.write(i, epoch, row, outcome)
