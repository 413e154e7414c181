"""The best epoch of a job so far, and its history."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from pipeline.nn.history import Metrics, selection_key
from pipeline.selection import SelectionKey


class BestEpoch:
    """Follows the best epoch of a job by the selection rule.

    Attributes:
        epoch: the number of the best epoch; 0 before the first epoch.
        metrics: its metrics.
    """

    def __init__(self) -> None:
        """Start without an epoch."""
        self.epoch = 0
        self.metrics: Metrics | None = None
        self._keys: list[SelectionKey] = []  # the key of the best of the first 1, 2, … epochs

    def update(self, epoch: int, metrics: Metrics) -> None:
        """Compare the next epoch with the best one."""
        if self.metrics is None or selection_key(metrics) > selection_key(self.metrics):
            self.epoch, self.metrics = epoch, metrics
        self._keys[epoch - 1 :] = [selection_key(self.metrics)]

    def load_history(self, keys: Iterable[SelectionKey]) -> None:
        """Set the selection key of each epoch from a cached run."""
        self._keys = list(itertools.accumulate(keys, max))

    def key_at(self, epoch: int) -> SelectionKey | None:
        """The key of the best of the first epochs; None if there are fewer epochs."""
        return self._keys[epoch - 1] if len(self._keys) >= epoch else None

    def as_metrics(self) -> dict[str, float]:
        """The best epoch as metrics of the MLflow run; empty before the first epoch."""
        if self.metrics is None:
            return {}
        best = {"best_val_acc": self.metrics.val_acc, "best_val_loss": self.metrics.val_loss}
        return {**best, "best_epoch": float(self.epoch)}
