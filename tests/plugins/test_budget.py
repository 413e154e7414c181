"""hydra.sweeper.budget by the command: what is trained, what is skipped, and the report."""

from __future__ import annotations

from pathlib import Path

from tests import commands
from tests.commands import report_of
from tests.execution.test_budget import ONE_JOB
from tests.searches import trials_of

# The jobs of `ONE_JOB`, with hidden_size=16.
GRID = ["-m", "hidden_size=16", "num_epochs=3", "learning_rate=0.1,0.2,0.3", "seed=0,1"]
SEARCH = [
    *("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=9", "hydra.sweeper.batch_size=3"),
    *("hidden_size=16", "num_epochs=3", "learning_rate=interval(0.01,0.5)"),
]


def test_grid_trains_what_fits_and_lists_what_it_skips(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    wanted = [*GRID, f"hydra.sweeper.budget={4.5 * ONE_JOB}"]
    plan = commands.succeed(outputs, *wanted, "hydra.launcher.dry_run=true").stdout
    assert "4 of 6 jobs fit" in plan and "\n4 jobs, 2 groups with shared mini-batches" in plan
    assert not outputs.exists()
    done = commands.succeed(outputs, *wanted)
    assert "4 of 6 jobs fit" in done.stdout
    assert "2 jobs do not fit the budget of " in done.stdout
    report = report_of(outputs)
    assert (report["num_planned"], len(report["runs"])) == (4, 4)
    assert report["best"]["test_acc"] > 0  # the sweep is complete
    (file,) = (outputs / "multirun").glob("*/skipped.txt")
    skipped = file.read_text().splitlines()
    assert all(f"  {line}\n" in done.stdout for line in skipped)
    trained = {(run["learning_rate"], run["seed"]) for run in report["runs"]}
    pairs = [dict(word.split("=") for word in line.split()) for line in skipped]
    left = {(float(pair["learning_rate"]), int(pair["seed"])) for pair in pairs}
    assert trained | left == {(rate, seed) for rate in (0.1, 0.2, 0.3) for seed in (0, 1)}
    again = commands.succeed(outputs, *GRID, "hydra.sweeper.budget=10min")
    assert "about 6 of 6 jobs fit" in again.stdout
    assert "6 jobs: 6 finished" in again.stdout
    assert "4 of 6 already finished" in again.stderr + again.stdout


def test_budget_that_no_job_fits_is_an_error(tmp_path: Path) -> None:
    done = commands.run(tmp_path / "outputs", *GRID, "hydra.sweeper.budget=1000")
    assert done.returncode == 1
    assert "no job fits the budget of 1e+03 multiply-adds: the smallest job needs " in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_search_ends_before_the_batch_that_does_not_fit(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    done = commands.succeed(outputs, *SEARCH, f"hydra.sweeper.budget={7 * ONE_JOB}")
    assert "the search ends after 6 of 9 trials: the next batch does not fit" in done.stdout
    report = report_of(outputs)
    assert (report["num_planned"], len(report["runs"])) == (6, 6)
    more = commands.succeed(outputs, *SEARCH, f"hydra.sweeper.budget={9 * ONE_JOB}")
    assert "the search ends" not in more.stdout
    assert report_of(outputs)["num_planned"] == 9
    states = [trial.state.name for trial in trials_of(outputs)]
    assert states == ["COMPLETE"] * 9
