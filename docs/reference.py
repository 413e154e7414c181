"""Writes docs/reference.md from the schema and the files in conf/: python docs/reference.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.paths import CONF
from pipeline.schema import schema

PATH = Path(__file__).with_name("reference.md")
HEAD = """\
# Configuration reference

`make schema` writes this page from the schema of the configuration. Set a value on the command
line as `key=value`, or in a file of `conf/`. With `-m`, a list `key=value1,value2` is a sweep.
`pipeline --help` prints most of these values.
"""
# Title, prefix of the keys, file with the defaults, text under the title
SECTIONS = (
    ("Hyperparameters", "", "config.yaml", "They belong to one model and determine its numbers."),
    ("Data", "data.", "", "`data=NAME` selects a file of `conf/data/`, which holds the defaults."),
    ("Tracking", "tracking.", "config.yaml", "These values are equal for all jobs of a sweep."),
    (
        "Launcher",
        "hydra.launcher.",
        "hydra/launcher/population.yaml",
        "Values of the default launcher, `hydra/launcher=population`. None of them changes a "
        "result, except that halving stops jobs early.",
    ),
    (
        "Grid sweeper",
        "hydra.sweeper.",
        "hydra/sweeper/grid.yaml",
        "Values of the default sweeper, `hydra/sweeper=grid`.",
    ),
    (
        "Optuna sweeper",
        "hydra.sweeper.",
        "hydra/sweeper/optuna.yaml",
        "Values of `hydra/sweeper=optuna`.",
    ),
)
GROUPS = {
    "Data": "data",
    "Tracking": "tracking",
    "Launcher": "launcher",
    "Grid sweeper": "grid",
    "Optuna sweeper": "optuna",
}


def text() -> str:
    """The content of docs/reference.md."""
    whole = schema()
    parts = [HEAD]
    for title, prefix, file, about in SECTIONS:
        group = whole if title == "Hyperparameters" else whole["$defs"][GROUPS[title]]
        defaults = yaml.safe_load((CONF / file).read_text()) if file else {}
        if title == "Tracking":
            defaults = defaults["tracking"]
        rows = "\n".join(_rows(group["properties"], prefix, defaults, with_defaults=bool(file)))
        heading = (
            "| Key | Type | Default | Meaning |\n|---|---|---|---|"
            if file
            else "| Key | Type | Meaning |\n|---|---|---|"
        )
        parts.append(f"## {title}\n\n{about}\n\n{heading}\n{rows}\n")
    return "\n".join(parts)


def _rows(
    properties: Mapping[str, Any], prefix: str, defaults: Mapping[str, Any], with_defaults: bool
) -> Iterator[str]:
    for key, value in properties.items():
        if "properties" in value and key != "hydra":
            nested = value["properties"]
            yield from _rows(nested, f"{prefix}{key}.", defaults.get(key, {}), with_defaults)
        elif "anyOf" in value and key != "_target_":
            cells = [f"`{prefix}{key}`", _type(value["anyOf"])]
            if with_defaults:
                cells.append(f"`{_show(defaults[key])}`")
            yield f"| {' | '.join([*cells, _escape(value['description'])])} |"


def _type(kinds: list[dict[str, Any]]) -> str:
    names = [_kind(kind) for kind in kinds if "$ref" not in kind]
    return " or ".join(_escape(name) for name in names)


def _kind(kind: Mapping[str, Any]) -> str:
    if "const" in kind:
        return str(kind["const"])
    if "enum" in kind:
        return ", ".join(map(str, kind["enum"]))
    names = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number"}
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {kind[key]:g}" for key, sign in bounds.items() if key in kind]
    return " ".join([names.get(kind["type"], kind["type"]), ", ".join(limits)]).strip()


def _show(value: Any) -> str:
    """A value as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
