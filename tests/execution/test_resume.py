"""Resuming from checkpoints."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.execution import flusher
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.local_trainer import LocalTrainer
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.store import Store
from tests.conftest import forbid_training, job, kept, next_sweep, statuses, train

Hyper = Callable[..., Hyperparameters]
pytestmark = pytest.mark.usefixtures("outputs")


def test_interrupted_jobs_resume_to_the_same_bits(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [hyper(num_epochs=9), hyper(num_epochs=9, l2_reg=0.01), hyper(num_epochs=2)]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    train(specs, place, cores=2)
    interrupted = next_sweep(
        replace(place, experiment_id=place.store.ensure_experiment("interrupted"))
    )
    polls, asked = itertools.count(), itertools.count()
    poll = LocalTrainer.poll

    def poll_and_interrupt(*args: Any) -> Any:
        events = poll(*args)
        if next(polls) == 0:
            raise KeyboardInterrupt
        return events

    with monkeypatch.context() as patch:
        patch.setattr(LocalTrainer, "poll", poll_and_interrupt)
        patch.setattr(SharedMetrics, "stopped", lambda _: next(asked) > 40)  # in epoch 4
        with pytest.raises(KeyboardInterrupt):
            train(specs, interrupted, cores=1)
    assert statuses(interrupted) == {"0": "KILLED", "1": "KILLED", "2": "FINISHED"}
    resumed = next_sweep(interrupted)
    steps = itertools.count()
    step = Stack.begin_step
    monkeypatch.setattr(Stack, "begin_step", lambda *args: [next(steps), step(*args)])
    train(specs, resumed, cores=1)
    assert next(steps) == 9 * 11 - 40  # of 11 mini-batches an epoch
    for number in range(3):
        histories, weights = zip(
            *(kept(where, number, tmp_path) for where in (place, resumed)), strict=True
        )
        assert histories[0] == histories[1]
        assert weights[0] == weights[1]


def test_a_damaged_checkpoint_is_ignored(
    place: RunContext, hyper: Hyper, tmp_path: Path, outputs: Path
) -> None:
    values = hyper()
    (run,) = train([job(0, tmp_path / "0", values)], place, cores=1)
    path = Checkpoints(outputs / "checkpoints", 5).path(run.checkpoint_name)
    assert not path.exists()
    for content in (b"", b"PK\x03\x04 no archive", os.urandom(3000)):
        path.write_bytes(content)
        other = next_sweep(
            replace(place, experiment_id=place.store.ensure_experiment(f"{content!r:.9}"))
        )
        (again,) = train([job(0, tmp_path / "0", values)], other, cores=1)
        assert (again.outcome, again.best.metrics) == ("finished", run.best.metrics)


def test_results_that_mlflow_did_not_accept_are_sent_by_the_next_start(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise TrackingError("MLflow has gone away")

    specs = [job(i, tmp_path / str(i), hyper(l2_reg=i)) for i in range(3)]
    monkeypatch.setattr(flusher, "RETRY_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "log", unreachable)
        runs = train(specs, place, cores=1)
    assert [run.outcome for run in runs] == ["finished"] * 3
    assert "3 of 3 jobs are trained but not in MLflow (MLflow has gone away)" in str(runs[0].error)
    assert caplog.text.count("training continues") == 1
    forbid_training(monkeypatch)
    again = next_sweep(place)
    sent = train(specs, again, cores=1)
    assert [run.error for run in sent] == [None] * 3
    assert statuses(again) == dict.fromkeys("012", "FINISHED")
    assert [run.best.metrics for run in sent] == [run.best.metrics for run in runs]
