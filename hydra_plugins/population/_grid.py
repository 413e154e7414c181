"""The grid sweeper's work: expand the grid, skip repeated jobs, check and train every job."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from hydra_plugins.population._budget import open_meter, train_within
from hydra_plugins.population._compose import Composer
from hydra_plugins.population._core import check_launch
from hydra_plugins.population.launcher import PopulationLauncher
from pipeline.composed import redacted
from pipeline.config import Job, parse_job
from pipeline.errors import ConfigError
from pipeline.expression import Expression
from pipeline.hydra_compat import BasicSweeper
from pipeline.ranges import expanded
from pipeline.search.config import GridConfig, parse_grid
from pipeline.session import current_session

if TYPE_CHECKING:
    from hydra_plugins.population.sweeper import GridSweeper
    from pipeline.execution.budget import Meter


@dataclass(frozen=True)
class Grid:
    """The different jobs of a grid, which have been checked."""

    lines: list[list[str]]  # the overrides of each job
    jobs: list[Job]
    batch_size: int  # jobs per call of the launcher
    meter: Meter | None  # of hydra.sweeper.budget


def sweep(sweeper: GridSweeper, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Check all jobs of a grid, then train them: a wrong value leaves nothing behind.

    Raises:
        PipelineError: a value of a job is wrong or does not fit the data, the data cannot be
            loaded, or no job fits the budget.
        CompactHydraException: an override is wrong, or a job failed.
    """
    grid = _read(sweeper, arguments)
    assert sweeper.config is not None and sweeper.launcher is not None  # since `setup`
    session = current_session()
    if session is not None:
        session.start_sweep(len(grid.lines))
    folder = Path(sweeper.config.hydra.sweep.dir)
    if not OmegaConf.select(sweeper.config, "hydra.launcher.dry_run"):
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(redacted(sweeper.config), folder / "multirun.yaml")
    if grid.meter is not None:
        jobs = grid.lines, grid.jobs
        return train_within(grid.meter, sweeper.launcher, *jobs, grid.batch_size, folder)
    returns: list[Sequence[JobReturn]] = []
    for done in range(0, len(grid.lines), grid.batch_size):
        batch = grid.lines[done : done + grid.batch_size]
        returns.append(sweeper.launcher.launch(batch, initial_job_idx=done))
        for result in returns[-1]:
            _ = result.return_value  # raises the error of a failed job
    return returns


def _expand(overrides: list[Override]) -> list[list[str]]:
    """All jobs of a grid.

    Raises:
        CompactHydraException: an interval is not a list of values.
    """
    for override in overrides:
        if override.is_interval_sweep():
            raise CompactHydraException(
                f"{override.input_line}: a grid needs a list of values or a range(…); to search an "
                "interval, use hydra/sweeper=optuna"
            )
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


def _different(jobs: list[list[str]]) -> list[list[str]]:
    """The jobs without repeated ones. Of equal jobs, the first one counts."""
    return list({_identity(job): job for job in reversed(jobs)}.values())[::-1]


def _read(sweeper: GridSweeper, arguments: Sequence[str]) -> Grid:
    """Expand a grid, load its dataset, and check all of its jobs.

    Raises:
        PipelineError: a value of a job is wrong or does not fit the data, the data cannot be
            loaded, or no job fits the budget.
        CompactHydraException: an override is wrong.
    """
    assert sweeper.hydra_context is not None and sweeper.config is not None  # since `setup`
    loader = sweeper.hydra_context.config_loader
    values = _checked_values(sweeper)
    lines = [f"{key}={value}" for key, value in (values.params or {}).items()]
    parser = OverridesParser.create(config_loader=loader)
    parsed = expanded(parser.parse_overrides([*lines, *arguments]))
    composer = Composer(loader, sweeper.config)
    if isinstance(sweeper.launcher, PopulationLauncher):
        sweeper.launcher.composer = composer
    all_jobs = _expand(parsed)
    jobs = _different(all_jobs)
    repeated = len(all_jobs) - len(jobs)
    jobs, checked = _check(composer, jobs, values.where)
    if repeated:
        print(f"{repeated} of {len(all_jobs)} jobs repeat another job and are not trained again")
    datasets = check_launch(sweeper.launcher, checked)
    meter = None
    if values.budget is not None:
        assert sweeper.launcher is not None
        meter = open_meter(values.budget, sweeper.launcher, checked, datasets.get(checked[0]))
    return Grid(jobs, checked, values.max_batch_size or len(jobs), meter)


def _check(
    composer: Composer, jobs: Sequence[list[str]], where: str | None
) -> tuple[list[list[str]], list[Job]]:
    """The jobs whose values satisfy a condition: their overrides, and their checked values.

    Raises:
        ConfigError: the condition is malformed, no job satisfies it, or a value of a job is wrong.
    """
    condition = None if where is None else Expression(where, "hydra.sweeper.where")
    kept, checked = [], []
    for job in jobs:
        values = composer.values(job)
        if condition is None or condition.holds(values):
            kept.append(job)
            checked.append(parse_job(values))
    if condition is not None:
        if not kept:
            raise ConfigError(
                f"no job satisfies hydra.sweeper.where={where!r}: change the condition"
            )
        print(f"{len(kept)} of {len(jobs)} jobs satisfy {where}")
    return kept, checked


def _checked_values(sweeper: GridSweeper) -> GridConfig:
    """The checked values of hydra.sweeper.

    Raises:
        ConfigError: one is wrong.
    """
    params: Any = sweeper.params
    params = OmegaConf.to_container(params) if OmegaConf.is_config(params) else params
    values = {"max_batch_size": sweeper.max_batch_size, "params": params}
    return parse_grid({**values, "where": sweeper.where, "budget": sweeper.budget})


def _identity(job: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """Equal for jobs with equal values, however they are written: 0.1 is 1e-1."""
    return tuple(_key_and_value(line) for line in job)


@functools.cache
def _key_and_value(line: str) -> tuple[str, Any]:
    override = OverridesParser.create().parse_override(line)
    value = override.value()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return override.get_key_element(), float(value)
    return override.get_key_element(), repr(value)
