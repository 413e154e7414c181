"""conf/schema.json: current, and a description of every YAML file in conf/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from omegaconf import OmegaConf

from pipeline import schema
from pipeline.config import HalvingConfig, LauncherConfig, TrackingConfig
from pipeline.paths import CONF
from pipeline.search.config import GridConfig, OptunaConfig
from pipeline.validation import description

FILES = sorted(CONF.rglob("*.yaml"))
MODELINE = "# yaml-language-server: $schema="


def schema_of(path: Path) -> dict[str, Any]:
    """The schema that a YAML file names for editors."""
    (line,) = (line for line in path.read_text().splitlines() if line.startswith(MODELINE))
    file, _, pointer = line.removeprefix(MODELINE).partition("#")
    whole: dict[str, Any] = json.loads((path.parent / file).read_text())
    return {"$ref": f"#{pointer}", "$defs": whole["$defs"]} if pointer else whole


def errors(path: Path, values: object) -> list[str]:
    validator = jsonschema.Draft7Validator(schema_of(path))
    return [error.message for error in validator.iter_errors(values)]


def test_schema_is_current() -> None:
    assert schema.PATH.read_text(encoding="utf-8") == schema.text(), "run: make schema"


def test_hyperparameters_of_the_configuration_are_current() -> None:
    assert schema.CONFIG.read_text(encoding="utf-8") == schema.config_text(), "run: make schema"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_file_fits_its_schema(path: Path) -> None:
    assert errors(path, OmegaConf.to_container(OmegaConf.load(path))) == []


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.yaml", {"hiden_size": 128}),
        ("config.yaml", {"hidden_size": 0}),
        ("config.yaml", {"flip": 1}),
        ("config.yaml", {"tracking": {"reuse": "no"}}),
        ("experiment/digits.yaml", {"learning_rate": 0}),
        ("experiment/digits.yaml", {"hydra": {"sweeper": {"params": 3}}}),
        ("data/digits.yaml", {"url": 3}),
        ("hydra/launcher/population.yaml", {"shards": 0}),
        ("hydra/launcher/population.yaml", {"halving": {"factor": 1}}),
        ("hydra/sweeper/optuna.yaml", {"sampler": "bayes"}),
        ("hydra/sweeper/grid.yaml", {"max_batch_size": 0}),
    ],
)
def test_schema_refuses_wrong_keys_and_values(file: str, values: object) -> None:
    assert errors(CONF / file, values)


def test_schema_accepts_an_interpolation_for_a_number() -> None:
    assert errors(CONF / "config.yaml", {"hidden_size": "${oc.env:SIZE}"}) == []


@pytest.mark.parametrize(
    ("file", "groups"),
    [
        ("config.yaml", [TrackingConfig]),
        ("hydra/launcher/population.yaml", [LauncherConfig, HalvingConfig]),
        ("hydra/sweeper/optuna.yaml", [OptunaConfig]),
        ("hydra/sweeper/grid.yaml", [GridConfig]),
    ],
)
def test_comment_of_each_value_is_its_description(file: str, groups: list[type[Any]]) -> None:
    lines = (CONF / file).read_text(encoding="utf-8").splitlines()
    comments = {
        value.split(":")[0].strip(): comment.strip()
        for value, mark, comment in (line.partition(" # ") for line in lines)
        if mark
    }
    for group in groups:
        for key in group.__dataclass_fields__:
            if key != "halving":
                assert comments[key] == description(group, key)
