"""The registry of dataset kinds: each module in this package defines one.

To add a kind, add a module here with a function `read(config: DataConfig) -> RawDataset`, and
`conf/data/<module>.yaml` with the values that the function uses.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import replace

from pipeline.config import DataConfig
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError


@functools.cache
def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds in alphabetical order, without importing their modules."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def read_raw(config: DataConfig) -> RawDataset:
    """Read a dataset with the module of its kind.

    Raises:
        DataError: there is no such kind, or the module refuses the dataset.
    """
    if config.kind not in kind_names():
        raise DataError(f"data.kind must be one of {', '.join(kind_names())}, not {config.kind!r}")
    raw: RawDataset = importlib.import_module(f"{__name__}.{config.kind}").read(config)
    if config.whiten is None:
        return raw
    if raw.scaling == "none":
        raise DataError(
            "data.whiten needs scaled rows: set data.scaling to another value than none"
        )
    choices = {**raw.choices, "data.whiten": f"{config.whiten:g}"}
    return replace(raw, whiten=config.whiten, choices=choices)
