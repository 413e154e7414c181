"""Read the search from the values of hydra.sweeper and the command line, and check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from hydra_plugins.population._compose import Composer
from hydra_plugins.population.launcher import PopulationLauncher
from hydra_plugins.search._space import split
from hydra_plugins.search._trials import jobs
from pipeline.config import Job, parse_job
from pipeline.errors import ConfigError
from pipeline.expression import Expression
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.search.config import OptunaConfig, parse_optuna
from pipeline.search.pruning import Pruning
from pipeline.search.sampling import Condition, Search
from pipeline.search.space import as_overrides, exact_values, extremes
from pipeline.selection import parse_select_by

if TYPE_CHECKING:
    from hydra_plugins.search.sweeper import OptunaSweeper
    from pipeline.search.space import Space


def read_search(sweeper: OptunaSweeper, arguments: Sequence[str]) -> tuple[Search, list[str]]:
    """The search, and the overrides that all trials share.

    Raises:
        ConfigError: a value is wrong, or a package is missing.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError("hydra/sweeper=optuna needs Optuna: pip install optuna cmaes") from None
    values = _checked_values(sweeper)
    if values.continuous:
        _require_own_launcher(sweeper, "continuous", "where a free core takes the next trial")
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    texts = [f"{key}={value}" for key, value in (values.params or {}).items()]
    space, fixed = split(parser.parse_overrides([*texts, *arguments]))
    config = sweeper.config
    raw: Any = OmegaConf.to_container(config)
    values_of_jobs = {
        # A computed value may depend on a value that is searched, so its text identifies the study.
        str(key): raw[key] if "${calc:" in str(raw[key]) else config[key]
        for key in config
        if key not in space and not OmegaConf.is_config(config[key])
    }
    select_by = parse_select_by(values_of_jobs.get("select_by"))
    shared = {  # without values that change nothing, so that older studies are found
        key: value
        for key, value in values_of_jobs.items()
        if key not in HYPERPARAMETERS or HYPERPARAMETERS[key].is_hashed(value)
    }
    shared |= {"data.name": OmegaConf.select(config, "data.name")}
    settings = values.sampler, values.seed, values.n_trials, values.batch_size, select_by
    pruning = _read_pruning(sweeper, values, space, fixed)
    seeds = tuple(values.seeds or ())
    if seeds and any(line.startswith("seed=") for line in fixed):
        raise ConfigError("hydra.sweeper.seeds sets the seed of each job: remove seed=…")
    where = _read_condition(sweeper, values, space, fixed)
    options = pruning, where, seeds, values.continuous
    return Search(space, shared, *settings, *options), fixed


def _read_condition(
    sweeper: OptunaSweeper, values: OptunaConfig, space: Space, fixed: Sequence[str]
) -> Condition | None:
    """The condition that hydra.sweeper.where states.

    Raises:
        ConfigError: it is malformed.
    """
    if values.where is None:
        return None
    expression = Expression(values.where, "hydra.sweeper.where")
    composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)

    def allows(params: Mapping[str, Any]) -> bool:
        return expression.holds(
            composer.values([*fixed, *as_overrides(exact_values(params, space))])
        )

    return Condition(values.where, allows)


def _read_pruning(
    sweeper: OptunaSweeper, values: OptunaConfig, space: Space, fixed: Sequence[str]
) -> Pruning | None:
    """The pruner that hydra.sweeper names.

    Raises:
        ConfigError: it cannot be used, or a parameter is wrong.
    """
    if values.pruner is None:
        if values.pruner_params:
            raise ConfigError(
                "hydra.sweeper.pruner_params needs a pruner: set hydra.sweeper.pruner"
            )
        return None
    _require_own_launcher(sweeper, "pruner", "where the trials of a batch train together")
    composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)
    # num_epochs can be searched, and it can be computed from a value that is searched.
    lines = [[*fixed, f"{key}={value}"] for key in space for value in extremes(space[key])]
    lengths = [composer.values(line).get("num_epochs") for line in lines]
    longest = max((n for n in lengths if isinstance(n, int)), default=1)  # others are refused later
    return Pruning(values.pruner, values.pruner_params or {}, longest)


def _require_own_launcher(sweeper: OptunaSweeper, key: str, reason: str) -> None:
    """Refuse a setting for other launchers and clusters.

    Raises:
        ConfigError: the launcher cannot do it.
    """
    launcher = sweeper.launcher
    if not isinstance(launcher, PopulationLauncher) or launcher.backend != "joblib":
        raise ConfigError(
            f"hydra.sweeper.{key} applies only to hydra/launcher=population with backend=joblib, "
            f"{reason}: remove it"
        )


def _checked_values(sweeper: OptunaSweeper) -> OptunaConfig:
    """The checked values of hydra.sweeper.

    Raises:
        ConfigError: one is wrong.
    """
    halving = sweeper.config.hydra.launcher.get("halving")
    if OmegaConf.is_config(halving) and halving.get("factor") is not None:
        raise ConfigError(
            "hydra.launcher.halving applies only to a grid, because a search trains one batch of "
            "trials at a time: set hydra.launcher.halving.factor=null"
        )
    values = {field.name: getattr(sweeper, field.name) for field in fields(OptunaConfig)}
    for name in ("params", "pruner_params", "seeds"):
        if OmegaConf.is_config(values[name]):
            values[name] = OmegaConf.to_container(values[name])
    return parse_optuna(values)


def checked_jobs(
    sweeper: OptunaSweeper, search: Search, fixed: Sequence[str], first: Sequence[Mapping[str, Any]]
) -> list[Job]:
    """Check the values that a search can draw: each choice, and both ends of each interval.

    Args:
        sweeper: with the configuration.
        search: the search.
        fixed: the overrides that all trials share.
        first: the values of each trial of the first batch.

    Returns:
        Jobs with these values, and the jobs of the first batch.

    Raises:
        ConfigError: a value of a job is wrong.
    """
    composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)
    ends = [{**first[0], key: v} for key, d in search.space.items() for v in extremes(d)]
    found = []
    for params in (*ends, *first):
        checked = [parse_job(composer.values(line)) for line in jobs(search, fixed, [params])]
        if search.where is None or search.where.allows(params):
            found += checked
    if search.continuous and len({job.data_key for job in found}) > 1:
        raise ConfigError(
            "hydra.sweeper.continuous needs trials on one dataset in one dtype: search neither "
            "data.… nor dtype, or set hydra.sweeper.continuous=false"
        )
    return found
