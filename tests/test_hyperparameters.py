"""The description of the hyperparameters, and what other modules derive from it."""

from __future__ import annotations

import math
from dataclasses import MISSING
from typing import Any

import pytest
import yaml

from pipeline.config import parse_job
from pipeline.execution.fingerprint import fingerprint
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameter, Hyperparameters, Traits
from pipeline.paths import CONF
from tests.test_config import VALUES

DEFAULTS: dict[str, Any] = {name: each.traits.default for name, each in HYPERPARAMETERS.items()}
DIGEST = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("changes", "expected"),  # computed by commit fcaea42
    [
        ({}, "f03a92a077536346d6ddc892b5fe4d8c"),
        (
            {"hidden_size": 64, "l2_reg": 0, "learning_rate": 1},
            "fb3052e3554a51f7cd8aaf34a27312fc",
        ),
        (
            {"momentum": 0.9, "dropout": 0.25, "flip": True},
            "d4b7c04bb2c9fb6f2b4ef0a39b66c034",
        ),
        (
            {
                "dtype": "float64",
                "seed": 2**40,
                "weight_std": 0,
                "batch_size": 1,
                "num_epochs": 1,
                "learning_rate_decay": 1,
            },
            "b4ff4d9a2c13827437929f0950b6714c",
        ),
    ],
)
def test_fingerprints_of_earlier_versions_are_kept(changes: dict[str, Any], expected: str) -> None:
    assert fingerprint(Hyperparameters(**DEFAULTS | changes), DIGEST) == expected


def test_newer_hyperparameter_is_hashed_only_where_it_changes_something() -> None:
    newer = Hyperparameter("nesterov", bool, "…", Traits(False), -math.inf, math.inf, neutral=False)
    assert not newer.is_hashed(False)
    assert newer.is_hashed(True)
    for name in ("momentum", "dropout", "flip"):  # older than this rule: always hashed
        assert HYPERPARAMETERS[name].is_hashed(HYPERPARAMETERS[name].neutral)


def test_older_run_has_the_neutral_value_of_a_newer_hyperparameter() -> None:
    newer = ("momentum", "dropout", "flip")
    old = {key: value for key, value in VALUES.items() if key not in newer}
    job = parse_job(old)
    assert (job.hyperparameters.momentum, job.hyperparameters.dropout) == (0, 0)
    assert job.hyperparameters.flip is False
    assert all(HYPERPARAMETERS[name].neutral is not MISSING for name in newer)


def test_conf_holds_each_hyperparameter_with_its_default_and_meaning() -> None:
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    assert {name: values[name] for name in HYPERPARAMETERS} == DEFAULTS
    comments = dict(line.split(" # ", 1) for line in text.splitlines() if " # " in line)
    meanings = {key.split(":")[0]: comment.strip() for key, comment in comments.items()}
    for name, each in HYPERPARAMETERS.items():
        assert meanings[name] == each.label


def test_description_holds_types_bounds_and_headings() -> None:
    size, dropout = HYPERPARAMETERS["hidden_size"], HYPERPARAMETERS["dropout"]
    assert (size.type, size.minimum, size.limit, size.heading) == (int, 1, math.inf, "H")
    assert (dropout.type, dropout.minimum, dropout.limit) == (float, 0, 1)
    assert dropout.heading == "dropout"
    assert HYPERPARAMETERS["dtype"].type is str
    std = HYPERPARAMETERS["weight_std"]
    assert (std.type, std.minimum, std.words) == (float, 0, ("he",))
    assert HYPERPARAMETERS["learning_rate_decay"].traits.largest_useful == 1
    assert not HYPERPARAMETERS["seed"].traits.has_edge
