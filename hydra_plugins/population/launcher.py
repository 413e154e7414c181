"""The population launcher: the jobs of a grid train together, each an ordinary Hydra job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.population._compose import Composer
    from pipeline.config import Job
    from pipeline.execution.datasets import Datasets
    from pipeline.execution.spec import JobSpec
    from pipeline.execution.stopping import StoppingRule
    from pipeline.execution.stream import JobSource

    OpenJob = Callable[[int, Sequence[str]], JobSpec]  # a number and overrides → the job


class PopulationLauncher(Launcher):
    """Trains all jobs of a sweep in this process and its workers."""

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext

    def __init__(
        self,
        shards: int | None,
        max_memory: float | None,
        halving: DictConfig | None,
        backend: str,
        scheduler: str | None,
        max_failures: int | None,
        retries: int,
        dry_run: bool,
    ) -> None:
        """Store the values of conf/hydra/launcher/population.yaml."""
        self.backend = backend
        self.scheduler = scheduler
        self.shards = shards
        self.max_memory = max_memory
        self.halving = halving
        self.max_failures, self.retries = max_failures, retries
        self.dry_run = dry_run
        self.num_failures = 0  # in the earlier batches of the sweep
        self.composer: Composer | None = None  # of the sweeper, which has checked the jobs
        self.datasets: Datasets | None = None  # of the sweeper, which has loaded them
        self.rule: StoppingRule | None = None  # of a sweeper that stops jobs early
        self.is_continuous = False  # whether `launch_stream` trains the jobs

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store what Hydra passes to a launcher."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Train the jobs; a job that fails becomes a failed JobReturn.

        Raises:
            CompactHydraException: a value is wrong, or the store or cluster cannot be reached.
        """
        from hydra_plugins.population import _core

        return _core.launch(self, job_overrides, initial_job_idx)

    def launch_stream(
        self, first: Sequence[str], create: Callable[[Job, OpenJob], JobSource]
    ) -> Sequence[JobReturn]:
        """Train jobs that a source supplies while others train; returns their JobReturns.

        Args:
            first: the overrides of one of the jobs.
            create: creates the source, from that job and the function that opens a job.

        Raises:
            CompactHydraException: a value is wrong, or the store cannot be reached.
        """
        from hydra_plugins.population import _core

        return _core.launch_stream(self, first, create)
