"""Pruners: when they compare, and which trials of a batch stop."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.search.pruning import BatchPruner, Pruning
from pipeline.search.sampling import Search
from pipeline.search.study import Study, TrialResult

optuna = pytest.importorskip("optuna")
SPACE = {"learning_rate": optuna.distributions.FloatDistribution(0.01, 1.0)}


@pytest.mark.parametrize(
    ("pruner", "params", "epochs"),
    [
        ("median", {}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("median", {"n_warmup_steps": 4, "interval_steps": 3}, [4, 7]),
        ("wilcoxon", {}, [2, 3, 4, 5, 6, 7, 8, 9]),
        ("wilcoxon", {"n_startup_steps": 7}, [7, 8, 9]),
        ("successive_halving", {}, [1, 4]),
        ("successive_halving", {"min_resource": 2, "reduction_factor": 2}, [2, 4, 8]),
        ("successive_halving", {"min_early_stopping_rate": 1}, [4]),
        ("hyperband", {}, [1, 3, 9]),
        ("hyperband", {"min_resource": 10}, []),
    ],
)
def test_training_pauses_only_where_the_pruner_can_stop_a_trial(
    pruner: Any, params: dict[str, Any], epochs: list[int]
) -> None:
    assert Pruning(pruner, params, 10).epochs() == epochs


@pytest.mark.parametrize(
    ("pruner", "params", "said"),
    [
        (
            "median",
            {"warmup": 5},
            r"unknown key hydra.sweeper.pruner_params.warmup: the parameters",
        ),
        ("hyperband", {"reduction_factor": 1}, "reduction_factor must be a whole number of at l"),
        ("hyperband", {"min_resource": 11}, "min_resource=11 is more than the 10 epochs of a tr"),
        ("median", {"interval_steps": 0}, "interval_steps must be a whole number of at least 1"),
        ("successive_halving", {"min_resource": "few"}, "a whole number of at least 1, not 'few'"),
        ("median", {"n_warmup_steps": 0.5}, "n_warmup_steps must be a whole number of at least 0"),
        ("median", {"n_warmup_steps": True}, "a whole number of at least 0, not True"),
        ("wilcoxon", {"p_threshold": 2}, "does not fit the pruner wilcoxon: p_threshold must be"),
        ("wilcoxon", {"p_threshold": "a"}, "does not fit the pruner wilcoxon: "),
    ],
)
def test_a_wrong_parameter_is_an_error(pruner: Any, params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Pruning(pruner, params, 10)


def open_study(pruner: Any, params: dict[str, Any] | None = None) -> Study:
    pruning = Pruning(pruner, params or {}, 9)
    search = Search(SPACE, {}, "random", 0, 8, batch_size=4, pruning=pruning)
    return Study(search, "study", None)


def decide(pruner: BatchPruner, scores: dict[int, float], epochs: int) -> dict[int, int]:
    """Report the same score in each epoch; return the epochs after which trials stop."""
    stopped: dict[int, int] = {}
    for epoch in range(1, epochs + 1):
        for number, score in scores.items():
            if number not in stopped and pruner.prunes(number, [score] * epoch):
                stopped[number] = epoch
    return stopped


def test_successive_halving_compares_the_trials_of_a_batch_in_their_order() -> None:
    study = open_study("successive_halving", {"reduction_factor": 2})
    batch = study.next_trials(after=0)
    pruner = study.pruner(batch)
    assert pruner is not None
    # Trial 0 has no competitor after epoch 1. Trial 1 is better, and trials 2 and 3 are worse.
    assert decide(pruner, {0: 0.5, 1: 0.6, 2: 0.4, 3: 0.3}, 4) == {2: 1, 3: 1}
    assert pruner.attributes(1)["completed_rung_0"] == 0.6


def test_median_pruner_compares_with_finished_trials_of_earlier_batches() -> None:
    study = open_study("median", {"n_startup_trials": 4, "n_warmup_steps": 2})
    first = study.next_trials(after=0)
    pruner = study.pruner(first)
    assert pruner is not None
    assert decide(pruner, {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}, 9) == {}
    for trial, score in zip(first, (0.1, 0.2, 0.3, 0.4), strict=True):
        study.tell(trial, TrialResult(score, scores=[score] * 9))
    second = study.next_trials(after=4)
    pruner = study.pruner(second)
    assert pruner is not None
    assert decide(pruner, {4: 0.2, 5: 0.3, 6: 0.24, 7: 0.26}, 9) == {4: 2, 6: 2}


def test_a_batch_of_which_some_trials_are_recorded_is_decided_again_as_a_whole() -> None:
    study = open_study("successive_halving", {"reduction_factor": 2})
    batch = study.next_trials(after=0)
    scores = {0: 0.3, 1: 0.6, 2: 0.4, 3: 0.5}
    pruner = study.pruner(batch)
    assert pruner is not None
    stopped = decide(pruner, scores, 4)
    (number, epoch), *_ = stopped.items()
    values, attributes = [scores[number]] * epoch, pruner.attributes(number)
    study.tell(batch[number], TrialResult(None, scores=values, attributes=attributes))
    resumed = study.next_trials(after=0)
    assert [trial.state.name for trial in resumed].count("PRUNED") == 1
    again = study.pruner(resumed)
    assert again is not None
    assert decide(again, scores, 4) == stopped


def test_trials_of_finished_batches_are_not_compared_again() -> None:
    study = open_study("successive_halving")
    first = study.next_trials(after=0)
    for trial in first:
        study.tell(trial, TrialResult(None, scores=[0.5]))
    trials = study.next_trials(after=0)
    finished, last = study.split(trials)
    assert [trial.number for trial in finished] == [0, 1, 2, 3]
    assert [trial.number for trial in last] == [4, 5, 6, 7]
    assert study.pruner(finished) is None
    assert study.trials()[0].intermediate_values == {1: 0.5}


def test_a_search_with_a_pruner_is_another_study() -> None:
    plain = Search(SPACE, {}, "random", 0, 8, 4)
    pruned = Search(SPACE, {}, "random", 0, 8, 4, pruning=Pruning("median", {}, 9))
    assert "pruner" not in plain.identity  # studies of earlier versions have no such key
    assert plain.name != pruned.name
