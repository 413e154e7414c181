"""hydra/sweeper=optuna: batches of trials fill populations, and their results choose the next."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.population.launcher import writing

if TYPE_CHECKING:
    from hydra_plugins.search._search import Search
    from hydra_plugins.search._study import Study

RESULTS = "optimization_results.yaml"  # as Hydra's own sweeper for Optuna calls it

log = logging.getLogger("pipeline")


class OptunaSweeper(Sweeper):
    """Searches with a sampler of Optuna; the same command goes on with the same study."""

    hydra_context: HydraContext
    launcher: Launcher
    config: DictConfig

    def __init__(
        self,
        sampler: str,
        seed: int,
        n_trials: int,
        batch_size: int,
        study: str | None,
        storage: str,
        metric: str,
        direction: str,
        params: dict[str, str] | None,
    ) -> None:
        """Take the values of conf/hydra/sweeper/optuna.yaml."""
        self.sampler, self.seed = sampler, seed
        self.n_trials, self.batch_size = n_trials, batch_size
        self.study, self.storage = study, storage
        self.metric, self.direction = metric, direction
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take what Hydra hands to a sweeper."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Train the trials that the study still lacks; returns what came of all.

        Raises:
            CompactHydraException: a value or a space is wrong, or the study cannot be had; or a
                job failed, when all others have ended.
        """
        from pipeline.errors import PipelineError

        try:
            with writing():
                search, fixed = self._search(arguments)
                return self._run(search, fixed)
        except PipelineError as error:
            raise CompactHydraException(str(error)) from error

    def _search(self, arguments: Sequence[str]) -> tuple[Search, list[str]]:
        """What to search, and the overrides that all trials share."""
        from pipeline.config import check_whole
        from pipeline.errors import ConfigError

        try:
            import optuna  # noqa: F401
        except ImportError:
            raise ConfigError(
                "hydra/sweeper=optuna needs Optuna: pip install -e '.[optuna]'"
            ) from None
        from hydra_plugins.search._search import Search
        from hydra_plugins.search._space import split

        if not isinstance(self.params, Mapping):
            raise ConfigError(
                f"hydra.sweeper.params must map keys to spaces, not be {self.params!r}"
            )
        for key, only in (("metric", "best_val_acc"), ("direction", "maximize")):
            if getattr(self, key) != only:
                raise ConfigError(
                    f"hydra.sweeper.{key} must be {only}, not {getattr(self, key)}: the report "
                    "chooses by that too"
                )
        halving = self.config.hydra.launcher.get("halving")
        if OmegaConf.is_config(halving) and halving.get("factor") is not None:
            raise ConfigError(
                "hydra.launcher.halving goes with a grid: of the trials of a search only those of "
                "one batch would train together, and be compared"
            )
        for key, least in (("seed", 0), ("n_trials", 1), ("batch_size", 1)):
            check_whole(f"hydra.sweeper.{key}", getattr(self, key), least)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        texts = [f"{key}={value}" for key, value in self.params.items()]
        space, fixed = split(parser.parse_overrides([*texts, *arguments]))
        shared = {
            str(key): self.config[key]
            for key in self.config
            if key not in space and not OmegaConf.is_config(self.config[key])
        }
        shared |= {"data.name": OmegaConf.select(self.config, "data.name")}
        search = Search(space, shared, self.sampler, self.seed, self.n_trials, self.batch_size)
        return search, fixed

    def _run(self, search: Search, fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
        from hydra_plugins.search._space import as_overrides, bounds
        from hydra_plugins.search._study import Study

        name = self.study or f"{self.config.tracking.experiment}-{search.name}"
        first = [
            [*fixed, *as_overrides(trial.params)]
            for trial in Study(search, name, storage=None).next_trials(after=0)
        ]
        self._check(first)
        if OmegaConf.select(self.config, "hydra.launcher.dry_run"):
            print(f"the first {len(first)} of {search.count} trials of the study {name}:")
            return [self.launcher.launch(first, initial_job_idx=0)]
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = Study(search, name, self.storage)
        _tell_the_report(bounds(search.space))
        returns = self._train(study, fixed)
        best = study.best()
        if best is not None:
            found = {"name": "optuna", "best_evaluated_params": best[0]}
            OmegaConf.save({**found, "best_evaluated_value": best[1]}, folder / RESULTS)
        for result in (result for batch in returns for result in batch):
            _ = result.return_value  # that of a failed job raises its error
        return returns

    def _train(self, study: Study, fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
        """Batch by batch, to the end, or to a batch of which no job could be trained."""
        from hydra_plugins.search._space import as_overrides

        returns: list[Sequence[JobReturn]] = []
        count, done = study.search.count, 0
        while trials := study.next_trials(after=done):
            log.info("study %s: %d of %d trials have a result", study.name, study.ended(), count)
            jobs = [[*fixed, *as_overrides(trial.params)] for trial in trials]
            returns.append(self.launcher.launch(jobs, initial_job_idx=done))
            failures = 0
            for trial, result in zip(trials, returns[-1], strict=True):
                failed = result.status != JobStatus.COMPLETED
                study.tell(trial, None if failed else result.return_value, failed=failed)
                failures += failed
            done += len(trials)
            if failures == len(trials) > 1:
                log.error("all %d jobs of a batch failed: the search stops here", failures)
                break
        return returns

    def _check(self, jobs: Sequence[Sequence[str]]) -> None:
        """Refuse a search of which no job can be, before the study knows of it."""
        from pipeline.__main__ import resolved
        from pipeline.config import parse_job
        from pipeline.errors import ConfigError

        problem: ConfigError | None = None
        for overrides in jobs:
            loader = self.hydra_context.config_loader
            config = loader.load_sweep_config(self.config, list(overrides))
            keys = [str(key) for key in config if key != "hydra"]
            try:
                parse_job(resolved(OmegaConf.masked_copy(config, keys)))
                return
            except ConfigError as error:
                problem = problem or error
        if problem is not None:
            raise problem


def _tell_the_report(space: dict[str, Any]) -> None:
    """Note with the sweep's run what was searched."""
    from pipeline.__main__ import SweepStart

    if SweepStart.sweep is not None:
        store, sweep = SweepStart.sweep
        SweepStart.sweep = store, store.note_search(sweep, space)
