"""What a job may be, and what is said of one that may not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import parse_job, short
from pipeline.errors import ConfigError
from tests.conftest import TRACKING

VALUES: dict[str, Any] = {
    "hidden_size": 128,
    "l2_reg": 0,
    "learning_rate": 0.1,
    "learning_rate_decay": 1,
    "batch_size": 100,
    "num_epochs": 1,
    "weight_std": 0,
    "seed": 0,
    "dtype": "float32",
    "momentum": 0,
    "dropout": 0,
    "flip": False,
    "data": {"name": "digits", "dir": None, "url": None, "files": {}},
    "tracking": TRACKING,
}


def test_a_job_is_its_values() -> None:
    job = parse_job(VALUES)
    assert job.hyperparameters.hidden_size == 128
    assert job.data.name == "digits"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("hidden_size", 0, "hidden_size must be a whole number of at least 1, not 0"),
        ("hidden_size", "many", "hidden_size must be a whole number of at least 1, not 'many'"),
        ("hidden_size", 1.5, "hidden_size must be a whole number"),
        ("hidden_size", True, "hidden_size must be a whole number"),
        ("l2_reg", -1e-4, "l2_reg must be a finite number of at least 0, not -0.0001"),
        ("learning_rate", 0, "learning_rate must be a finite number above 0, not 0"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0"),
        ("learning_rate", "fast", "learning_rate must be a finite number above 0, not 'fast'"),
        ("learning_rate_decay", float("inf"), "learning_rate_decay must be a finite number"),
        ("batch_size", None, "batch_size must be a whole number of at least 1, not None"),
        ("momentum", 1, "momentum must be below 1, not 1"),
        ("dropout", -0.5, "dropout must be a finite number of at least 0, not -0.5"),
        ("flip", 1, "flip must be true or false, not 1"),
        ("num_epochs", -1, "num_epochs must be a whole number of at least 1, not -1"),
        ("seed", -1, "seed must be a whole number of at least 0, not -1"),
        ("dtype", "float16", "dtype must be float32 or float64, not 'float16'"),
        ("nesterov", 0.9, "unknown key nesterov: the keys are hidden_size,"),
        ("data", "digits", "data must be a group of values"),
        ("data", {"name": 3, "dir": None, "url": None, "files": {}}, "data.name must be"),
        ("data", {"name": "a", "dir": 3, "url": None, "files": {}}, "data.dir must be text"),
        ("data", {"name": "a", "dir": None, "url": None, "files": []}, "data.files must map"),
        ("data", {"dir": None}, "data.name is missing"),
        ("tracking", TRACKING | {"uri": ""}, "tracking.uri must be a text"),
        ("tracking", TRACKING | {"reuse": "no"}, "tracking.reuse must be true or false, not 'no'"),
        ("tracking", TRACKING | {"checkpoint_minutes": 0}, "tracking.checkpoint_minutes must be"),
    ],
)
def test_bad_values_are_named_in_one_sentence(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_job(VALUES | {key: value})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_value_is_named() -> None:
    values = {key: value for key, value in VALUES.items() if key != "seed"}
    with pytest.raises(ConfigError, match="seed is missing: set it with seed="):
        parse_job(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3, "0.3"), (1e-4, "1e-4"), (0.03, "0.03"), (0, "0"), (2.5e-5, "2.5e-5"), (1, "1")],
)
def test_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert short(value) == text
