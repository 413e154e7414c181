"""The state of a job, and the writing of its run and log."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.execution.job import JobRun
from pipeline.execution.job_state import TRANSITIONS, JobState
from pipeline.execution.spec import JobResult, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Metrics, Row, selection_key
from pipeline.outcomes import Outcome
from pipeline.tracking.entities import FinishedRun
from tests.conftest import job, statuses

Hyper = Callable[..., Hyperparameters]
ROW = Row(Metrics(1.0, 0.5, 1.0, 0.25), 1_700_000_000_000)


@pytest.fixture
def run(place: RunContext, hyper: Hyper, tmp_path: Path) -> JobRun:
    return JobRun(job(0, tmp_path, hyper()), place)


def test_a_run_name_contains_every_swept_value(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    assert place.sweep is not None
    swept = ("hidden_size", "momentum", "flip", "seed", "dtype")
    context = replace(place, sweep=replace(place.sweep, swept=swept))
    values = hyper(l2_reg=0.0, momentum=0.0, seed=3)
    run = JobRun(job(0, tmp_path, values), context)
    assert run.name == "H=16 lr=0.3 λ=0 momentum=0 flip=false dtype=float32 s3"
    assert JobRun(job(0, tmp_path, values), place).name == "H=16 lr=0.3 λ=0 s3"


@pytest.mark.parametrize(("before", "after"), [*itertools.product(JobState, JobState)])
def test_a_state_changes_only_along_the_table(
    run: JobRun, before: JobState, after: JobState
) -> None:
    run.state = before
    if after in TRANSITIONS[before]:
        run._enter(after)
        assert run.state is after
    else:
        with pytest.raises(RuntimeError, match=f"from {before.name} to {after.name}"):
            run._enter(after)


def test_a_job_that_has_ended_cannot_end_again(run: JobRun) -> None:
    run.record_epoch(1, ROW, Outcome.FINISHED)
    assert run.state is JobState.ENDED
    with pytest.raises(RuntimeError, match="from ENDED to ENDED"):
        run.fail(PipelineError("late"))
    with pytest.raises(RuntimeError, match="from ENDED to COMMITTED"):
        run.reuse(FinishedRun("1", "finished", 0.5))


def test_an_epoch_that_is_reported_twice_is_recorded_once(run: JobRun) -> None:
    better = ROW._replace(metrics=ROW.metrics._replace(val_acc=0.5))
    assert run.record_epoch(1, ROW, None)
    assert run.record_epoch(2, better, None)
    assert not run.record_epoch(1, better, Outcome.FINISHED)
    assert (run.state, run.outcome, run.epoch) == (JobState.TRAINING, None, 2)
    assert (run.best.epoch, run.best.metrics) == (2, better.metrics)


def test_the_best_epoch_is_kept_and_the_first_of_equal_ones_counts(run: JobRun) -> None:
    rows = [ROW._replace(metrics=ROW.metrics._replace(val_acc=acc)) for acc in (0.2, 0.5, 0.5, 0.4)]
    for epoch, row in enumerate(rows, 1):
        run.record_epoch(epoch, row, None)
    assert (run.best.epoch, run.best.metrics) == (2, rows[1].metrics)
    assert [run.best.key_at(epoch) for epoch in range(1, 6)] == [
        *(selection_key(rows[best].metrics) for best in (0, 1, 1, 1)),
        None,
    ]


def test_a_sweep_that_stops_kills_the_runs_of_unfinished_jobs(
    run: JobRun, place: RunContext, tmp_path: Path
) -> None:
    run.open()
    run.record_epoch(1, ROW, None)
    run.kill()
    run.kill()
    assert run.state is JobState.KILLED
    assert statuses(place) == {"0": "KILLED"}
    assert "epoch 1: train_loss 1.0000" in (tmp_path / "job.log").read_text()
    assert "killed in epoch 2" in (tmp_path / "job.log").read_text()


def test_a_job_that_never_started_has_no_run_to_kill(run: JobRun) -> None:
    run.kill()
    assert run.state is JobState.WAITING
    assert run.run_id == ""


def test_the_result_and_the_log_of_another_machine_are_applied(run: JobRun, tmp_path: Path) -> None:
    line = logging.makeLogRecord({"msg": "epoch 1", "levelno": logging.INFO})
    run.apply_remote_result(JobResult(0, "id", Outcome.FINISHED, 1, 0.5, "", (line,)))
    assert (run.score, run.error, run.is_pending, run.is_logged) == (0.5, None, False, True)
    assert (tmp_path / "job.log").read_text() == "epoch 1\n"


def test_a_run_has_the_hyperparameters_and_the_dataset_as_parameters(
    run: JobRun, place: RunContext
) -> None:
    run.open()
    run.flush()
    params = place.store.client.get_run(run.run_id).data.params
    assert params["data.name"] == "digits"
    assert {key: params[key] for key in ("hidden_size", "learning_rate", "flip")} == {
        "hidden_size": "16",
        "learning_rate": "0.3",
        "flip": "False",
    }
    assert not {"data", "tracking"} & set(params)
