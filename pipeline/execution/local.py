"""The backend that trains in processes of this machine: ``hydra.launcher.backend=joblib``."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import joblib

from pipeline.config import LauncherConfig
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.backend import Plan, Resources
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.local_stream import LocalStream
from pipeline.execution.local_trainer import LocalTrainer, no_room
from pipeline.execution.plan import plan_waves
from pipeline.execution.scratch import scratch_folder
from pipeline.execution.spec import RunContext
from pipeline.execution.workers import share_dataset, start_workers


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
            raise no_room(error) from error
        return data

    def train(self, plan: Plan) -> LocalTrainer:
        """Train the jobs of a plan."""
        jobs = [job.hyperparameters for job in plan.jobs]
        D, C = plan.data.X_train.shape[1], len(plan.data.classes)
        memory = self.resources.memory_for_weights(plan.data)
        cores = self.resources.cores
        return LocalTrainer(plan, plan_waves(jobs, D, C, cores, memory), cores, self._folder)

    def stream(
        self, data: Dataset, checkpoints: Checkpoints, context: RunContext, num_jobs: int
    ) -> LocalStream:
        """Start the training of jobs that are added later, as in `StreamingBackend`."""
        return LocalStream(data, checkpoints, context, self.resources, num_jobs, self._folder)
