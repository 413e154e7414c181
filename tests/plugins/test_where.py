"""hydra.sweeper.where and ${calc:…} by the command, and in a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import IntDistribution

from pipeline.errors import PipelineError
from pipeline.search.sampling import Condition, Search
from pipeline.search.study import Study, TrialResult
from tests import commands
from tests.commands import report_of

SPACE = {"a": IntDistribution(1, 9), "b": IntDistribution(1, 9)}
FEW = Condition("a * b < 20", lambda values: bool(values["a"] * values["b"] < 20))


def search(sampler: str, n: int = 20, where: Condition = FEW) -> Search:
    return Search(SPACE, {}, sampler, 0, n, 4, where=where)


def drawn(study: Study, batches: int = 99) -> list[Mapping[str, Any]]:
    done = 0
    while batches and (trials := study.next_trials(after=done)):
        for trial in trials:
            if not trial.state.is_finished():
                study.tell(trial, TrialResult(trial.params["a"] / 9))
        done += len(trials)
        batches -= 1
    return [trial.params for trial in study.trials()]


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random"])
def test_every_trial_satisfies_the_condition(sampler: str) -> None:
    first = drawn(Study(search(sampler), "x", None))
    assert len(first) == 20
    assert all(values["a"] * values["b"] < 20 for values in first)
    assert drawn(Study(search(sampler), "x", None)) == first


def test_grid_tries_each_point_that_satisfies_the_condition_once() -> None:
    points = {(a, b) for a in range(1, 10) for b in range(1, 10) if a * b < 20}
    trials = drawn(Study(search("grid", n=99), "x", None))
    assert len(trials) == len(points)
    assert {(values["a"], values["b"]) for values in trials} == points


def test_a_resumed_study_draws_the_same_trials(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    expected = drawn(Study(search("tpe"), "x", None))
    drawn(Study(search("tpe"), "x", storage), batches=2)
    died = Study(search("tpe"), "x", storage)
    died._study.sampler = died.search.sampler_for(8)
    died._study.ask(SPACE)  # perhaps it does not satisfy the condition
    assert drawn(Study(search("tpe"), "x", storage)) == expected


def test_a_condition_that_nothing_satisfies_is_an_error() -> None:
    never = Condition("a > 9", lambda values: False)
    with pytest.raises(PipelineError, match="none of 200 proposals satisfies"):
        Study(search("random", where=never), "x", None).next_trials(after=0)


def test_grid_of_the_command_trains_jobs_that_satisfy_the_condition(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    values = [
        "-m",
        "hidden_size=4,8",
        "num_epochs=1,2,3",
        'batch_size="${calc:400 // hidden_size}"',
    ]
    done = commands.succeed(outputs, *values, "hydra.sweeper.where=hidden_size * num_epochs <= 8")
    assert "3 of 6 jobs satisfy hidden_size * num_epochs <= 8" in done.stdout
    runs = report_of(outputs)["runs"]
    found = {(run["hidden_size"], run["num_epochs"], run["batch_size"]) for run in runs}
    assert found == {(4, 1, 100), (4, 2, 100), (8, 1, 50)}


def test_search_of_the_command_draws_trials_that_satisfy_the_condition(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    optuna = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler=qmc"]
    values = ["hidden_size=int(interval(2,9))", "num_epochs=int(interval(1,4))"]
    where = "hydra.sweeper.where=hidden_size * num_epochs <= 16"
    commands.succeed(outputs, *optuna, *values, where)
    runs = report_of(outputs)["runs"]
    assert sorted(run["job"] for run in runs) == [*range(6)]
    assert all(run["hidden_size"] * run["num_epochs"] <= 16 for run in runs)


def test_malformed_condition_is_an_error(tmp_path: Path) -> None:
    done = commands.run(tmp_path / "outputs", "-m", "seed=0,1", "hydra.sweeper.where=seeds > 0")
    assert done.returncode == 1
    assert "hydra.sweeper.where='seeds > 0' cannot be computed: seeds is no value" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_grid_search_without_a_point_that_satisfies_the_condition_is_an_error(
    tmp_path: Path,
) -> None:
    optuna = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler=grid", "hidden_size=4,8"]
    done = commands.run(tmp_path / "outputs", *optuna, "hydra.sweeper.where=hidden_size > 8")
    assert done.returncode == 1
    assert "no point of the grid satisfies hydra.sweeper.where='hidden_size > 8'" in done.stderr
