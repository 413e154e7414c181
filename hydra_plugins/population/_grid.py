"""The grid sweeper's work: expand the grid, skip repeated jobs, check every job."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._core import launcher_config, one_sentence
from hydra_plugins.population._jobs import sweep_folder_errors
from hydra_plugins.population.launcher import PopulationLauncher
from pipeline.composed import redacted
from pipeline.config import parse_job
from pipeline.hydra_compat import BasicSweeper
from pipeline.search.config import parse_grid
from pipeline.session import current_session

if TYPE_CHECKING:
    from hydra_plugins.population.sweeper import GridSweeper

__all__ = ["check_jobs", "one_sentence", "redacted", "split", "sweep_folder_errors"]


def split(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
    """All different jobs of a grid, in batches.

    Raises:
        CompactHydraException: an interval is not a list of values.
    """
    different = _different(_expand(overrides))
    size = max_batch_size or len(different) or 1
    return [different[start : start + size] for start in range(0, len(different), size)]


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


def check_jobs(sweeper: GridSweeper, arguments: Sequence[str]) -> None:
    """Check all jobs of a grid, then start the sweep: a wrong value leaves nothing behind.

    Raises:
        ConfigError: a value of a job is wrong.
        CompactHydraException: an override is wrong.
    """
    assert sweeper.hydra_context is not None and sweeper.config is not None  # since `setup`
    loader = sweeper.hydra_context.config_loader
    params: Any = sweeper.params
    params = OmegaConf.to_container(params) if OmegaConf.is_config(params) else params
    values = parse_grid({"max_batch_size": sweeper.max_batch_size, "params": params})
    lines = [f"{key}={value}" for key, value in (values.params or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides([*lines, *arguments])
    composer = Composer(loader, sweeper.config)
    if isinstance(sweeper.launcher, PopulationLauncher):
        launcher_config(sweeper.launcher)
    all_jobs = _expand(parsed)
    jobs = _different(all_jobs)
    for job in jobs:
        parse_job(composer.values(job))
    if isinstance(sweeper.launcher, PopulationLauncher):
        sweeper.launcher.composer = composer
    if len(jobs) < len(all_jobs):
        repeated = len(all_jobs) - len(jobs)
        print(f"{repeated} of {len(all_jobs)} jobs repeat another job and are not trained again")
    session = current_session()
    if session is not None:
        session.start_sweep(len(jobs))


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
