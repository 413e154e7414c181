"""The backend of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.dataset import Dataset
from pipeline.execution.backend import EpochTrained, Plan, PlannedJob
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.local_trainer import LocalTrainer
from pipeline.execution.plan import ShardPlan
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Metrics, Row
from pipeline.outcomes import Outcome

WAVES = [[ShardPlan((0,), 1)]]


def test_training_that_cannot_start_has_nothing_to_stop(
    place: RunContext,
    digits: Dataset,
    hyper: Callable[..., Hyperparameters],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    plan = Plan([PlannedJob(0, {}, hyper(), "name", 0)], digits, Checkpoints(tmp_path, 5), place)
    trainer = LocalTrainer(plan, WAVES, 1, tmp_path)
    assert trainer.stop() == []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(trainer)
    assert trainer.stop() == []


def test_epochs_of_later_jobs_are_read_after_earlier_jobs_have_ended(
    place: RunContext, digits: Dataset, hyper: Callable[..., Hyperparameters], tmp_path: Path
) -> None:
    """Each poll reads the epochs that the workers have published since the last one."""
    row = Row(Metrics(1.0, 0.5, 1.0, 0.25), 1_700_000_000_000)
    jobs = [PlannedJob(10 + i, {}, hyper(seed=i), str(i), 0) for i in range(3)]
    plan = Plan(jobs, digits, Checkpoints(tmp_path, 5), place)
    trainer = LocalTrainer(plan, WAVES, 1, tmp_path)
    trainer._metrics = metrics = SharedMetrics(tmp_path / "metrics", len(jobs), epochs=3)
    metrics.write(0, 1, row, Outcome.DIVERGED)
    assert trainer.poll() == [EpochTrained(10, 1, row, Outcome.DIVERGED)]
    metrics.write(1, 1, row, None)
    metrics.write(1, 2, row, Outcome.FINISHED)
    assert trainer.poll() == [
        EpochTrained(11, 1, row, None),
        EpochTrained(11, 2, row, Outcome.FINISHED),
    ]
    assert [failed.job for failed in trainer.unfinished()] == [12]
    metrics.write(2, 1, row, None)
    assert trainer.poll() == [EpochTrained(12, 1, row, None)]
