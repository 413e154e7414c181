"""The interface between a sweep and the machines that train it.

A backend trains the jobs of a `Plan` and reports `Event`s. To add a backend, write one module with
a class that implements `Backend`, add it to `BACKENDS`, and name it in the description of
`LauncherConfig.backend` and in ``conf/hydra/launcher/population.yaml``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

from pipeline.config import LauncherConfig
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.spec import JobResult, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Row
from pipeline.outcomes import Outcome

BACKENDS = {  # the values of hydra.launcher.backend
    "joblib": "pipeline.execution.local:LocalBackend",
    "dask": "pipeline.execution.dask.backend:DaskBackend",
}
MEMORY_SHARE = 0.6  # of the free memory, unless hydra.launcher.max_memory is set


@dataclass(frozen=True)
class Resources:
    """The limits of a backend."""

    cores: int  # threads that train at the same time
    memory: int | None = None  # bytes for data and weights; None: `MEMORY_SHARE` of the free memory

    def memory_for_weights(self, data: Dataset) -> int:
        """The bytes that the dataset leaves for weights."""
        memory = self.memory or int(psutil.virtual_memory().available * MEMORY_SHARE)
        return memory - data.X_train.nbytes - data.X_val.nbytes


@dataclass(frozen=True)
class PlannedJob:
    """A job to train."""

    number: int
    values: Mapping[str, Any]  # its configuration
    hyperparameters: Hyperparameters
    checkpoint_name: str
    epochs_done: int  # epochs that the sweep has recorded already


@dataclass(frozen=True)
class Plan:
    """Jobs to train on one dataset."""

    jobs: Sequence[PlannedJob]
    data: Dataset
    checkpoints: Checkpoints
    context: RunContext
    until: int | None = None  # the epoch after which training pauses; None: train to the end


@dataclass(frozen=True)
class JobStarted:
    """A job starts to train on this machine."""

    job: int  # the number of the job


@dataclass(frozen=True)
class EpochTrained:
    """A job has trained an epoch on this machine. The sweep logs it."""

    job: int
    epoch: int  # 1, 2, …
    row: Row
    outcome: Outcome | None  # FINISHED or DIVERGED if it was the job's last epoch


@dataclass(frozen=True)
class JobPaused:
    """A job of a `Stream` has ended or paused, and its checkpoint is written."""

    job: int


@dataclass(frozen=True)
class JobFailed:
    """A job cannot be trained to its end."""

    job: int
    error: Exception
    trace: str = ""
    is_transient: bool = False  # as in `Failure`


@dataclass(frozen=True)
class JobLogged:
    """Another machine has trained a job and has logged it to MLflow."""

    job: int
    result: JobResult


Event = JobStarted | EpochTrained | JobPaused | JobFailed | JobLogged


class Training(Protocol):
    """The training of a plan. It starts with the iteration."""

    def __iter__(self) -> Iterator[Sequence[Event]]:
        """Yield the new events, at least once per second, until all jobs have ended or paused.

        Raises:
            PipelineError: no machine can train the jobs.
        """

    def stop(self) -> Sequence[Event]:
        """Stop the training after its current step, and save checkpoints.

        Returns:
            Events that the iteration may not have delivered. They can repeat earlier ones.
        """


class Stream(Training, Protocol):
    """Training to which jobs are added while it runs. It iterates as long as it has jobs."""

    def add(self, job: PlannedJob, until: int | None) -> None:
        """Add a job, or one that has paused or failed before.

        The free core takes the job with the lowest number.

        Args:
            job: to train.
            until: the epoch after which it pauses; None: train to the end.
        """


class Backend(Protocol):
    """Trains jobs. It is a context manager that acquires and releases its resources."""

    resources: Resources

    @classmethod
    def from_config(cls, config: LauncherConfig, tracking_uri: str) -> Self:
        """Check the values of hydra.launcher.

        Raises:
            ConfigError: a value is missing, or does not apply to this backend.
        """

    def __enter__(self) -> Self:
        """Connect to other machines.

        Raises:
            PipelineError: they cannot be reached.
        """

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release everything that was acquired."""

    def warm_up(self, num_jobs: int) -> None:
        """Start workers ahead of time. It is called in a thread of its own."""

    def stage(self, data: Dataset, num_jobs: int) -> Dataset:
        """Make a dataset available to the workers; return the view of it that plans must use.

        Raises:
            PipelineError: there is no room for it.
        """

    def train(self, plan: Plan) -> Training:
        """Train the jobs of a plan."""


class StreamingBackend(Backend, Protocol):
    """A backend to which jobs can be added while others train."""

    def stream(
        self, data: Dataset, checkpoints: Checkpoints, context: RunContext, num_jobs: int
    ) -> Stream:
        """Start the training of jobs that are added later.

        Args:
            data: the dataset, as `stage` has returned it.
            checkpoints: the folder of the checkpoints.
            context: the place of the runs in MLflow.
            num_jobs: at most as many jobs are trained at the same time.
        """


def create_backend(config: LauncherConfig, tracking_uri: str) -> Backend:
    """Create the backend that ``hydra.launcher.backend`` names.

    Args:
        config: the values of ``hydra.launcher``.
        tracking_uri: the MLflow store, which the workers must reach.

    Raises:
        ConfigError: there is no such backend, or a value does not apply to it.
    """
    if config.backend not in BACKENDS:
        raise ConfigError(
            f"hydra.launcher.backend must be one of {', '.join(BACKENDS)}, not {config.backend!r}"
        )
    module, _, name = BACKENDS[config.backend].partition(":")
    cls = getattr(importlib.import_module(module), name)
    backend: Backend = cls.from_config(config, tracking_uri)
    return backend
