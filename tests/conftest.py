"""What several tests need: small real data, and hyperparameters with one of them changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import DataConfig, Halving
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.execution.failure import FailurePolicy
from pipeline.execution.halving import SuccessiveHalving
from pipeline.execution.job import JobRun
from pipeline.execution.local import LocalBackend
from pipeline.execution.run import NO_POLICY, train_jobs
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from pipeline.tracking import queries
from pipeline.tracking.store import Store

DIGITS = DataConfig(name="digits", dir=None, url=None, files={})
TRACKING = {"uri": "sqlite:///x", "experiment": "x", "reuse": True, "checkpoint_minutes": 5}
SMALL = Hyperparameters(
    hidden_size=16,
    l2_reg=1e-4,
    learning_rate=0.3,
    learning_rate_decay=0.9,
    batch_size=100,
    num_epochs=3,
    weight_std=0.1,
    seed=0,
    dtype="float32",
    momentum=0.0,
    dropout=0.0,
    flip=False,
)


def pytest_runtest_setup() -> None:
    """Forget the store that `mlflow.set_tracking_uri` of an earlier test has exported."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load(DIGITS, "float32")


@pytest.fixture
def hyper() -> Callable[..., Hyperparameters]:
    def change(**values: Any) -> Hyperparameters:
        return replace(SMALL, **values)

    return change


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for everything that a run writes."""
    monkeypatch.setenv("PIPELINE_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture
def place(store: Store, request: pytest.FixtureRequest) -> RunContext:
    experiment = store.ensure_experiment(request.node.name)
    return RunContext(store, experiment, store.start_sweep(experiment, request.node.name, "…"))


def job(number: int, folder: Path, values: Hyperparameters) -> JobSpec:
    folder.mkdir(parents=True, exist_ok=True)
    log = logging.Logger("job")
    log.addHandler(logging.FileHandler(folder / "job.log", delay=True))
    groups: dict[str, Any] = {"data": asdict(DIGITS), "tracking": TRACKING}
    return JobSpec(number, {**asdict(values), **groups}, folder, log)


def train(
    specs: Sequence[JobSpec],
    context: RunContext,
    cores: int = 1,
    memory: int | None = None,
    halving: Halving | None = None,
    policy: FailurePolicy = NO_POLICY,
) -> list[JobRun]:
    with LocalBackend(cores, memory) as backend:
        rule = None if halving is None else SuccessiveHalving(halving)
        return train_jobs(specs, context, backend, rule, policy)


def statuses(place: RunContext) -> dict[str, str]:
    assert place.sweep is not None
    runs = queries.sweep_runs(place.store, place.sweep)
    return dict(zip(runs["tags.job"], runs["status"], strict=True))


def next_sweep(place: RunContext) -> RunContext:
    """The place of another sweep in the same experiment."""
    return replace(place, sweep=place.store.start_sweep(place.experiment_id, "next", "…"))


def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Stack, "begin_step", step)


def kept(place: RunContext, number: int, folder: Path) -> tuple[Any, Any]:
    """The curves and the weights that the store holds of a job."""
    assert place.sweep is not None
    run = queries.sweep_runs(place.store, place.sweep).set_index("tags.job").loc[str(number)]
    curves = queries.curves(place.store, run["run_id"], ["train_loss", "val_loss", "val_acc"])
    path = place.store.artifacts.download(run["run_id"], "weights.npz", folder)
    with np.load(path, allow_pickle=False) as file:
        return curves.to_dict(), {name: file[name].tobytes() for name in file}
