"""The interface of backends: another backend needs one class and one registry entry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import joblib
import pytest

from pipeline.config import LauncherConfig, parse_launcher
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.backend import (
    BACKENDS,
    EpochTrained,
    Event,
    JobStarted,
    Plan,
    Resources,
    create_backend,
)
from pipeline.execution.run import train_jobs
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import EpochEnd
from pipeline.nn.train import train
from tests.conftest import job, statuses

URI = "http://127.0.0.1:1"
LAUNCHER = {
    "shards": None,
    "max_memory": None,
    "halving": {"factor": None, "min_epochs": 1},
    "backend": "joblib",
    "scheduler": None,
    "max_failures": None,
    "retries": 0,
    "dry_run": False,
}
DASK = {"backend": "dask", "scheduler": "tcp://h:1"}
HALVING = {"halving": {"factor": 2, "min_epochs": 1}}


@pytest.mark.parametrize(
    ("values", "uri", "message"),
    [
        ({"backend": "ray"}, URI, "hydra.launcher.backend must be one of joblib, dask, not 'ray'"),
        ({"backend": "dask"}, URI, "set hydra.launcher.scheduler=tcp://HOST:PORT"),
        (DASK | {"shards": 2}, URI, "shards applies only to backend=joblib"),
        (DASK | HALVING, URI, "halving applies only to backend=joblib"),
        (DASK | {"scheduler": "localhost"}, URI, "must be tcp://HOST:PORT or tls://HOST:PORT"),
        (DASK, "sqlite:///x.db", "needs a tracking server"),
        ({"scheduler": "tcp://h:1"}, URI, "scheduler applies only to backend=dask"),
    ],
)
def test_values_that_do_not_apply_to_a_backend_are_rejected(
    values: dict[str, Any], uri: str, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        create_backend(parse_launcher(LAUNCHER | values), uri)


def test_shards_and_memory_reach_the_backend_in_cores_and_bytes() -> None:
    def resources(**values: Any) -> Resources:
        return create_backend(parse_launcher(LAUNCHER | values), URI).resources

    assert resources(shards=3, max_memory=1.5) == Resources(cores=3, memory=1_500_000_000)
    assert resources() == Resources(cores=joblib.cpu_count(), memory=None)


def test_the_data_takes_its_share_of_the_memory(digits: Dataset) -> None:
    data_bytes = digits.X_train.nbytes + digits.X_val.nbytes
    assert Resources(1, memory=10**9).memory_for_weights(digits) == 10**9 - data_bytes


class SerialBackend:
    """Trains one job after another in this process."""

    def __init__(self) -> None:
        self.resources = Resources(cores=1)

    @classmethod
    def from_config(cls, config: LauncherConfig, tracking_uri: str) -> Self:
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def warm_up(self, num_jobs: int) -> None:
        pass

    def stage(self, data: Dataset, num_jobs: int) -> Dataset:
        return data

    def train(self, plan: Plan) -> SerialTraining:
        return SerialTraining(plan)


class SerialTraining:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Sequence[Event]]:
        for planned in self._plan.jobs:
            yield [JobStarted(planned.number)]
            for event in train([planned.hyperparameters], self._plan.data):
                assert isinstance(event, EpochEnd)
                if event.result is not None:
                    self._plan.checkpoints.write(planned.checkpoint_name, event.result)
                yield [EpochTrained(planned.number, event.epoch, event.row, event.outcome)]

    def stop(self) -> Sequence[Event]:
        return []


@pytest.mark.usefixtures("outputs")
def test_another_backend_needs_one_class_and_one_registry_entry(
    place: RunContext,
    hyper: Callable[..., Hyperparameters],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("serial_backend")
    monkeypatch.setattr(module, "SerialBackend", SerialBackend, raising=False)
    monkeypatch.setitem(sys.modules, "serial_backend", module)
    monkeypatch.setitem(BACKENDS, "serial", "serial_backend:SerialBackend")
    specs = [job(i, tmp_path / str(i), hyper(num_epochs=2, seed=i)) for i in range(2)]
    with create_backend(parse_launcher(LAUNCHER | {"backend": "serial"}), URI) as backend:
        runs = train_jobs(specs, place, backend)
    assert [run.outcome for run in runs] == ["finished"] * 2
    assert statuses(place) == {"0": "FINISHED", "1": "FINISHED"}
