"""Job configurations for a large grid: composed once per choice of groups, then only updated."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict

from pipeline.composed import job_values, task_part
from pipeline.hydra_compat import apply_overrides, override_dirname

Lines = tuple[str, ...]


class SharedConfig(NamedTuple):
    """The configuration of one job at a time: the next job changes it."""

    full: DictConfig
    task: DictConfig  # without Hydra's own node


class Composer:
    """Composes the jobs of one sweep, to the same configurations as Hydra's own loader.

    Hydra takes about 100 ms per job. Jobs that choose the same groups differ only in plain values,
    so they share one composition. A copy of it takes about 7 ms. Where the configuration is needed
    for a moment only, the jobs even share the copy.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        """Compose on top of `master`, the configuration of the sweep."""
        self._loader = loader
        self._master = master
        self._bases: dict[Lines, DictConfig] = {}
        self._shared: dict[tuple[Lines, Lines], SharedConfig] = {}  # by choices and changed keys
        self._values: dict[Lines, dict[str, Any]] = {}
        self._groups: dict[str, Any] = {}  # the latest values of each group
        self._parse = functools.cache(OverridesParser.create().parse_override)
        self._is_group = functools.cache(lambda key: bool(loader.get_group_options(key)))

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a job.

        Raises:
            ConfigCompositionException: an override does not fit the configuration.
        """
        values, choices = self._split(overrides)
        config = copy.deepcopy(self._base(choices))
        self._update(config, values, overrides)
        return config

    def compose_shared(self, overrides: Sequence[str]) -> SharedConfig:
        """The configuration of a job until the next call.

        Raises:
            ConfigCompositionException: an override does not fit the configuration.
        """
        values, choices = self._split(overrides)
        key = choices, tuple(override.key_or_group for override in values)
        if key not in self._shared:
            config = copy.deepcopy(self._base(choices))
            self._shared[key] = SharedConfig(config, task_part(config))
        shared = self._shared[key]
        apply_overrides(values, shared.task)
        self._update(shared.full, values, overrides)
        return shared

    def values(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The values of a job, as `job_values` reads them. They are read once.

        Raises:
            ConfigCompositionException: an override does not fit the configuration.
            CompactHydraException: an interpolation cannot be resolved.
        """
        key = tuple(overrides)
        if key not in self._values:
            values = job_values(self.compose_shared(overrides).task)
            for name, value in values.items():  # jobs share equal groups
                if isinstance(value, dict):
                    if self._groups.get(name) == value:
                        values[name] = self._groups[name]
                    self._groups[name] = values[name]
            self._values[key] = values
        return self._values[key]

    def _split(self, overrides: Sequence[str]) -> tuple[list[Override], Lines]:
        """The overrides that only replace plain values, and the lines of the others."""
        parsed = [self._parse(line) for line in overrides]
        values = [override for override in parsed if self._is_value(override)]
        return values, tuple(
            line for line, o in zip(overrides, parsed, strict=True) if o not in values
        )

    def _base(self, choices: Lines) -> DictConfig:
        if choices not in self._bases:
            self._bases[choices] = self._loader.load_sweep_config(self._master, list(choices))
        return self._bases[choices]

    def _update(self, config: DictConfig, values: list[Override], overrides: Sequence[str]) -> None:
        apply_overrides(values, config)
        parsed = [self._parse(line) for line in overrides]
        task = [override for override in parsed if not override.is_hydra_override()]
        with open_dict(config.hydra):
            config.hydra.overrides.task = [override.input_line for override in task]
            names = config.hydra.job.config.override_dirname
            config.hydra.job.override_dirname = override_dirname(task, names)

    def _is_value(self, override: Override) -> bool:
        """Whether an override only replaces a plain value, and so cannot change the rest."""
        return (
            not override.is_hydra_override()
            and not (override.is_add() or override.is_force_add() or override.is_delete())
            and override.package is None
            and not isinstance(override.value(), dict | list)
            and not self._is_group(override.key_or_group)
        )
