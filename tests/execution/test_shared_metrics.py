"""Metrics in shared memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.nn.history import Metrics, Row


def test_readers_see_only_published_epochs(tmp_path: Path) -> None:
    metrics = SharedMetrics(tmp_path / "metrics", 2, 3)
    row = Row(Metrics(1.0, 0.5, float("nan"), 0.25), 1_700_000_000_000)
    metrics.write(1, 1, row, "diverged")
    assert list(metrics.read(0, 0)) == []
    ((got, outcome),) = metrics.read(1, 0)
    assert (got.milliseconds, outcome) == (row.milliseconds, "diverged")
    np.testing.assert_array_equal(got.metrics.as_row(), row.metrics.as_row())
    assert list(metrics.read(1, 1)) == []
    metrics.set_error(OSError(28, "full"))
    assert "No space left" in metrics.take_error()
    assert metrics.take_error() == ""


def test_workers_stop_when_they_are_asked_to_and_not_for_an_error(tmp_path: Path) -> None:
    metrics = SharedMetrics(tmp_path / "metrics", 2, 3)
    metrics.set_error(OSError(28, "full"))
    assert not metrics.stopped()
    metrics.stop()
    assert metrics.stopped()
    assert "No space left" in metrics.take_error()
    assert metrics.stopped()
