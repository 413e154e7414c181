"""The backend of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.data.dataset import Dataset
from pipeline.execution.backend import Plan, PlannedJob, Resources
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.local import LocalTrainer
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters


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
    trainer = LocalTrainer(plan, Resources(1), tmp_path)
    assert trainer.stop() == []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(trainer)
    assert trainer.stop() == []
