"""The registry of dataset kinds: each module in this package defines one.

To add a kind, add a module here that defines `KIND`, and `conf/data/<module>.yaml`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from pipeline.data.raw import Kind
from pipeline.errors import DataError


@functools.cache
def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds in alphabetical order, without importing their modules."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def find_kind(name: str) -> Kind:
    """Return the kind of dataset with this name.

    Raises:
        DataError: there is no such kind.
    """
    if name not in kind_names():
        raise DataError(f"data.name must be one of {', '.join(kind_names())}, not {name!r}")
    kind: Kind = importlib.import_module(f"{__name__}.{name}").KIND
    return kind
