"""Reuse of finished runs, and equal jobs of one sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.process import this_process
from pipeline.tracking import artifacts, queries
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.store import Store
from tests.conftest import forbid_training, job, kept, next_sweep, statuses, train

Hyper = Callable[..., Hyperparameters]
pytestmark = pytest.mark.usefixtures("outputs")


def test_finished_jobs_are_reused_and_belong_to_the_new_sweep(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    outputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = [hyper(num_epochs=1), hyper(learning_rate=1e9), hyper(num_epochs=1)]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    first = train(specs, place, cores=1)
    forbid_training(monkeypatch)
    again = next_sweep(place)
    leftover = outputs / "checkpoints" / f"{first[1].checkpoint_name}.npz"
    leftover.write_bytes(b"left by a killed process")
    dead = this_process()._replace(pid=str(2**22))
    leftover.with_name(f"x.{dead}.tmp").write_bytes(b"left by a killed process")
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


def test_equal_jobs_train_once_and_share_the_run(
    place: RunContext, hyper: Hyper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rates = (0.1, 0.3, 0.1, 1e-1, -1)  # the last one is invalid
    specs = [job(i, tmp_path / str(i), hyper(num_epochs=1)) for i in range(len(rates))]
    specs = [
        replace(spec, values={**spec.values, "learning_rate": rate})
        for spec, rate in zip(specs, rates, strict=True)
    ]
    with caplog.at_level(logging.INFO, "pipeline"):
        runs = train(specs, place)
    assert "training 2 jobs together" in caplog.text
    assert "equal to other jobs of the sweep: 2, 3" in caplog.text
    assert [run.outcome for run in runs] == ["finished"] * 4 + ["failed"]
    assert len({run.score for run in runs[:4]}) == 2
    assert "equal to job 0" in (tmp_path / "2" / "job.log").read_text()
    assert place.sweep is not None
    rows = queries.sweep_runs(place.store, place.sweep).set_index("tags.job")["run_id"]
    assert list(rows.index) == ["0", "1", "2", "3", "4"]
    assert rows["0"] == rows["2"] == rows["3"] != rows["1"]


def test_an_equal_job_fails_with_the_job_that_is_trained(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_training(monkeypatch)
    runs = train([job(i, tmp_path / str(i), hyper()) for i in range(2)], place)
    assert [str(run.error) for run in runs] == ["AssertionError: trained again"] * 2
    assert statuses(place) == {"0": "FAILED", "1": "FAILED"}


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_run_without_its_artifacts_is_trained_again(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    specs = [job(0, tmp_path, hyper(num_epochs=1))]
    (first,) = train(specs, place)
    weights = place.store.artifacts.local_folder(first.run_id) / "weights.npz"
    content = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + b"x")
    again = next_sweep(place)
    (second,) = train(specs, again)
    assert f"run {first.run_id} is trained again" in caplog.text
    assert second.run_id not in ("", first.run_id)
    assert kept(again, 0, tmp_path)[1]


def test_a_run_of_an_earlier_version_is_reused_if_its_files_exist(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    (run,) = train([job(0, tmp_path, hyper(num_epochs=1))], place)
    untagged = FinishedRun(run.run_id, "finished", run.score)
    assert artifacts.are_complete(place.store, untagged)
    (place.store.artifacts.local_folder(run.run_id) / "weights.npz").unlink()
    assert not artifacts.are_complete(place.store, untagged)
    assert artifacts.are_complete(place.store, untagged._replace(outcome="diverged"))


def test_a_run_with_an_unknown_outcome_is_trained_again(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    specs = [job(0, tmp_path, hyper(num_epochs=1))]
    (first,) = train(specs, place)
    place.store.client.set_tag(first.run_id, "outcome", "excellent")
    (second,) = train(specs, next_sweep(place))
    assert second.outcome == "finished"
    assert second.run_id not in ("", first.run_id)


def test_a_single_run_reuses_a_finished_run(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [job(0, tmp_path, hyper(num_epochs=1))]
    (first,) = train(specs, place)
    forbid_training(monkeypatch)
    (second,) = train(specs, replace(place, sweep=None))
    assert (second.outcome, second.score) == ("finished", first.score)
    assert f"already finished: run {first.run_id}" in (tmp_path / "job.log").read_text()


def test_an_equal_job_that_cannot_be_linked_has_the_reason_as_its_error(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise TrackingError("MLflow is down")

    monkeypatch.setattr(Store, "link_reused_runs", unreachable)
    specs = [job(i, tmp_path / str(i), hyper(num_epochs=1)) for i in range(2)]
    assert [str(run.error or "") for run in train(specs, place)] == ["", "MLflow is down"]
