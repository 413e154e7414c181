"""hydra/sweeper=optuna: trains trials in batches, and chooses each batch from earlier results."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Searches with a sampler of Optuna; the same command resumes the same study."""

    hydra_context: HydraContext
    launcher: Launcher
    config: DictConfig

    def __init__(
        self,
        sampler: str,
        seed: int,
        n_trials: int,
        batch_size: int,
        continuous: bool,
        study: str | None,
        storage: str,
        seeds: list[int] | None,
        pruner: str | None,
        pruner_params: DictConfig | None,
        where: str | None,
        budget: str | float | None,
        params: dict[str, str] | None,
    ) -> None:
        """Store the values of conf/hydra/sweeper/optuna.yaml."""
        self.sampler, self.seed = sampler, seed
        self.n_trials, self.batch_size = n_trials, batch_size
        self.continuous = continuous
        self.study, self.storage = study, storage
        self.seeds, self.where, self.budget = seeds, where, budget
        self.pruner, self.pruner_params = pruner, pruner_params
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store what Hydra passes to a sweeper, and create the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Train the trials that the study still lacks; returns the JobReturns of each batch.

        Raises:
            CompactHydraException: a value or a space is wrong, the storage cannot be reached, or a
                job failed; the latter is raised after all other jobs have ended.
        """
        from hydra_plugins.search import _core

        return _core.sweep(self, arguments)
