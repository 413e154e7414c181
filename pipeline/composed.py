"""Read the values of a job from the configuration that Hydra has composed.

Relative paths count from the directory in which the command started.
"""

from __future__ import annotations

from typing import Any, cast

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import TrackingConfig, parse_tracking
from pipeline.paths import START_DIR


def plain_values(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain Python values, interpolations resolved.

    Raises:
        CompactHydraException: an interpolation cannot be resolved.
    """
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise CompactHydraException(" ".join(str(error).split())) from None


def task_part(config: DictConfig) -> DictConfig:
    """A job's configuration without Hydra's own node."""
    part = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.copy_cache(from_config=config, to_config=part)
    return part


def job_values(config: DictConfig) -> dict[str, Any]:
    """The values of a job, with absolute paths.

    Relative paths count from the directory in which the command started, also where
    hydra.job.chdir=true gives each job a directory of its own.

    Raises:
        CompactHydraException: an interpolation cannot be resolved.
    """
    values = plain_values(config)
    for group, key in (("data", "dir"), ("data", "file"), ("tracking", "uri")):
        texts = values.get(group)
        if isinstance(texts, dict) and isinstance(texts.get(key), str):
            texts[key] = _absolute(texts[key])
    return values


def tracking_config(config: DictConfig) -> TrackingConfig:
    """The checked group `tracking` of a configuration.

    Raises:
        PipelineError: one of its values is wrong.
    """
    group = OmegaConf.select(config, "tracking")
    if not isinstance(group, DictConfig):
        return parse_tracking(group)
    values = plain_values(group)
    if isinstance(values.get("uri"), str):
        values["uri"] = _absolute(values["uri"])
    return parse_tracking(values)


def _absolute(location: str) -> str:
    """A path or the URI of a sqlite file, relative to the directory of the command."""
    scheme = "sqlite:///" if location.startswith("sqlite:///") else ""
    path = location.removeprefix(scheme)
    if not path or path == ":memory:" or (not scheme and ":" in path):
        return location
    return scheme + str(START_DIR / path)
