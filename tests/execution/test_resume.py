"""What is trained once is not trained again, and what was interrupted goes on."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Hyperparameters
from pipeline.execution import flusher
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.local import LocalTrainer
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.spec import RunContext
from pipeline.nn.stack import Stack
from pipeline.process import this_process
from pipeline.tracking import cleanup, queries
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.store import Store
from tests.conftest import SMALL, forbid_training, job, kept, next_sweep, statuses, train

pytestmark = pytest.mark.usefixtures("outputs")

Hyper = Callable[..., Hyperparameters]


def test_a_fingerprint_names_what_decides_the_numbers_and_nothing_else(hyper: Hyper) -> None:
    first = hyper(l2_reg=1)
    assert fingerprint(first, "digest") == fingerprint(hyper(l2_reg=1.0), "digest")
    changed = {"dtype": "float64", "momentum": 0.5, "dropout": 0.5, "flip": True}
    names = {fingerprint(first, "digest"), fingerprint(first, "other")}
    for field in fields(Hyperparameters):
        value = changed.get(field.name) or getattr(first, field.name) + 1
        names.add(fingerprint(replace(first, **{field.name: value}), "digest"))
    assert len(names) == 2 + len(fields(Hyperparameters))


def test_finished_jobs_are_reused_and_belong_to_the_new_sweep(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = [hyper(num_epochs=1), hyper(learning_rate=1e9), hyper(num_epochs=1)]  # one job twice
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    first = train(specs, place, cores=1)
    forbid_training(monkeypatch)
    again = next_sweep(place)
    leftover = outputs / "checkpoints" / f"{first[1].checkpoint_name}.npz"
    leftover.write_bytes(b"of a killed process")
    dead = this_process()._replace(pid=str(2**22))
    leftover.with_name(f"x.{dead}.tmp").write_bytes(b"likewise")
    with caplog.at_level(logging.INFO, "pipeline"):
        second = train(specs, again, cores=1)
    assert "3 of 3 already finished, training 0" in caplog.text
    assert not list((outputs / "checkpoints").iterdir())
    assert [run.score for run in second] == [run.score for run in first]
    assert [run.outcome for run in second] == ["finished", "diverged", "finished"]
    assert place.sweep is not None and again.sweep is not None
    runs, reused = (queries.sweep_runs(place.store, sweep) for sweep in (place.sweep, again.sweep))
    assert list(reused["tags.job"]) == ["0", "1", "2"]
    assert set(reused["run_id"]) == set(runs["run_id"])


def test_what_an_interrupt_left_goes_on_to_the_same_bits(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [hyper(num_epochs=9), hyper(num_epochs=9, l2_reg=0.01), hyper(num_epochs=2)]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    train(specs, place, cores=2)
    interrupted = next_sweep(
        replace(place, experiment_id=place.store.ensure_experiment("interrupted"))
    )
    polls, asked = itertools.count(), itertools.count()
    poll = LocalTrainer._poll

    def poll_and_interrupt(*args: Any) -> Any:
        events = poll(*args)
        if next(polls) == 0:
            raise KeyboardInterrupt
        return events

    with monkeypatch.context() as patch:
        patch.setattr(LocalTrainer, "_poll", poll_and_interrupt)
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


def test_a_checkpoint_stays_until_the_disk_holds_the_result(
    place: RunContext, hyper: Hyper, tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sync(_: Store) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    specs = [job(0, tmp_path, hyper(num_epochs=1))]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "flush_to_disk", no_sync)
        patch.setattr(flusher, "RETRY_SECONDS", 0)
        (run,) = train(specs, place, cores=1)
    assert statuses(place) == {"0": "FINISHED"}
    assert run.error is None
    assert Checkpoints(outputs / "checkpoints", 5).path(run.checkpoint_name).exists()
    train(specs, next_sweep(place), cores=1)
    assert not Checkpoints(outputs / "checkpoints", 5).path(run.checkpoint_name).exists()


def test_a_damaged_checkpoint_is_as_good_as_none(
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


def test_what_the_store_did_not_take_is_sent_by_the_next_start(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unreachable(*_: Any) -> None:
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


def test_a_job_that_the_store_refuses_does_not_hold_up_the_others(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_log = Store.log

    def log(self: Store, run_id: str, points: Any, params: Any, tags: Any) -> None:
        if params.get("l2_reg") == 0:
            raise TrackingError("not this one")
        real_log(self, run_id, points, params, tags)

    monkeypatch.setattr(flusher, "RETRY_SECONDS", 3)
    monkeypatch.setattr(flusher, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(Store, "log", log)
    specs = [job(i, tmp_path / str(i), hyper(l2_reg=i)) for i in range(3)]
    runs = train(specs, place, cores=1)
    assert [run.error is None for run in runs] == [False, True, True]


def test_only_runs_of_dead_processes_are_ended(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store(uri)
    experiment = store.ensure_experiment("x")
    code = (
        "import os, sys; from pipeline.tracking.store import Store; s = Store(sys.argv[1]);"
        "s.start_run(sys.argv[2], 'dead', {}, None); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, uri, experiment], check=False)
    mine = store.start_run(experiment, "live", {}, None)
    silent, elsewhere = (
        store.start_run(experiment, name, {}, None) for name in ("silent", "elsewhere")
    )
    for run_id, beat in ((silent, "1700000000"), (elsewhere, "9e12")):
        store.log(run_id, tags={"host": "another machine", "heartbeat": beat})
    foreign = store.client.create_run(experiment, run_name="foreign").info.run_id
    cleanup.kill_orphaned_runs(store)
    runs = store.client.search_runs([experiment])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status.pop("dead") == status.pop("silent") == "KILLED"
    assert status == dict.fromkeys(("live", "elsewhere", "foreign"), "RUNNING")
    assert {mine, silent, elsewhere, foreign} < {run.info.run_id for run in runs}


def test_a_run_that_could_only_be_opened_late_is_whole(
    place: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another sweep keeps the store locked until all is trained."""
    start, refused = Store.start_run, []

    def locked(self: Store, *arguments: Any) -> str:
        if len(refused) < 2:
            refused.append(1)
            raise TrackingError("database is locked")
        return start(self, *arguments)

    monkeypatch.setattr(Store, "start_run", locked)
    monkeypatch.setattr(flusher, "FLUSH_SECONDS", 0.1)
    jobs = [job(i, tmp_path / str(i), replace(SMALL, seed=i)) for i in range(2)]
    assert all(run.error is None for run in train(jobs, place, cores=1))
    assert place.sweep is not None
    runs = queries.sweep_runs(place.store, place.sweep)
    for tag in ("fingerprint", "dataset_digest", "num_train", "outcome"):
        assert runs[f"tags.{tag}"].notna().all(), tag
