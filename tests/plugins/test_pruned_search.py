"""hydra.sweeper.pruner by its command: the same trials and prunes after kill -9, and the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import commands
from tests.commands import report_of
from tests.searches import kill_search, num_ended_trials, trial_facts, trials_of

SEARCH = [
    "-m",
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=12",
    "hydra.sweeper.batch_size=4",
    "hydra.sweeper.pruner=successive_halving",
    "hydra.sweeper.pruner_params={reduction_factor: 2}",
    "num_epochs=6",
    "hidden_size=8,16",
    "learning_rate=tag(log, interval(0.001, 1e4))",  # some models diverge
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted search on two cores."""
    outputs = tmp_path_factory.mktemp("whole") / "outputs"
    commands.succeed(outputs, *SEARCH, "hydra.launcher.shards=2")
    return outputs


def test_pruned_trials_have_their_scores_and_are_halted_jobs_of_the_report(whole: Path) -> None:
    report = report_of(whole)
    runs = {run["job"]: run for run in report["runs"]}
    halted = 0
    for trial in trials_of(whole):
        run, epochs = runs[trial.number], list(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1))
        if trial.state.name == "COMPLETE":
            assert run["outcome"] == "finished" and len(epochs) == 6
            assert max(trial.intermediate_values.values()) == trial.value == run["best_val_acc"]
        elif epochs:
            halted += 1
            assert (run["outcome"], run["halted_epoch"]) == ("halted", len(epochs))
            assert max(trial.intermediate_values.values()) == run["best_val_acc"]
        else:
            assert run["outcome"] == "diverged"
    assert halted >= 3
    text = (whole / "reports" / "latest" / "report.md").read_text()
    assert "## Halted jobs" in text


def test_killed_search_resumes_to_the_same_trials_values_and_prunes(
    whole: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    more = ["hydra.launcher.shards=1", "tracking.checkpoint_minutes=0.001"]
    kill_search(outputs, [*SEARCH, *more], after=6)  # in the middle of a batch
    assert num_ended_trials(outputs) < 12
    commands.succeed(outputs, *SEARCH, *more)
    assert trial_facts(outputs) == trial_facts(whole)
    runs = {run["job"]: run for run in report_of(outputs)["runs"]}
    assert {job: run["outcome"] for job, run in runs.items()} == {
        run["job"]: run["outcome"] for run in report_of(whole)["runs"]
    }


def test_pruner_needs_trials_that_train_together(tmp_path: Path) -> None:
    done = commands.run(tmp_path / "outputs", *SEARCH, "hydra/launcher=basic")
    assert done.returncode == 1
    assert "hydra.sweeper.pruner applies only to hydra/launcher=population" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_objective_is_the_mean_over_the_seeds_and_replicates_stop_together(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    wanted = ["hydra.sweeper.seeds=0,3", "hydra.sweeper.n_trials=6", "hydra.sweeper.batch_size=3"]
    commands.succeed(outputs, *SEARCH, *wanted)
    report = report_of(outputs)
    runs = {run["job"]: run for run in report["runs"]}
    assert sorted(runs) == [*range(12)]
    found = trials_of(outputs)
    assert {"COMPLETE", "PRUNED"} == {trial.state.name for trial in found}
    for trial in found:
        pair = [runs[2 * trial.number], runs[2 * trial.number + 1]]
        assert [run["seed"] for run in pair] == [0, 3]
        assert len({run["outcome"] for run in pair} & {"finished", "halted"}) <= 1
        if trial.state.name == "COMPLETE":
            scores = [run["best_val_acc"] for run in pair]
            assert trial.value == pytest.approx(sum(scores) / 2, abs=1e-9)
            assert len(trial.intermediate_values) == 6
        elif trial.intermediate_values:
            assert [run["halted_epoch"] for run in pair] == [trial.last_step] * 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("hydra.sweeper.seeds=[0,a]", "must be a list of whole numbers or null"),
        ("hydra.sweeper.seeds=0,0", "lists a seed twice"),
    ],
)
def test_wrong_seeds_are_an_error(tmp_path: Path, value: str, said: str) -> None:
    done = commands.run(tmp_path / "outputs", *SEARCH, value)
    assert done.returncode == 1
    assert said in done.stderr
