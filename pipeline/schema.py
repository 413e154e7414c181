"""The JSON Schema of the files in conf/, and the hyperparameters in conf/config.yaml.

`python -m pipeline.schema` writes both.

Each file in conf/ names the schema, or its part `#/$defs/<group>`, in a comment that begins with
`yaml-language-server`. Editors with a YAML language server then complete its keys, show their
meanings and mark wrong values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from pipeline.config import DataConfig, HalvingConfig, LauncherConfig, TrackingConfig
from pipeline.files import atomic_write
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.paths import CONF
from pipeline.search.config import GridConfig, OptunaConfig

PATH = CONF / "schema.json"
CONFIG = CONF / "config.yaml"
INTERPOLATION = {"$ref": "#/$defs/interpolation"}


def schema() -> dict[str, Any]:
    """The schema of conf/config.yaml and of the files in conf/experiment/.

    No key is required, because Hydra composes a configuration from several files.
    """
    hyperparameters = _properties(Hyperparameters)
    for name, each in HYPERPARAMETERS.items():
        hyperparameters[name]["default"] = each.traits.default
    launcher = _properties(LauncherConfig)
    launcher["halving"] = {
        **_group(HalvingConfig),
        "description": launcher["halving"]["description"],
    }
    target = {"_target_": {"type": "string", "description": "the class that Hydra creates"}}
    swept = {"params": _properties(GridConfig)["params"]}
    hydra = {
        "launcher": _object(launcher),
        "sweeper": {"type": "object", "properties": swept},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of the pipeline",
        **_object(
            {
                "defaults": {
                    "type": "array",
                    "items": {"type": ["string", "object"]},
                    "description": "Hydra's defaults list: the files that this one builds on",
                },
                **hyperparameters,
                "data": {"$ref": "#/$defs/data"},
                "tracking": {"$ref": "#/$defs/tracking"},
                "hydra": {
                    "type": "object",
                    "properties": hydra,
                    "description": "Hydra's own values",
                },
            }
        ),
        "$defs": {
            "interpolation": {
                "type": "string",
                "pattern": r"\$\{.+\}",
                "description": "a value that Hydra reads from elsewhere, as ${data.name}",
            },
            "data": _group(DataConfig),
            "tracking": _group(TrackingConfig),
            "launcher": _object({**target, **launcher}),
            "optuna": _object({**target, **_properties(OptunaConfig)}),
            "grid": _object({**target, **_properties(GridConfig)}),
        },
    }


def text() -> str:
    """The content of conf/schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def config_text() -> str:
    """The content of conf/config.yaml, whose second paragraph holds the hyperparameters."""
    head, _, *rest = CONFIG.read_text(encoding="utf-8").split("\n\n")
    values = [f"{name}: {_yaml(each.traits.default)}" for name, each in HYPERPARAMETERS.items()]
    width = max(map(len, values))
    lines = [
        f"{value:<{width}}  # {each.label}"
        for value, each in zip(values, HYPERPARAMETERS.values(), strict=True)
    ]
    return "\n\n".join([head, "\n".join(lines), *rest])


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def main() -> None:
    """Write conf/schema.json and conf/config.yaml."""
    atomic_write(PATH, lambda file: file.write(text().encode()))
    config = config_text()
    atomic_write(CONFIG, lambda file: file.write(config.encode()))


def _group(cls: type[Any]) -> dict[str, Any]:
    return _object(_properties(cls))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _properties(cls: type[Any]) -> dict[str, dict[str, Any]]:
    """The keys of a group. Hydra's interpolations may stand for every value."""
    generated = TypeAdapter(cls).json_schema()["properties"]
    return {field.name: _property(generated[field.name]) for field in fields(cls)}


def _property(generated: Mapping[str, Any]) -> dict[str, Any]:
    outer = {key: generated[key] for key in ("description", "default") if key in generated}
    value = {key: value for key, value in generated.items() if key not in (*outer, "title")}
    kinds: Iterable[Any] = value["anyOf"] if set(value) == {"anyOf"} else [value]
    return {"anyOf": [*kinds, INTERPOLATION], **outer}


if __name__ == "__main__":
    main()
