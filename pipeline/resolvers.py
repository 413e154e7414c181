"""The interpolations that conf/ uses: importing this module registers them with OmegaConf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from pipeline.expression import Expression
from pipeline.paths import CONF, default_tracking_uri, outputs_dir
from pipeline.uris import sqlite_uri


def _explained(file: str, prefix: str = "") -> str:
    """The values of a file in conf/ with their comments, for --help."""
    text = (CONF / file).read_text(encoding="utf-8").partition("\nhydra:")[0]
    values = text[text.index("\n\n") :] if file == "config.yaml" else text
    group, lines = "", []
    for line in values.splitlines():
        if not line.startswith(" "):
            group = f"{line[:-1]}." if line.endswith(":") else ""
        if "#" in line and not line.startswith("#"):
            lines.append(f"  {prefix}{group}{line.strip()}".replace("$", "$$"))
    return "\n".join(lines)


def _file_stem(file: str | None, default: str) -> str:
    """The name of a file without its folder and its suffixes; the default if there is no file."""
    return Path(file).name.split(".")[0] or default if file else default


def _outputs() -> str:
    """The folder of everything that a command writes."""
    return str(outputs_dir())


def _database(name: str) -> str:
    """The URI of a sqlite database in the outputs folder."""
    return sqlite_uri(outputs_dir() / name)


def _calc(text: str, *, _root_: DictConfig) -> Any:
    """A value that is computed from other values, as ${calc:20000 // hidden_size}."""
    return Expression(text, "calc").evaluate(cast(Mapping[str, Any], _root_))


OmegaConf.register_new_resolver("calc", _calc, replace=True)
OmegaConf.register_new_resolver("explained", _explained, replace=True)
OmegaConf.register_new_resolver("file_stem", _file_stem, replace=True)
OmegaConf.register_new_resolver("outputs", _outputs, replace=True)
OmegaConf.register_new_resolver("database", _database, replace=True)
OmegaConf.register_new_resolver("default_tracking_uri", default_tracking_uri, replace=True)
