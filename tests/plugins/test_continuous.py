"""hydra.sweeper.continuous by its command: the results that trials know, prunes, kills, seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.tracking import queries
from tests import commands
from tests.commands import report_of, store_of
from tests.searches import kill_search, num_ended_trials, trial_facts, trials_of

B, COUNT, EPOCHS = 4, 18, (3, 6)
RUNGS = (1, 2, 4)  # of successive halving with factor 2 in up to 6 epochs
SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.continuous=true",
    f"hydra.sweeper.n_trials={COUNT}",
    f"hydra.sweeper.batch_size={B}",
    "hydra.sweeper.pruner=successive_halving",
    "hydra.sweeper.pruner_params={reduction_factor: 2}",
    "num_epochs=3,6",
    "hidden_size=8,16",
    "learning_rate=tag(log, interval(0.001, 1e4))",  # some models diverge
]


def sampler_of(number: int) -> optuna.samplers.TPESampler:
    seed = int(np.random.SeedSequence([0, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search on two cores."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    commands.succeed(outputs, *SEARCH, "hydra.launcher.shards=2")
    return outputs


@pytest.mark.filterwarnings("ignore:Argument ``constant_liar`` is experimental")
def test_trials_are_those_of_a_study_that_learns_each_result_b_trials_later(whole: Path) -> None:
    found = trials_of(whole)
    study = optuna.create_study(direction="maximize")
    for number in range(COUNT):
        if number >= B:
            known = found[number - B]
            own = optuna.trial.Trial(study, study.trials[number - B]._trial_id)
            for epoch, score in known.intermediate_values.items():
                own.report(score, epoch)
            value = known.value if known.state is TrialState.COMPLETE else None
            study.tell(number - B, value, known.state)
        study.sampler = sampler_of(number)
        study.ask(found[number].distributions)
    assert [trial.params for trial in study.trials] == [trial.params for trial in found]


def test_a_trial_is_pruned_by_the_results_that_it_knows(whole: Path) -> None:
    found = trials_of(whole)
    pruned = 0
    for number, trial in enumerate(found):
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        study = optuna.create_study(direction="maximize", pruner=pruner)
        study.add_trials(found[: max(0, number - B + 1)])
        for running in found[len(study.trials) : number + 1]:
            values = {"params": running.params, "distributions": running.distributions}
            study.add_trial(create_trial(state=TrialState.RUNNING, **values))
        own = optuna.trial.Trial(study, study.trials[number]._trial_id)
        scores, stop = trial.intermediate_values, None
        for epoch, score in scores.items():
            own.report(score, epoch)
            is_rung = epoch in RUNGS and epoch < trial.params["num_epochs"]
            if stop is None and is_rung and own.should_prune():
                stop = epoch
        if trial.state is TrialState.PRUNED and scores:
            assert trial.last_step == stop
            pruned += 1
        else:
            assert stop is None
    assert pruned >= 3


def test_runs_have_exactly_the_epochs_of_their_trials(whole: Path) -> None:
    runs = {run["job"]: run for run in report_of(whole)["runs"]}
    for trial in trials_of(whole):
        run, epochs = runs[trial.number], list(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1))
        if trial.state is TrialState.COMPLETE:
            assert run["outcome"] == "finished" and len(epochs) == trial.params["num_epochs"]
            assert max(trial.intermediate_values.values()) == trial.value == run["best_val_acc"]
        elif epochs:
            assert (run["outcome"], run["halted_epoch"]) == ("halted", len(epochs))
            curve = queries.curves(store_of(whole), run["run_id"], ["val_acc"])
            assert dict(curve["val_acc"]) == trial.intermediate_values
        else:
            assert run["outcome"] == "diverged"


def test_killed_search_resumes_to_the_same_trials_values_and_prunes(
    whole: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    more = ["hydra.launcher.shards=1", "tracking.checkpoint_minutes=0.001"]
    kill_search(outputs, [*SEARCH, *more], after=9)
    assert num_ended_trials(outputs) < COUNT
    commands.succeed(outputs, *SEARCH, *more)
    assert trial_facts(outputs) == trial_facts(whole)
    keys = ("outcome", "num_epochs", "best_val_acc", "halted_epoch")
    shown = [
        {run["job"]: [run[key] for key in keys] for run in report_of(each)["runs"]}
        for each in (outputs, whole)
    ]
    assert shown[0] == shown[1]


def test_replicates_conditions_repeated_values_and_a_budget(tmp_path: Path) -> None:
    """A trial with the values of an earlier one ends as that one did, and is not trained."""
    outputs = tmp_path / "outputs"
    wanted = [
        *(word for word in SEARCH if not word.startswith("learning_rate")),
        "hydra.sweeper.sampler=random",
        "hydra.sweeper.seeds=0,3",
        "hydra.sweeper.where=hidden_size * num_epochs < 90",  # three of four combinations
        "learning_rate=0.3",
    ]
    commands.succeed(outputs, *wanted, "hydra.sweeper.budget=2e8")
    budgeted = report_of(outputs)
    runs = {run["job"]: run for run in budgeted["runs"]}
    assert 6 <= len(runs) < 2 * COUNT and len(runs) % 2 == 0
    found = [trial for trial in trials_of(outputs) if "rejected" not in trial.user_attrs]
    assert len(found) == len(runs) // 2 + 1  # the last one exceeds the budget
    assert found[-1].state is TrialState.RUNNING
    by_values: dict[str, FrozenTrial] = {}
    for index, trial in enumerate(found[:-1]):
        pair = [runs[2 * index], runs[2 * index + 1]]
        assert [run["seed"] for run in pair] == [0, 3]
        assert len({run["outcome"] for run in pair}) == 1
        first = by_values.setdefault(str(trial.params), trial)
        assert (trial.state, trial.value) == (first.state, first.value)
        assert trial.intermediate_values == first.intermediate_values
        if trial.state is TrialState.COMPLETE:
            scores = [run["best_val_acc"] for run in pair]
            assert trial.value == pytest.approx(sum(scores) / 2, abs=1e-9)
    assert len(by_values) == 3 < len(found)
    assert len({run["run_id"] for run in runs.values()}) == 6


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hydra/launcher=basic", "hydra.sweeper.continuous applies only to hydra/launcher=popula"),
        ("hydra.launcher.backend=dask", "with backend=joblib, where a free core takes the next"),
        ("dtype=float32,float64", "hydra.sweeper.continuous needs trials on one dataset in one d"),
        ("hydra.launcher.halving.factor=2", "hydra.launcher.halving applies only to a grid"),
    ],
)
def test_unsuitable_setting_is_an_error_before_training(
    tmp_path: Path, value: str, said: str
) -> None:
    done = commands.run(tmp_path / "outputs", *SEARCH, value)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_dry_run_states_that_each_job_has_a_core_of_its_own(tmp_path: Path) -> None:
    done = commands.succeed(tmp_path / "outputs", *SEARCH, "hydra.launcher.dry_run=true")
    assert "the next trial starts as soon as one ends, each job on one core" in done.stdout
    assert "4 jobs" in done.stdout and "4 shards" in done.stdout
    assert not (tmp_path / "outputs").exists()
