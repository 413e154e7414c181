"""The backend that trains on the workers of a Dask cluster: ``hydra.launcher.backend=dask``.

Dask transports shards and results. This module decides which worker trains which shard, one shard
per worker at a time. Therefore an unfit worker costs one check and no shard, a worker that joins
late gets work at once, a faster worker trains more shards, and a scheduler that restarts loses
nothing.
"""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

import joblib

from pipeline.config import LauncherConfig
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.backend import Plan, Resources
from pipeline.execution.dask.scheduler import Scheduler, check_address
from pipeline.execution.dask.trainer import DaskTrainer


class DaskBackend:
    """Trains the shards of a plan on the workers of a scheduler."""

    def __init__(self, address: str, memory: int | None = None) -> None:
        """Set the scheduler.

        Args:
            address: tcp://HOST:PORT or tls://HOST:PORT.
            memory: bytes for data and weights on each worker; None: a share of its limit.

        Raises:
            PipelineError: the address is malformed.
        """
        check_address(address)
        # A dry run assumes one worker per local core.
        self.resources = Resources(joblib.cpu_count(), memory)
        self._address = address

    @classmethod
    def from_config(cls, config: LauncherConfig, tracking_uri: str) -> Self:
        """Check the values of hydra.launcher.

        Raises:
            ConfigError: a value is missing or applies only to backend=joblib.
            PipelineError: the address of the scheduler is malformed.
        """
        if config.scheduler is None:
            raise ConfigError(
                "hydra.launcher.backend=dask needs the address of a scheduler: "
                "set hydra.launcher.scheduler=tcp://HOST:PORT"
            )
        if config.shards is not None:
            raise ConfigError(
                "hydra.launcher.shards applies only to backend=joblib: Dask trains one shard per "
                "worker; remove it"
            )
        if config.halving_rule is not None:
            raise ConfigError(
                "hydra.launcher.halving applies only to backend=joblib: the workers of a cluster "
                "do not wait for each other at a rung; remove it"
            )
        if not tracking_uri.startswith("http"):
            raise ConfigError(
                "hydra.launcher.backend=dask needs a tracking server that all workers reach, not "
                f"tracking.uri={tracking_uri}: start mlflow server and set "
                "tracking.uri=http://HOST:PORT"
            )
        return cls(config.scheduler, config.memory)

    def __enter__(self) -> Self:
        """Connect to the scheduler.

        Raises:
            PipelineError: it does not answer.
        """
        self._scheduler = Scheduler(self._address)
        if workers := self._scheduler.workers():  # their number can change during a sweep
            self.resources = replace(self.resources, cores=len(workers))
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect from the scheduler."""
        self._scheduler.close()

    def warm_up(self, num_jobs: int) -> None:
        """Do nothing: the workers run already."""

    def stage(self, data: Dataset, num_jobs: int) -> Dataset:
        """Return the dataset unchanged: each worker reads its own copy."""
        return data

    def train(self, plan: Plan) -> DaskTrainer:
        """Train the jobs of a plan."""
        return DaskTrainer(self._scheduler, plan, self.resources.memory)
