"""Read the values of a job from the configuration that Hydra has composed.

Relative paths count from the directory in which the command started.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import TrackingConfig, parse_tracking
from pipeline.files import atomic_write
from pipeline.paths import START_DIR
from pipeline.uris import redact


def plain_values(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain Python values, interpolations resolved.

    Raises:
        CompactHydraException: an interpolation cannot be resolved.
    """
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise CompactHydraException(" ".join(str(error).split())) from None


def redacted(config: DictConfig) -> DictConfig:
    """A copy of a configuration without passwords. Interpolations stay interpolations."""
    copied = OmegaConf.create(_without_passwords(OmegaConf.to_container(config, enum_to_str=True)))
    OmegaConf.copy_cache(from_config=config, to_config=copied)
    return cast(DictConfig, copied)


def redact_saved(folder: Path, names: Sequence[str]) -> None:
    """Remove passwords from files that Hydra has written; a missing file is skipped."""
    for path in (folder / name for name in names):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8")
            if (safe := redact(text)) != text:
                atomic_write(path, functools.partial(_write, safe))


def task_part(config: DictConfig) -> DictConfig:
    """A job's configuration without Hydra's own node."""
    part = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.copy_cache(from_config=config, to_config=part)
    return part


def job_values(config: DictConfig) -> dict[str, Any]:
    """The values of a job, with absolute paths. `tracking.uri` stays as it was written.

    Relative paths count from the directory in which the command started, also where
    hydra.job.chdir=true gives each job a directory of its own. `tracking.uri` can be an
    interpolation of an environment variable with a password, and these values are saved.

    Raises:
        CompactHydraException: an interpolation cannot be resolved.
    """
    values = plain_values(config)
    data, tracking = values.get("data"), values.get("tracking")
    for key in ("dir", "file"):
        if isinstance(data, dict) and isinstance(data.get(key), str):
            data[key] = _absolute(data[key])
    if isinstance(tracking, dict) and isinstance(tracking.get("uri"), str):
        tracking["uri"] = OmegaConf.to_container(config.tracking)["uri"]  # type: ignore[index,call-overload]
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


def _write(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _without_passwords(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_passwords(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_passwords(value) for value in node]
    return redact(node) if isinstance(node, str) else node


def _absolute(location: str) -> str:
    """A path or the URI of a sqlite file, relative to the directory of the command."""
    scheme = "sqlite:///" if location.startswith("sqlite:///") else ""
    path = location.removeprefix(scheme)
    if not path or path == ":memory:" or (not scheme and ":" in path):
        return location
    return scheme + str(START_DIR / path)
