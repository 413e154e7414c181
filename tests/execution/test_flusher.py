"""Writing to MLflow: the order of side effects, retries and heartbeats."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.execution import flusher as flusher_module
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.job import JobRun
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.tracking import artifacts, queries
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.run_artifacts import RunArtifacts
from pipeline.tracking.store import Store
from tests.conftest import SMALL, job, next_sweep, statuses, train

Hyper = Callable[..., Hyperparameters]
pytestmark = pytest.mark.usefixtures("outputs")


def test_a_checkpoint_stays_until_the_disk_holds_the_result(
    place: RunContext, hyper: Hyper, tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_sync(_: Store) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    specs = [job(0, tmp_path, hyper(num_epochs=1))]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "flush_to_disk", no_sync)
        patch.setattr(flusher_module, "RETRY_SECONDS", 0)
        (run,) = train(specs, place, cores=1)
    assert statuses(place) == {"0": "FINISHED"}
    assert run.error is None
    assert Checkpoints(outputs / "checkpoints", 5).path(run.checkpoint_name).exists()
    train(specs, next_sweep(place), cores=1)
    assert not Checkpoints(outputs / "checkpoints", 5).path(run.checkpoint_name).exists()


def test_a_job_that_mlflow_rejects_does_not_delay_the_others(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_log = Store.log

    def log(self: Store, run_id: str, points: Any, params: Any, tags: Any, **more: Any) -> None:
        if params.get("l2_reg") == 0:
            raise TrackingError("not this one")
        real_log(self, run_id, points, params, tags, **more)

    monkeypatch.setattr(flusher_module, "RETRY_SECONDS", 3)
    monkeypatch.setattr(flusher_module, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(Store, "log", log)
    specs = [job(i, tmp_path / str(i), hyper(l2_reg=i)) for i in range(3)]
    runs = train(specs, place, cores=1)
    assert [run.error is None for run in runs] == [False, True, True]


def test_a_run_that_is_created_late_is_complete(
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
    monkeypatch.setattr(flusher_module, "FLUSH_SECONDS", 0.1)
    jobs = [job(i, tmp_path / str(i), replace(SMALL, seed=i)) for i in range(2)]
    assert all(run.error is None for run in train(jobs, place, cores=1))
    assert place.sweep is not None
    runs = queries.sweep_runs(place.store, place.sweep)
    for tag in ("fingerprint", "dataset_digest", "num_train", "outcome"):
        assert runs[f"tags.{tag}"].notna().all(), tag


class Clock:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_results_are_durable_before_their_checkpoint_is_deleted(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def record(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            events.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)

    record(Store, "log")
    record(RunArtifacts, "folder")
    record(artifacts, "_fsync")
    record(Store, "flush_to_disk")
    record(Checkpoints, "delete")
    train([job(0, tmp_path, hyper(num_epochs=1))], place)
    last = {name: len(events) - 1 - events[::-1].index(name) for name in events}
    steps = ["folder", "log", "_fsync", "flush_to_disk", "delete"]
    assert sorted(last, key=lambda name: last[name]) == steps
    assert events.count("_fsync") == 5  # three files, their folder, and the folder of the run


@pytest.mark.skipif(sys.platform != "linux", reason="sync() waits for the disk on Linux only")
def test_the_artifacts_of_many_jobs_are_flushed_at_once(
    place: RunContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    delete = Checkpoints.delete
    monkeypatch.setattr(artifacts, "FSYNC_FOLDERS", 1)
    monkeypatch.setattr("os.sync", lambda: events.append("sync"))
    monkeypatch.setattr(
        Checkpoints, "delete", lambda *given: (events.append("delete"), delete(*given))
    )
    train([job(i, tmp_path / str(i), replace(SMALL, seed=i)) for i in range(2)], place)
    assert events.index("sync") < events.index("delete")


def test_writing_is_retried_for_a_minute_and_then_given_up(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        attempts.append(clock.now)
        raise TrackingError("MLflow is down")

    clock, attempts = Clock(), list[float]()
    run = JobRun(_invalid(tmp_path, hyper), place)
    monkeypatch.setattr(Store, "start_run", unreachable)
    flusher_module.Flusher([run], place, clock, clock.sleep).finish()
    assert attempts == [5.0 * i for i in range(13)]
    assert clock.now == 60
    assert not run.is_logged


def test_a_store_that_returns_within_the_minute_gets_all_results(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down_until_50(*args: Any) -> str:
        if clock.now < 50:
            raise TrackingError("MLflow is down")
        return start_run(*args)

    clock, start_run = Clock(), Store.start_run
    monkeypatch.setattr(Store, "start_run", down_until_50)
    run = JobRun(_invalid(tmp_path, hyper), place)
    flusher_module.Flusher([run], place, clock, clock.sleep).finish()
    assert run.is_logged
    assert clock.now == 50


def _invalid(folder: Path, hyper: Hyper) -> JobSpec:
    """A job that has a result without training: it fails."""
    spec = job(0, folder, hyper())
    return replace(spec, values={**spec.values, "hidden_size": 0})


@pytest.mark.parametrize("single", [True, False])
def test_the_heartbeat_of_a_sweep_or_a_single_run_is_sent_every_minute(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, single: bool
) -> None:
    beats: list[tuple[float, str]] = []
    monkeypatch.setattr(Store, "heartbeat", lambda _, run_id: beats.append((clock.now, run_id)))
    clock = Clock()
    context = replace(place, sweep=None) if single else place
    run = JobRun(job(0, tmp_path, hyper()), context)
    run.open()
    flusher = flusher_module.Flusher([run], context, clock, clock.sleep)
    for _ in range(30):
        flusher.tick()
        clock.sleep(5)
    assert place.sweep is not None
    alive = run.run_id if single else place.sweep.run_id
    assert beats == [(60.0, alive), (120.0, alive)]


def test_flushes_take_at_most_four_percent_of_the_time(
    place: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, starts = Clock(), list[float]()
    flusher = flusher_module.Flusher([], place, clock, clock.sleep)

    def slow_flush() -> None:
        starts.append(clock.now)
        clock.sleep(2)

    monkeypatch.setattr(flusher, "flush", slow_flush)
    while clock.now < 120:
        flusher.tick()
        clock.sleep(1)
    assert starts == [0.0, 52.0, 104.0]


def test_a_flush_stops_at_the_first_failure_and_the_next_one_starts_with_another_job(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(_: Store, experiment: str, name: str, *__: Any) -> None:
        attempts.append(name)
        raise TrackingError("MLflow is down")

    clock, attempts = Clock(), list[str]()
    monkeypatch.setattr(Store, "start_run", unreachable)
    runs = [JobRun(replace(_invalid(tmp_path, hyper), number=number), place) for number in range(3)]
    flusher = flusher_module.Flusher(runs, place, clock, clock.sleep)
    flusher.open(runs)
    assert attempts == ["job 0"]
    for _ in range(4):
        flusher.flush()
    assert attempts == ["job 0", "job 0", "job 1", "job 2", "job 0"]


def test_an_overdue_flush_is_made_at_the_next_tick(
    place: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, flushes = Clock(), list[float]()
    flusher = flusher_module.Flusher([], place, clock, clock.sleep)
    monkeypatch.setattr(flusher, "flush", lambda: flushes.append(clock.now))
    for clock.now in (0.0, 4.9, 8.1, 12.9, 13.2):
        flusher.tick()
    assert flushes == [0.0, 8.1, 13.2]
