"""Checkpoints: they are written atomically, and checked before use."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.execution.checkpoint_file import Model
from pipeline.execution.checkpoints import Checkpoints
from pipeline.files import atomic_write
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Checkpoint, Metrics, Row
from pipeline.nn.model import Params
from pipeline.outcomes import Outcome
from pipeline.process import this_process

Hyper = Callable[..., Hyperparameters]
ROW = Row(Metrics(1.0, 0.5, 1.0, 0.25), 1_700_000_000_000)
INFINITE = Row(Metrics(1.0, 0.5, float("inf"), 0.25), 1_700_000_000_000)


@pytest.fixture
def model(hyper: Hyper) -> Model:
    return Model(hyper(hidden_size=4, momentum=0.9), D=6, C=3, num_train=250, num_val=20)


def weights(hidden_size: int = 4, dtype: str = "float32") -> Params:
    shapes = (1, 6, hidden_size), (1, 1, hidden_size), (1, hidden_size, 3), (1, 1, 3)
    return Params(*(np.ones(shape, dtype) for shape in shapes))


SNAPSHOT = Checkpoint(
    (ROW,), None, weights(), np.zeros(3, np.uint8), weights(), 2, 1.0, 200, weights()
)
FINISHED = replace(SNAPSHOT, curve=(ROW,) * 3, outcome=Outcome.FINISHED, params=None, velocity=None)


@pytest.mark.parametrize(
    "checkpoint",
    [
        SNAPSHOT,
        replace(SNAPSHOT, curve=(), best=None, step=0, hits=0),
        FINISHED,
        replace(FINISHED, curve=(ROW, INFINITE), outcome=Outcome.DIVERGED),
        replace(FINISHED, curve=(INFINITE,), outcome=Outcome.DIVERGED, best=None),
    ],
)
def test_a_valid_checkpoint_is_read_as_it_was_written(
    checkpoint: Checkpoint, model: Model, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("name", checkpoint)
    found = checkpoints.read("name", model)
    assert found is not None
    assert (found.curve, found.outcome) == (checkpoint.curve, checkpoint.outcome)
    assert (found.progress, found.hits, found.loss) == (checkpoint.progress, checkpoint.hits, 1.0)
    for params, expected in ((found.params, checkpoint.params), (found.best, checkpoint.best)):
        assert (params is None) == (expected is None)
        for array, other in zip(params or (), expected or (), strict=True):
            np.testing.assert_array_equal(array, other, strict=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"params": weights(5)},
        {"best": weights(dtype="float64")},
        {"velocity": None},
        {"average": weights()},  # of a model that has none
        {"params": None},
        {"best_hits": np.zeros(4, np.uint8)},
        {"step": 3},
        {"step": -1},
        {"hits": 201},
        {"curve": (ROW,) * 3},
        {"curve": (INFINITE,)},
        {"curve": (), "outcome": Outcome.FINISHED},
        {"outcome": Outcome.FINISHED},
        {"outcome": Outcome.DIVERGED},
        {"curve": (INFINITE, ROW), "outcome": Outcome.DIVERGED},
    ],
)
def test_a_checkpoint_that_does_not_fit_the_job_is_ignored(
    changes: dict[str, Any], model: Model, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("name", replace(SNAPSHOT, **changes))
    assert checkpoints.path("name").exists()
    assert checkpoints.read("name", model) is None


def test_the_checkpoint_of_an_averaged_model_holds_its_weights_and_their_average(
    model: Model, tmp_path: Path
) -> None:
    averaged = replace(model, hyperparameters=replace(model.hyperparameters, ema=0.9))
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("name", SNAPSHOT)
    assert checkpoints.read("name", averaged) is None
    average = Params(*(array * 2 for array in weights()))
    checkpoints.write("name", replace(SNAPSHOT, average=average))
    found = checkpoints.read("name", averaged)
    assert found is not None and found.params is not None and found.average is not None
    assert (found.params.W1 == 1).all()
    assert (found.average.W1 == 2).all()


def test_the_checkpoint_of_another_job_is_ignored(model: Model, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("other", SNAPSHOT)
    checkpoints.path("other").rename(checkpoints.path("name"))
    assert checkpoints.read("name", model) is None


def test_an_archive_that_expands_too_far_is_not_decompressed(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        loads.append(1)

    loads: list[int] = []
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("name", SNAPSHOT)
    with zipfile.ZipFile(checkpoints.path("name"), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(1 << 20))
    monkeypatch.setattr(np, "load", load)
    assert checkpoints.read("name", model) is None
    assert loads == []


def test_a_file_is_on_the_disk_before_it_replaces_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, move = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size == 3
        events.append("fsync")
        fsync(descriptor)

    def record_replace(path: Path, target: Path) -> Path:
        events.append("replace")
        return move(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    atomic_write(tmp_path / "file", lambda file: file.write(b"new"))
    assert events == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_only_files_of_dead_processes_are_abandoned(tmp_path: Path) -> None:
    alive = this_process()
    dead = alive._replace(pid=str(2**22))
    elsewhere = dead._replace(namespace="1")
    for owner in (alive, dead, elsewhere):
        (tmp_path / f"name.{owner}.tmp").touch()
    old = tmp_path / "name.host.1.tmp"  # written by an earlier version
    old.touch()
    os.utime(old, (0, 0))
    Checkpoints(tmp_path, minutes=5).delete_abandoned()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"name.{alive}.tmp", f"name.{elsewhere}.tmp"}


def test_the_curve_of_a_long_training_fits_the_limit_of_a_checkpoint(
    model: Model, tmp_path: Path
) -> None:
    epochs = 5000  # 200 KB, more than the weights and the headers
    long = replace(model, hyperparameters=replace(model.hyperparameters, num_epochs=epochs))
    checkpoints = Checkpoints(tmp_path, minutes=5)
    checkpoints.write("name", replace(FINISHED, curve=(ROW,) * epochs))
    found = checkpoints.read("name", long)
    assert found is not None
    assert len(found.curve) == epochs


def test_a_file_of_an_unknown_process_is_kept_for_seven_days(tmp_path: Path) -> None:
    week = 7 * 24 * 3600
    for name, age in (("younger", week - 60), ("older", week + 60)):
        path = tmp_path / f"{name}.host.1.tmp"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    Checkpoints(tmp_path, minutes=5).delete_abandoned()
    assert [path.name for path in tmp_path.iterdir()] == ["younger.host.1.tmp"]
