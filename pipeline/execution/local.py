"""The backend that trains in processes of this machine: ``hydra.launcher.backend=joblib``."""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import joblib

from pipeline.config import LauncherConfig
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.backend import (
    EpochTrained,
    Event,
    JobFailed,
    JobStarted,
    Plan,
    Resources,
)
from pipeline.execution.failure import Failure
from pipeline.execution.plan import ShardPlan, plan_waves
from pipeline.execution.scratch import scratch_folder
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.workers import share_dataset, start_workers, train_wave

POLL_SECONDS = 0.2  # between two reads of the workers' metrics

log = logging.getLogger("pipeline")


class LocalBackend:
    """Trains the shards of a plan in worker processes, in which BLAS uses one thread."""

    def __init__(self, cores: int, memory: int | None = None) -> None:
        """Set the limits.

        Args:
            cores: threads that train at the same time.
            memory: bytes for data and weights; None: a share of the free memory.
        """
        self.resources = Resources(cores, memory)
        self._acquired = ExitStack()

    @classmethod
    def from_config(cls, config: LauncherConfig, tracking_uri: str) -> Self:
        """Check the values of hydra.launcher.

        Raises:
            ConfigError: a scheduler is given.
        """
        if config.scheduler is not None:
            raise ConfigError(
                "hydra.launcher.scheduler applies only to backend=dask: add "
                "hydra.launcher.backend=dask"
            )
        return cls(config.shards or joblib.cpu_count(), config.memory)

    def __enter__(self) -> Self:
        """Return this backend; everything is acquired when it is needed."""
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the scratch folder."""
        self._acquired.close()

    def warm_up(self, num_jobs: int) -> None:
        """Start the worker processes."""
        start_workers(min(self.resources.cores, num_jobs))

    def stage(self, data: Dataset, num_jobs: int) -> Dataset:
        """Write the images to files that the workers map, if several workers will train.

        Raises:
            PipelineError: the folder for temporary files has no room.
        """
        self._acquired.close()  # frees the files of the previous dataset
        try:
            self._folder = self._acquired.enter_context(scratch_folder())
            if self.resources.cores > 1 and num_jobs > 1:
                return share_dataset(data, self._folder)
        except OSError as error:
            raise _no_room(error) from error
        return data

    def train(self, plan: Plan) -> LocalTrainer:
        """Train the jobs of a plan."""
        return LocalTrainer(plan, self.resources, self._folder)


class LocalTrainer:
    """Trains the waves of a plan in a background thread, and polls what its workers publish."""

    def __init__(self, plan: Plan, resources: Resources, folder: Path) -> None:
        """Plan the waves.

        Args:
            plan: the jobs.
            resources: the limits of this machine.
            folder: a temporary folder for the metrics in shared memory.
        """
        self._plan, self._cores = plan, resources.cores
        self._folder = folder
        self._jobs = [job.hyperparameters for job in plan.jobs]
        D, C = plan.data.X_train.shape[1], len(plan.data.classes)
        memory = resources.memory_for_weights(plan.data)
        self._waves = plan_waves(self._jobs, D, C, self._cores, memory)
        self._started: deque[int] = deque()  # indices of jobs whose wave has started
        self._failures: dict[int, Failure] = {}
        self._epochs = {i: job.epochs_done for i, job in enumerate(plan.jobs)}
        self._ended: set[int] = set()
        self._metrics: SharedMetrics | None = None
        self._training: Future[None] | None = None

    def __iter__(self) -> Iterator[Sequence[Event]]:
        """Yield the events of the workers until all waves are trained."""
        epochs = max((job.num_epochs for job in self._jobs), default=0)
        try:
            self._metrics = SharedMetrics(self._folder / "metrics", len(self._jobs), epochs)
        except OSError as error:
            reason = _no_room(error)
            yield [JobFailed(job.number, reason) for job in self._plan.jobs]
            return
        with ThreadPoolExecutor(1) as background:
            try:
                self._training = background.submit(self._train_waves, self._metrics)
                while not self._training.done():
                    wait([self._training], POLL_SECONDS)
                    yield self._poll()
            finally:
                self._metrics.stop()  # has no effect after the last wave
        self._training.result()
        yield [*self._poll(), *self._unfinished()]

    def stop(self) -> Sequence[Event]:
        """Stop the workers, wait until their checkpoints are written, and return all epochs."""
        if self._metrics is None or self._training is None:
            return []
        self._metrics.stop()
        self._training.exception()
        self._epochs = {i: job.epochs_done for i, job in enumerate(self._plan.jobs)}
        self._ended = set()
        return self._poll()

    def _train_waves(self, metrics: SharedMetrics) -> None:
        plan = self._plan
        names = [job.checkpoint_name for job in plan.jobs]
        for wave in self._waves:
            if metrics.stopped():
                return
            members = _members(wave)
            self._started += members
            try:
                self._failures |= train_wave(
                    wave,
                    self._jobs,
                    names,
                    plan.data,
                    plan.checkpoints,
                    metrics,
                    self._cores,
                    plan.until,
                )
            except Exception as error:  # a worker has died, and its pool with it
                self._failures |= dict.fromkeys(members, Failure(f"{error}", is_transient=True))

    def _poll(self) -> list[Event]:
        """Read the epochs that the workers have published since the last call."""
        assert self._metrics is not None
        events: list[Event] = []
        while self._started:
            events.append(JobStarted(self._plan.jobs[self._started.popleft()].number))
        for i, job in enumerate(self._plan.jobs):
            if i in self._ended:
                continue
            for row, outcome in self._metrics.read(i, self._epochs[i]):
                self._epochs[i] += 1
                events.append(EpochTrained(job.number, self._epochs[i], row, outcome))
                if outcome is not None:
                    self._ended.add(i)
        problem = self._metrics.take_error()
        if problem:
            log.warning(
                "a checkpoint could not be written (%s): the previous one is still valid", problem
            )
        return events

    def _unfinished(self) -> Iterator[JobFailed]:
        """The failures: jobs that have neither ended nor reached the pause."""
        until = self._plan.until
        for i, job in enumerate(self._plan.jobs):
            if i in self._ended or (until is not None and self._epochs[i] >= until):
                continue
            failure = self._failures.get(i, Failure("training ended without a result"))
            reason = RuntimeError(failure.trace.strip().splitlines()[-1])
            yield JobFailed(job.number, reason, failure.trace, failure.is_transient)


def _members(wave: Sequence[ShardPlan]) -> list[int]:
    return [i for shard in wave for i in shard.jobs]


def _no_room(error: OSError) -> PipelineError:
    return PipelineError(
        f"the data cannot be written to {tempfile.gettempdir()} ({error}): free some space there, "
        "or set TMPDIR to another folder"
    )
