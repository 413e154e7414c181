"""The best epoch of a job so far, and its history."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.nn.history import Metrics, selection_key
from pipeline.selection import (
    DEFAULT,
    METRICS,
    SelectBy,
    SelectionKey,
    best_name,
    direction,
)


class BestEpoch:
    """Follows the best epoch of a job by the selection rule.

    Attributes:
        epoch: the number of the best epoch; 0 before the first epoch.
        metrics: its metrics.
    """

    def __init__(self, select_by: SelectBy = DEFAULT) -> None:
        """Start without an epoch."""
        self._select_by = select_by
        self.epoch = 0
        self.metrics: Metrics | None = None
        self._keys: list[SelectionKey] = []  # of each epoch

    def update(self, epoch: int, metrics: Metrics) -> None:
        """Compare the next epoch with the best one."""
        key = selection_key(metrics, self._select_by)
        if self._key is None or key > self._key:
            self.epoch, self.metrics = epoch, metrics
        self._keys[epoch - 1 :] = [key]

    @property
    def score(self) -> float | None:
        """The metric that decides, in the best epoch; None before the first epoch."""
        return None if self.metrics is None else float(getattr(self.metrics, self._select_by))

    @property
    def _key(self) -> SelectionKey | None:
        return None if self.metrics is None else selection_key(self.metrics, self._select_by)

    def load_history(self, keys: Iterable[SelectionKey]) -> None:
        """Set the selection key of each epoch from a cached run."""
        self._keys = list(keys)

    def key_at(self, epoch: int) -> SelectionKey | None:
        """The key of the best of the first epochs; None if there are fewer epochs."""
        return max(self._keys[:epoch]) if len(self._keys) >= epoch else None

    def scores(self) -> list[float]:
        """The metric that decides, in each epoch so far. An epoch that diverged has none."""
        sign = -1 if direction(self._select_by) == "minimize" else 1
        return [sign * key.score for key in self._keys]

    def as_metrics(self) -> dict[str, float]:
        """The best epoch as metrics of the MLflow run; empty before the first epoch."""
        if self.metrics is None:
            return {}
        measured = self.metrics.measured()
        best = {best_name(metric): measured[metric] for metric in METRICS if metric in measured}
        return {**best, "best_epoch": float(self.epoch)}
