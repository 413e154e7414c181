"""Checks of a whole command, before Hydra composes its jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pipeline.config import DataConfig, HalvingConfig, LauncherConfig, TrackingConfig
from pipeline.errors import ConfigError
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.ranges import expanded
from pipeline.search.config import GridConfig, OptunaConfig
from pipeline.validation import unknown_key

# Keys that all jobs of a sweep share, with the reason.
SHARED = {
    "tracking": "all jobs of a sweep share one store",
    "data": "the report compares models on one dataset",
    "select_by": "all models of a sweep are compared by one metric",
    "experiment": "an experiment sets the values to sweep",
}

# The classes that hold the keys of a group.
GROUPS: Mapping[str, tuple[Any, ...]] = {
    "": (Hyperparameters,),
    "data": (DataConfig,),
    "tracking": (TrackingConfig,),
    "hydra.launcher": (LauncherConfig,),
    "hydra.launcher.halving": (HalvingConfig,),
    "hydra.sweeper": (GridConfig, OptunaConfig),
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
        ConfigError: the chosen experiment is a sweep, or a value is a range.
    """
    experiment = OmegaConf.select(hydra_config, "runtime.choices.experiment")
    params: Any = OmegaConf.to_container(hydra_config.sweeper).get("params")  # type: ignore[union-attr]
    if experiment is None or not params:
        for override in _overrides(hydra_config, HYPERPARAMETERS):
            if override.is_sweep_override():  # a range: Hydra itself refuses a list
                raise ConfigError(f"{override.input_line} has several values: add -m")
        return
    trials = hydra_config.sweeper.get("n_trials")
    sizes = [_num_values(override) for override in _parse(_lines(params))]
    if trials is not None or None in sizes:
        kind = f"search of {trials} trials" if trials is not None else "search"
    else:
        kind = f"grid of {math.prod(cast(list[int], sizes))} jobs"
    raise ConfigError(f"experiment={experiment} is a {kind}: add -m")


def explain_unknown_key(key: str) -> str | None:
    """A sentence about a key that does not exist, with the nearest one; None: it is one of Hydra's.

    Args:
        key: with its groups, as data.dir or hydra.launcher.shards.
    """
    group, _, name = key.rpartition(".")
    if group not in GROUPS and group.split(".")[0] not in ("data", "tracking", "hydra"):
        group, name = "", group.split(".")[0]
    known = [each.name for cls in GROUPS.get(group, ()) for each in fields(cls)]
    if not group:
        known += ["data", "tracking", "experiment"]
    return unknown_key(name, known, f"{group}." if group else "") if known else None


def _num_values(override: Override) -> int | None:
    """How many values an override has; None: an interval."""
    if not override.is_sweep_override():
        return 1
    if override.is_interval_sweep():
        return None
    return sum(1 for _ in override.sweep_iterator())


def _overrides(hydra_config: DictConfig, keys: Iterable[str]) -> list[Override]:
    """The overrides of some keys: first from the experiment, then from the command line."""
    # Read without resolving: an interpolation in these texts may be invalid.
    sweeper: Any = OmegaConf.to_container(hydra_config.sweeper)
    params = sweeper.get("params")
    lines = _lines(params) if isinstance(params, dict) else []
    lines += cast(list[str], OmegaConf.to_container(hydra_config.overrides.task))
    return _parse([line for line in lines if line.lstrip("+").startswith(tuple(keys))])


def _lines(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _parse(lines: list[str]) -> list[Override]:
    return expanded(OverridesParser.create().parse_overrides(lines))
