"""Checks of a whole command, before Hydra composes its jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pipeline.errors import ConfigError
from pipeline.hyperparameters import HYPERPARAMETERS

# Keys that all jobs of a sweep share, with the reason.
SHARED = {
    "tracking": "all jobs of a sweep share one store",
    "data": "the report compares models on one dataset",
    "select_by": "all models of a sweep are compared by one metric",
    "experiment": "an experiment sets the values to sweep",
}


def check_swept_keys(hydra_config: DictConfig) -> None:
    """Refuse a sweep over a key that all jobs share.

    Raises:
        ConfigError: `tracking.*`, `data`, `data.*`, `select_by` or `experiment` is swept.
    """
    for override in _overrides(hydra_config, SHARED):
        key = override.key_or_group
        reason = SHARED.get(key.split(".")[0].split("@")[0])
        if reason and override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line}: {key} cannot be swept, because {reason}: give it one "
                "value, and start one sweep per value"
            )


def swept_hyperparameters(hydra_config: DictConfig) -> tuple[str, ...]:
    """The hyperparameters with several values, from the command line and from an experiment."""
    overrides = _overrides(hydra_config, HYPERPARAMETERS)
    swept = {override.key_or_group: override.is_sweep_override() for override in overrides}
    if hydra_config.sweeper.get("seeds"):
        swept["seed"] = True
    return tuple(name for name in HYPERPARAMETERS if swept.get(name))


def check_single_run(hydra_config: DictConfig) -> None:
    """Refuse to train one model if the command means a sweep.

    Raises:
        ConfigError: the chosen experiment is a sweep.
    """
    experiment = OmegaConf.select(hydra_config, "runtime.choices.experiment")
    params: Any = OmegaConf.to_container(hydra_config.sweeper).get("params")  # type: ignore[union-attr]
    if experiment is None or not params:
        return
    trials = hydra_config.sweeper.get("n_trials")
    sizes = [_num_values(override) for override in _parse(_lines(params))]
    if trials is not None or None in sizes:
        kind = f"search of {trials} trials" if trials is not None else "search"
    else:
        kind = f"grid of {math.prod(cast(list[int], sizes))} jobs"
    raise ConfigError(f"experiment={experiment} is a {kind}: add -m")


def _num_values(override: Override) -> int | None:
    """How many values an override has; None: an interval."""
    if not override.is_sweep_override():
        return 1
    if override.is_interval_sweep():
        return None
    return sum(1 for _ in override.sweep_iterator())


def _overrides(hydra_config: DictConfig, keys: Iterable[str]) -> list[Override]:
    """The overrides of some keys, those of an experiment first, then those of the command line."""
    # Read without resolving: an interpolation in these texts may be invalid.
    sweeper: Any = OmegaConf.to_container(hydra_config.sweeper)
    params = sweeper.get("params")
    lines = _lines(params) if isinstance(params, dict) else []
    lines += cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))
    return _parse([line for line in lines if line.lstrip("+").startswith(tuple(keys))])


def _lines(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _parse(lines: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(lines)
