"""Training the jobs of a sweep: interrupts, failing jobs and limits of size."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.execution.backend import Plan
from pipeline.execution.job import JobRun
from pipeline.execution.local import LocalBackend
from pipeline.execution.local_trainer import LocalTrainer
from pipeline.execution.run import train_jobs
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from pipeline.tracking import queries
from tests.conftest import job, next_sweep, statuses, train

Hyper = Callable[..., Hyperparameters]
pytestmark = pytest.mark.usefixtures("outputs")  # checkpoints go to a folder of the test's own

FOREVER = 100_000  # epochs


def test_jobs_that_share_a_folder_keep_their_own_weights(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [hyper(hidden_size=h, num_epochs=1) for h in (4, 8, 4)]
    specs = [job(i, tmp_path / "shared", values) for i, values in enumerate(jobs)]
    train(specs, place, cores=2)
    assert place.sweep is not None
    runs = queries.sweep_runs(place.store, place.sweep)
    assert list(runs["status"]) == ["FINISHED"] * 3
    for run_id, values in zip(runs["run_id"], jobs, strict=True):
        with np.load(place.store.artifacts.download(run_id, "weights.npz", tmp_path)) as file:
            assert file["b1"].shape == (values.hidden_size,)


@pytest.mark.parametrize("cores", [1, 2])
def test_an_interrupt_keeps_finished_jobs_and_kills_the_others(
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
) -> None:
    record = JobRun.record_epoch

    def record_and_interrupt(run: JobRun, epoch: int, *args: Any) -> bool:
        new = record(run, epoch, *args)
        if new and run.spec.number == 1 and epoch == 3:
            raise KeyboardInterrupt
        return new

    monkeypatch.setattr(JobRun, "record_epoch", record_and_interrupt)
    jobs = [hyper(num_epochs=2), hyper(num_epochs=FOREVER)]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    with pytest.raises(KeyboardInterrupt):
        train(specs, place, cores)
    assert statuses(place) == {"0": "FINISHED", "1": "KILLED"}
    assert "best val_acc" in (tmp_path / "0" / "job.log").read_text()
    assert "killed in epoch" in (tmp_path / "1" / "job.log").read_text()


def test_a_job_that_raises_fails_with_its_traceback_and_the_others_finish(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(stack: Stack, *args: Any) -> None:
        if stack.jobs[0].hidden_size == 7:
            raise MemoryError("unable to allocate 7 units")
        real_step(stack, *args)

    real_step = Stack.begin_step
    monkeypatch.setattr(Stack, "begin_step", step)
    jobs = [hyper(num_epochs=1), hyper(hidden_size=7), hyper(hidden_size=10**12)]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    runs = train(specs, place, cores=1)
    assert [run.outcome for run in runs] == ["finished", "failed", "failed"]
    assert statuses(place) == {"0": "FINISHED", "1": "FAILED", "2": "FAILED"}
    assert "MemoryError: unable to allocate 7 units" in str(runs[1].error)
    memory = psutil.virtual_memory().total
    assert f"and this machine has {memory / 1e9:.3g} GB: use at most " in str(runs[2].error)
    assert "hidden_size=1000000000000 needs 6e+05 GB" in str(runs[2].error)
    assert place.sweep is not None
    kept = queries.sweep_runs(place.store, place.sweep)["tags.traceback"]
    for text in (kept.iloc[1], (tmp_path / "1" / "job.log").read_text()):
        assert "Traceback" in text
        assert "unable to allocate" in text


def test_too_little_memory_trains_every_job_in_small_waves(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    specs = [job(i, tmp_path / str(i), hyper(num_epochs=1, seed=i % 2)) for i in range(5)]
    runs = train(specs, place, cores=2, memory=1)
    assert [run.outcome for run in runs] == ["finished"] * 5


def test_a_batch_of_the_whole_training_set_is_the_largest_one(
    place: RunContext, hyper: Hyper, tmp_path: Path, digits: Dataset
) -> None:
    size = len(digits.y_train)
    jobs = [hyper(num_epochs=1, batch_size=batch) for batch in (size, size + 1)]
    runs = train([job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)], place)
    assert [run.outcome for run in runs] == ["finished", "failed"]
    assert f"use at most {size}" in str(runs[1].error)


def test_only_images_are_mirrored(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = [job(i, tmp_path / str(i), hyper(num_epochs=1, flip=i == 0)) for i in range(2)]
    assert [run.outcome for run in train(specs, place)] == ["finished"] * 2
    monkeypatch.setattr(
        "pipeline.execution.datasets.load", lambda *values: replace(load(*values), image_shape=None)
    )
    runs = train(specs, next_sweep(place))
    assert [run.outcome for run in runs] == ["failed", "finished"]
    assert "flip=true mirrors images, but the rows of digits are no images" in str(runs[0].error)


def test_the_loaded_dataset_is_released_before_the_training(
    place: RunContext, tmp_path: Path, hyper: Hyper
) -> None:
    class Watched(LocalBackend):
        def stage(self, data: Dataset, num_jobs: int) -> Dataset:
            self.loaded = weakref.ref(data)
            return super().stage(data, num_jobs)

        def train(self, plan: Plan) -> LocalTrainer:
            gc.collect()
            assert self.loaded() is None
            return super().train(plan)

    jobs = [job(i, tmp_path / str(i), hyper(hidden_size=4 + i)) for i in range(2)]
    with Watched(2) as backend:
        runs = train_jobs(jobs, place, backend)
    assert [run.outcome for run in runs] == ["finished"] * 2
