"""Values of the configuration: what is accepted, and the sentence for what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config import parse_job, parse_launcher, short
from pipeline.errors import ConfigError
from pipeline.search.config import parse_grid, parse_optuna
from tests.conftest import TRACKING

DATA: dict[str, Any] = {"name": "digits", "dir": None, "url": None, "files": {}}
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
    "data": DATA,
    "tracking": TRACKING,
}
LAUNCHER: dict[str, Any] = {
    "shards": None,
    "max_memory": None,
    "halving": {"factor": None, "min_epochs": 1},
    "backend": "joblib",
    "scheduler": None,
    "max_failures": None,
    "retries": 0,
    "dry_run": False,
}
OPTUNA: dict[str, Any] = {
    "sampler": "tpe",
    "seed": 0,
    "n_trials": 64,
    "continuous": False,
    "batch_size": 8,
    "study": None,
    "storage": "sqlite:///optuna.db",
    "seeds": None,
    "pruner": None,
    "pruner_params": None,
    "where": None,
    "budget": None,
    "params": {},
}
TINY, BELOW_ONE = 5e-324, 1 - 2**-53  # the neighbours of 0 and 1


def parse_everything(key: str, value: Any) -> None:
    """Check a configuration in which one value differs from the default."""
    group, _, name = key.rpartition(".")
    match group:
        case "hydra.launcher":
            parse_launcher(LAUNCHER | {name: value})
        case "hydra.launcher.halving":
            parse_launcher(LAUNCHER | {"halving": LAUNCHER["halving"] | {name: value}})
        case "hydra.sweeper":
            parse_optuna(OPTUNA | {name: value})
        case "":
            parse_job(VALUES | {name: value})
        case _:
            parse_job(VALUES | {group: VALUES[group] | {name: value}})


def test_job_has_the_values_of_its_configuration() -> None:
    job = parse_job(VALUES)
    assert job.hyperparameters.hidden_size == 128
    assert job.data.name == "digits"


@pytest.mark.parametrize(
    ("key", "allowed", "refused", "words"),
    [
        ("hidden_size", 1, 0, "a whole number of at least 1"),
        ("l2_reg", 0, -TINY, "a finite number of at least 0"),
        ("learning_rate", TINY, 0, "a finite number above 0"),
        ("learning_rate_decay", TINY, 0, "a finite number above 0"),
        ("batch_size", 1, 0, "a whole number of at least 1"),
        ("num_epochs", 1, 0, "a whole number of at least 1"),
        ("weight_std", 0, -TINY, "a finite number of at least 0 or he"),
        ("weight_std", "he", "she", "a finite number of at least 0 or he"),
        ("ema", 0, -TINY, "a finite number of at least 0 and below 1"),
        ("ema", BELOW_ONE, 1, "a finite number of at least 0 and below 1"),
        ("mixup", 0, -TINY, "a finite number of at least 0"),
        ("seed", 0, -1, "a whole number of at least 0"),
        ("momentum", 0, -TINY, "a finite number of at least 0 and below 1"),
        ("momentum", BELOW_ONE, 1, "a finite number of at least 0 and below 1"),
        ("dropout", 0, -TINY, "a finite number of at least 0 and below 1"),
        ("dropout", BELOW_ONE, 1.0, "a finite number of at least 0 and below 1"),
        ("data.val_fraction", 0.1, 0, "a finite number above 0"),
        ("data.test_fraction", 0, -TINY, "a finite number of at least 0"),
        ("data.split_seed", 0, -1, "a whole number of at least 0"),
        ("tracking.checkpoint_minutes", TINY, 0, "a finite number above 0"),
        ("hydra.launcher.shards", 1, 0, "a whole number of at least 1 or null"),
        ("hydra.launcher.shards", None, -1, "a whole number of at least 1 or null"),
        ("hydra.launcher.max_memory", TINY, 0, "a finite number above 0 or null"),
        ("hydra.launcher.halving.factor", 2, 1, "a whole number of at least 2 or null"),
        ("hydra.launcher.halving.min_epochs", 1, 0, "a whole number of at least 1"),
        ("hydra.sweeper.seed", 0, -1, "a whole number of at least 0"),
        ("hydra.sweeper.n_trials", 1, 0, "a whole number of at least 1"),
        ("hydra.sweeper.batch_size", 1, 0, "a whole number of at least 1"),
    ],
)
def test_each_bound_holds_on_both_sides(
    key: str, allowed: object, refused: object, words: str
) -> None:
    parse_everything(key, allowed)
    with pytest.raises(ConfigError) as caught:
        parse_everything(key, refused)
    assert str(caught.value) == f"{key} must be {words}, not {refused!r}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", "many", "hidden_size must be a whole number of at least 1, not 'many'"),
        ("hidden_size", 1.5, "hidden_size must be a whole number of at least 1, not 1.5"),
        ("hidden_size", True, "hidden_size must be a whole number of at least 1, not True"),
        ("learning_rate", float("nan"), "learning_rate must be a finite number above 0, not nan"),
        ("learning_rate", "fast", "learning_rate must be a finite number above 0, not 'fast'"),
        ("learning_rate_decay", float("inf"), "must be a finite number above 0, not inf"),
        ("batch_size", None, "batch_size must be a whole number of at least 1, not None"),
        ("flip", 1, "flip must be true or false, not 1"),
        ("dtype", "float16", "dtype must be float32 or float64, not 'float16'"),
        ("optimizer", 0.9, "unknown key optimizer: the keys are hidden_size,"),
        ("data", "digits", "data must be a group of values, not 'digits'"),
        ("data", {"dir": None}, "data.name is missing: set it with data.name=…"),
        ("data.name", 3, "data.name must be a text that is not empty, not 3"),
        ("data.dir", 3, "data.dir must be a text or null, not 3"),
        ("data.files", [], "data.files must be a group of texts, not []"),
        ("data.files", {"a": 1}, "data.files must be a group of texts, not {'a': 1}"),
        ("tracking.uri", "", "tracking.uri must be a text that is not empty, not ''"),
        ("tracking.uri", " ", "tracking.uri must be a text that is not empty, not ' '"),
        ("tracking.reuse", "no", "tracking.reuse must be true or false, not 'no'"),
        (
            "hydra.launcher.halving",
            2,
            "hydra.launcher.halving must be a group of values, not 2: set "
            "hydra.launcher.halving.factor or hydra.launcher.halving.min_epochs",
        ),
        ("hydra.launcher.dry_run", "yes", "hydra.launcher.dry_run must be true or false"),
        ("hydra.sweeper.continuous", "often", "hydra.sweeper.continuous must be true or false"),
        ("hydra.sweeper.sampler", "bayes", "must be tpe, cmaes, qmc, random or grid, not 'bayes'"),
        ("select_by", "f1", "select_by must be val_acc, val_loss or balanced_acc, not 'f1'"),
        (
            "hydra.sweeper.params",
            "lr",
            "hydra.sweeper.params must be a group of values or null, not 'lr'",
        ),
    ],
)
def test_wrong_value_is_named_in_one_sentence(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_everything(key, value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_of_the_grid_sweeper_are_checked() -> None:
    assert (
        parse_grid(
            {"max_batch_size": 1, "where": None, "budget": None, "params": {"seed": "0,1"}}
        ).max_batch_size
        == 1
    )
    assert (
        parse_grid({"max_batch_size": None, "where": None, "budget": None, "params": None}).params
        is None
    )
    with pytest.raises(ConfigError, match=r"^hydra.sweeper.max_batch_size must be .*, not 0$"):
        parse_grid({"max_batch_size": 0, "where": None, "budget": None, "params": None})
    with pytest.raises(ConfigError, match=r"^hydra.sweeper.params must be a group of values"):
        parse_grid({"max_batch_size": None, "where": None, "budget": None, "params": "seed=0,1"})


def test_training_keeps_some_rows() -> None:
    parse_everything("data.val_fraction", 0.79)
    with pytest.raises(ConfigError, match=r"leave no rows for training: their sum must be below 1"):
        parse_everything("data.val_fraction", 0.8)


def test_missing_value_is_named() -> None:
    values = {key: value for key, value in VALUES.items() if key != "seed"}
    with pytest.raises(ConfigError, match="seed is missing: set it with seed="):
        parse_job(values)


def test_max_memory_is_in_gigabytes() -> None:
    assert parse_launcher(LAUNCHER | {"max_memory": 1.5}).memory == 1_500_000_000
    assert parse_launcher(LAUNCHER).memory is None


def test_halving_applies_only_with_a_factor() -> None:
    assert parse_launcher(LAUNCHER).halving_rule is None
    rule = parse_launcher(LAUNCHER | {"halving": {"factor": 3, "min_epochs": 2}}).halving_rule
    assert rule is not None
    assert rule.rungs(18) == [2, 6]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3, "0.3"), (1e-4, "1e-4"), (0.03, "0.03"), (0, "0"), (2.5e-5, "2.5e-5"), (1, "1")],
)
def test_number_is_written_in_its_shortest_form(value: float, text: str) -> None:
    assert short(value) == text
