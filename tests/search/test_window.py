"""Continuous searches: which results a trial knows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.search.pruning import Pruning
from pipeline.search.sampling import Condition, Search
from pipeline.search.study import Study, TrialResult
from tests.searches import num_ended_trials

optuna = pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

NUMBERS = {"a": FloatDistribution(0.0, 1.0), "b": FloatDistribution(0.1, 9.0, log=True)}
LISTS = {
    "a": CategoricalDistribution([0.1, 0.5, 0.9, 1.0]),
    "b": CategoricalDistribution([1.0, 2.0, 3.0, 4.0, 5.0]),
}
B = 3
Order = Callable[[list[int]], int]  # trials in flight → the one that ends next


def search(sampler: str = "tpe", n: int = 18, **options: Any) -> Search:
    space = LISTS if sampler == "grid" else NUMBERS
    return Search(space, {}, sampler, 0, n, batch_size=B, continuous=True, **options)


def result(trial: FrozenTrial) -> TrialResult:
    """One of five trials has diverged."""
    a, b = trial.params["a"], trial.params["b"]
    return TrialResult(None if int(97 * a) % 5 == 0 else float(a - abs(b - 2) / 9))


def train(study: Study, order: Order, until: int = 999) -> list[dict[str, Any]]:
    """Train trials, until this number of them has ended in this call; returns their values."""
    drawn, ended, running = 0, set[int](), []
    while until:
        first = next(i for i in range(len(ended) + 1) if i not in ended)
        while drawn < min(study.search.count, first + B):
            trial = study.trial(drawn)
            running.append(drawn)
            drawn += 1
        if not running:
            break
        index = order(running)
        trial = study.trial(index)
        study.tell(trial, result(trial))
        running.remove(index)
        ended.add(index)
        until -= 1
    return [trial.params for trial in study.trials()]


def plain(wanted: Search) -> list[dict[str, Any]]:
    """The trials of a plain study of Optuna that learns each result B trials later."""
    study = optuna.create_study(direction="maximize")
    asked = []
    for number in range(wanted.count):
        study.sampler = wanted.sampler_for(number)
        if number >= B:
            value = result(study.get_trials()[number - B]).value
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            sampler, study.sampler = study.sampler, optuna.samplers.RandomSampler()
            study.tell(number - B, value, state)
            study.sampler = sampler
        asked.append(study.ask(wanted.space))
    return [trial.params for trial in asked]


def in_order(running: list[int]) -> int:
    return running[0]


def shuffled(seed: int) -> Order:
    return random.Random(seed).choice


@pytest.mark.filterwarnings("ignore:QMCSampler is experimental")
@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random", "grid"])
def test_a_trial_knows_the_results_up_to_b_trials_before_it(sampler: str) -> None:
    wanted = search(sampler)
    expected = plain(wanted)
    assert train(Study(wanted, "x", storage=None), in_order) == expected
    assert train(Study(wanted, "x", storage=None), shuffled(1)) == expected
    assert train(Study(wanted, "x", storage=None), lambda running: running[-1]) == expected


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc"])
def test_a_stopped_search_continues_to_the_same_trials(sampler: str, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    expected = train(Study(search(sampler), "x", storage=None), in_order)
    train(Study(search(sampler), "x", storage), shuffled(2), until=11)  # then the process died
    assert num_ended_trials(tmp_path) == 11
    assert train(Study(search(sampler), "x", storage), shuffled(3)) == expected


def test_a_search_of_more_trials_continues_a_finished_one(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    train(Study(search(n=13), "x", storage), shuffled(4))
    assert num_ended_trials(tmp_path) == 13
    expected = train(Study(search(n=18), "x", storage=None), in_order)
    assert train(Study(search(n=18), "x", storage), shuffled(5)) == expected


def test_rejected_proposals_are_the_same_in_every_order(tmp_path: Path) -> None:
    where = Condition("a < 0.5", lambda params: params["a"] < 0.5)
    expected = train(Study(search(where=where), "x", storage=None), in_order)
    assert len(expected) == 18 and max(values["a"] for values in expected) < 0.5
    assert train(Study(search(where=where), "x", storage=None), shuffled(6)) == expected
    storage = f"sqlite:///{tmp_path}/optuna.db"
    train(Study(search(where=where), "x", storage), shuffled(7), until=11)
    assert train(Study(search(where=where), "x", storage), shuffled(8)) == expected


def test_a_condition_that_no_trial_satisfies_is_an_error() -> None:
    where = Condition("a > 1", lambda params: params["a"] > 1)
    with pytest.raises(PipelineError, match=r"none of 200 proposals satisfies .*where='a > 1'"):
        Study(search(where=where), "x", storage=None).trial(0)


def test_later_success_of_a_failed_trial_counts_as_its_result() -> None:
    expected = train(Study(search(), "x", storage=None), in_order)
    study = Study(search(), "x", storage=None)
    for index in range(B):
        study.tell(study.trial(index), TrialResult(None, failed=index == 1))
    study.tell(study.trial(0), result(study.trial(0)))  # it has a result, which stays
    study = Study(search(), "x", storage=None)
    for index in range(B):
        failed = TrialResult(None, failed=True)
        study.tell(study.trial(index), failed if index == 1 else result(study.trial(index)))
    assert train(study, shuffled(9)) == expected


def test_a_pruner_compares_with_the_results_that_the_trial_knows() -> None:
    pruning = Pruning("median", {"n_startup_trials": 1}, 9)
    study = Study(search("random", n=8, pruning=pruning), "x", storage=None)
    for index, score in enumerate((0.5, 0.9, 0.9, 0.1)):
        study.tell(study.trial(index), TrialResult(score, scores=[score] * 9))
    # Trial 4 knows trials 0 and 1, whose median is 0.7; trial 3 knows trial 0 only.
    assert [study.pruner_of(3).prunes(study.trial(3).number, [s]) for s in (0.4, 0.6)] == [
        True,
        False,
    ]
    number = study.trial(4).number
    assert [study.pruner_of(4).prunes(number, [score]) for score in (0.6, 0.8)] == [True, False]
    assert not study.pruner_of(2).prunes(study.trial(2).number, [0.1])  # it knows no trial


def test_pruners_of_other_trials_leave_no_trace() -> None:
    pruning = Pruning("successive_halving", {"reduction_factor": 2}, 9)
    study = Study(search("random", n=8, pruning=pruning), "x", storage=None)
    study.trial(0)
    study.tell(study.trial(0), TrialResult(0.5, False, [0.5] * 9, {"completed_rung_0": 0.5}))
    for index in (1, 2):
        trial = study.trial(index)
        pruner = study.pruner_of(index)
        assert not pruner.prunes(trial.number, [0.9 - 0.1 * index])
        study.tell(trial, TrialResult(0.9, False, [0.9] * 9, pruner.attributes(trial.number)))
    number = study.trial(3).number
    assert study.pruner_of(3).prunes(number, [0.4])  # trial 0 is better
    assert not study.pruner_of(3).prunes(number, [0.6])  # trials 1 and 2 are unknown


def test_a_continuous_search_is_another_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    batches = Search(NUMBERS, {}, "tpe", 0, 18, batch_size=B)
    assert "continuous" not in batches.identity  # studies of earlier versions have no such key
    assert batches.name != search().name
    Study(search(), "x", storage).trial(0)
    for other in (batches, Search(NUMBERS, {}, "tpe", 0, 18, batch_size=4, continuous=True)):
        with pytest.raises(PipelineError, match="was started with other settings"):
            Study(other, "x", storage)


def as_rows(values: Sequence[dict[str, Any]]) -> Any:
    return np.array([list(each.values()) for each in values])


def test_later_trials_learn_from_results() -> None:
    """A search without results would give other trials, so the tests above compare something."""
    study = Study(search(), "x", storage=None)
    expected = as_rows(train(study, in_order))
    other = Study(search("random"), "x", storage=None)
    assert not np.array_equal(expected[-3:], as_rows(train(other, in_order))[-3:])
