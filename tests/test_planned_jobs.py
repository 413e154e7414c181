"""A sweep records how many jobs it plans. A report recognises by it that a sweep is incomplete."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.analysis.evaluation import INCOMPLETE
from pipeline.report.write import write_report
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.commands import report_of, run_code, run_with_failures, succeed
from tests.sweeps import train_sweep

# Ctrl-C after the first batch of a search, before the second one is drawn.
STOP_AFTER_FIRST_BATCH = """
import os, signal
from pipeline.search.study import Study
draw = Study.next_trials
def next_trials(self, after):
    if after:
        os.kill(os.getpid(), signal.SIGINT)
    return draw(self, after)
Study.next_trials = next_trials
"""


def test_grid_that_ends_between_two_batches_is_incomplete(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    # One of the two jobs of the first batch fails, so the second batch never starts.
    values = ("hidden_size=4,8", "batch_size=100,50", "num_epochs=1")
    done = run_with_failures(outputs, "-m", *values, "hydra.sweeper.max_batch_size=2")
    assert done.returncode == 1
    assert "2 of 4 jobs: 1 finished, 1 failed" in done.stdout
    assert "3 of 4 jobs have no result; to train only these" in done.stdout
    assert f"Test accuracy: unknown: {INCOMPLETE}" in done.stdout
    report = report_of(outputs)
    assert (report["num_planned"], report["best"]["test_acc"]) == (4, None)
    on_request = succeed(outputs, "--test", module="pipeline.report")
    assert "2 of 4 jobs: 1 finished, 1 failed" in on_request.stdout
    assert report_of(outputs)["best"]["test_acc"] > 0


def test_search_that_stops_between_two_batches_is_incomplete_until_it_is_resumed(
    tmp_path: Path,
) -> None:
    outputs = tmp_path / "outputs"
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.batch_size=2")
    values = ("-m", *search, "learning_rate=interval(0.1,0.5)", "hidden_size=4", "num_epochs=1")
    done = run_code(outputs, STOP_AFTER_FIRST_BATCH, *values)
    assert done.returncode == 130, done.stderr
    assert "2 of 4 jobs: 2 finished" in done.stdout
    assert f"Test accuracy: unknown: {INCOMPLETE}" in done.stdout
    resumed = succeed(outputs, *values)
    assert "4 jobs: 4 finished" in resumed.stdout
    assert report_of(outputs)["best"]["test_acc"] > 0


def test_sweep_whose_run_was_deleted_is_incomplete(store: Store, tmp_path: Path) -> None:
    sweep = train_sweep(store, tmp_path, "deleted", {}, {"seed": 1})
    store.client.delete_run(queries.sweep_runs(store, sweep)["run_id"].iloc[0])
    report = write_report(store, queries.find_sweep(store, "deleted"), tmp_path / "reports")
    assert "1 of 2 jobs: 1 finished" in report.lines
    assert report.best is not None and report.best.test_problem == INCOMPLETE


@pytest.mark.parametrize(("status", "complete"), [("FINISHED", True), ("KILLED", False)])
def test_sweep_without_a_plan_is_complete_if_it_succeeded(
    store: Store, tmp_path: Path, status: str, complete: bool
) -> None:
    """Sweeps of earlier versions and of other sweepers have not recorded their plan."""
    sweep = train_sweep(store, tmp_path, status, {})
    store.client.delete_tag(sweep.run_id, "num_jobs")
    store.end_run(sweep.run_id, status)
    report = write_report(store, queries.find_sweep(store, status), tmp_path / "reports")
    assert report.best is not None
    assert (report.best.test_acc is not None) == complete
