"""Successive halving: the comparison at a rung, unchanged bits, and resuming."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.runs import rank, tabulate
from pipeline.analysis.sweep import at_equal_epochs
from pipeline.config import Halving, parse_job
from pipeline.execution.backend import Resources
from pipeline.execution.halving import select_halted
from pipeline.execution.job import JobRun
from pipeline.execution.local import LocalBackend
from pipeline.execution.local_trainer import LocalTrainer
from pipeline.execution.run import dry_run
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from pipeline.selection import selection_key
from pipeline.tracking import queries
from tests import commands
from tests.conftest import forbid_training, job, kept, next_sweep, statuses, train

pytestmark = pytest.mark.usefixtures("outputs")

Hyper = Callable[..., Hyperparameters]
HALVING = Halving(factor=2, min_epochs=1)  # rungs after 1, 2, 4 epochs
RATES = (0.3, 0.001, 0.1, 0.003, 0.2, 1e9)


@pytest.fixture
def specs(hyper: Hyper, tmp_path: Path) -> list[JobSpec]:
    """Six learning rates with two seeds each. One rate diverges."""
    jobs = [
        hyper(learning_rate=rate, seed=seed, num_epochs=5)
        for rate, seed in itertools.product(RATES, (0, 1))
    ]
    return [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]


def outcomes(runs: Sequence[JobRun]) -> list[str]:
    return [run.outcome for run in runs]


def epochs(place: RunContext) -> list[int]:
    """How many epochs of each job the store holds."""
    assert place.sweep is not None
    ids = queries.sweep_runs(place.store, place.sweep)["run_id"]
    return [len(queries.curves(place.store, run_id, ["val_acc"])) for run_id in ids]


def test_rungs_are_factor_times_apart_and_before_the_end() -> None:
    assert Halving(3, 2).rungs(18) == [2, 6]
    assert Halving(2, 5).rungs(5) == []
    assert [Halving(2, 1).num_survivors(n) for n in (1, 2, 3, 8)] == [1, 1, 2, 4]


def test_survivors_have_the_bits_of_a_sweep_without_halving(
    place: RunContext, specs: list[JobSpec], tmp_path: Path
) -> None:
    whole = train(specs, place, cores=2)
    halved = next_sweep(replace(place, experiment_id=place.store.ensure_experiment("halved")))
    runs = train(specs, halved, cores=2, halving=HALVING)
    assert outcomes(runs).count("finished") == 2  # the seeds of one configuration
    assert outcomes(runs).count("halted") == 8
    assert epochs(halved) == [
        {"finished": 5, "halted": run.epoch, "diverged": 0}[run.outcome] for run in runs
    ]
    assert (
        sorted(run.epoch for run in runs if run.outcome == "halted") == [1] * 4 + [2] * 2 + [4] * 2
    )
    for number, run in enumerate(runs):
        if run.outcome == "finished":
            assert run.best.metrics == whole[number].best.metrics
            assert kept(halved, number, tmp_path) == kept(place, number, tmp_path)
    assert set(statuses(halved).values()) == {"FINISHED"}
    assert "halted after epoch 1" in (tmp_path / "2" / "job.log").read_text() or runs[2].epoch > 1


def test_configurations_are_compared_by_the_mean_of_their_replicates(
    place: RunContext, specs: list[JobSpec]
) -> None:
    candidates = [JobRun(spec, place) for spec in specs[:8]]
    for run, accuracy in zip(candidates, (0.9, 0.1, 0.6, 0.5, 0.4, 0.4, 0.9, 0.9), strict=True):
        run.best.load_history([selection_key(accuracy, 1.0)])
    # It diverged in its first epoch, and its other seed is no result of the configuration.
    candidates[6].best.load_history([])
    assert select_halted(candidates, 1, HALVING) == [*candidates[4:6], *candidates[6:8]]
    assert select_halted(candidates, 9, HALVING) == candidates  # which end before that rung


def test_the_same_command_again_trains_nothing(
    place: RunContext,
    specs: list[JobSpec],
    monkeypatch: pytest.MonkeyPatch,
    outputs: Path,
) -> None:
    first = train(specs, place, cores=1, halving=HALVING)
    again = next_sweep(place)
    with monkeypatch.context() as patch:
        forbid_training(patch)
        second = train(specs, again, cores=1, halving=HALVING)
    assert outcomes(second) == outcomes(first)
    assert [run.score for run in second] == [run.score for run in first]
    assert not list((outputs / "checkpoints").iterdir())
    assert place.sweep is not None and again.sweep is not None
    runs, reused = (queries.sweep_runs(place.store, sweep) for sweep in (place.sweep, again.sweep))
    assert list(reused["run_id"]) == list(runs["run_id"])
    # Without halving, or with other candidates, a halted run has to continue.
    assert outcomes(train(specs[:4], next_sweep(place), cores=1)) == ["finished"] * 4
    worst = [
        spec
        for spec, run in zip(specs, first, strict=True)
        if (run.outcome, run.epoch) == ("halted", 1)
    ]
    alone = train(worst[-2:], next_sweep(place), cores=1, halving=HALVING)
    assert outcomes(alone) == ["finished"] * 2


def test_a_job_that_diverged_after_a_rung_was_a_candidate_there(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        hyper(hidden_size=16, learning_rate=rate, learning_rate_decay=decay, num_epochs=16)
        for rate, decay in itertools.product((0.1, 0.5), (0.95, 5))
    ]
    specs = [job(i, tmp_path / str(i), values) for i, values in enumerate(jobs)]
    halving = Halving(factor=2, min_epochs=2)
    first = train(specs, place, cores=1, halving=halving)
    diverged = [run.epoch for run in first if run.outcome == "diverged"]
    assert diverged and min(diverged) > 2
    forbid_training(monkeypatch)
    assert outcomes(train(specs, next_sweep(place), cores=1, halving=halving)) == outcomes(first)


def test_interrupted_halving_resumes_to_the_same_result(
    place: RunContext, specs: list[JobSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(specs, place, cores=1, halving=HALVING)
    other = next_sweep(replace(place, experiment_id=place.store.ensure_experiment("interrupted")))
    waves = itertools.count()
    start = LocalBackend.train

    def interrupted(*args: Any) -> LocalTrainer:
        if next(waves) == 2:
            raise KeyboardInterrupt
        return start(*args)

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(specs, other, cores=1, halving=HALVING)
    steps, step = itertools.count(), Stack.begin_step
    monkeypatch.setattr(Stack, "begin_step", lambda *args: [next(steps), step(*args)])
    resumed = next_sweep(other)
    runs = train(specs, resumed, cores=1, halving=HALVING)
    assert outcomes(runs) == outcomes(whole)
    assert next(steps) < 11 * (2 * 2 + 2 * 1 + 4 * 2)  # stacks, seeds and epochs after rung 1
    for number, run in enumerate(runs):
        if run.outcome != "diverged":
            assert kept(resumed, number, tmp_path) == kept(place, number, tmp_path)


def test_halted_runs_are_compared_at_equal_epochs_only(
    place: RunContext, specs: list[JobSpec]
) -> None:
    train(specs, place, cores=1, halving=HALVING)
    assert place.sweep is not None
    jobs = tabulate(queries.sweep_runs(place.store, place.sweep))
    assert set(rank(jobs)["outcome"]) == {"finished"}
    epoch, runs = at_equal_epochs(place.store, jobs, rank(jobs))
    assert epoch == 1
    assert len(runs) == 10
    first = [
        queries.curves(place.store, id_, ["val_acc"])["val_acc"].iloc[0] for id_ in runs["run_id"]
    ]
    assert list(runs["best_val_acc"]) == first
    jobs.loc[runs.index[-1], "num_epochs"] = 0  # it was never to go so far
    assert list(at_equal_epochs(place.store, jobs, rank(jobs))[1].index) == list(runs.index[:-1])


def test_the_dry_run_counts_the_survivors(specs: list[JobSpec]) -> None:
    lines = "\n".join(dry_run([parse_job(spec.values) for spec in specs], Resources(2), HALVING))
    assert "6 configurations, 3 after epoch 1, 2 after epoch 2, 1 after epoch 4" in lines


def test_the_report_of_the_command_lists_halted_jobs(outputs: Path) -> None:
    values = ("hidden_size=8,16", "num_epochs=4", "learning_rate=0.3,0.01")
    done = commands.succeed(outputs, "-m", *values, "hydra.launcher.halving.factor=2")
    assert "4 jobs: 1 finished, 3 halted" in done.stdout
    text = (outputs / "reports" / "latest" / "report.md").read_text()
    assert "## Halted jobs" in text
    assert "Halted jobs (2 after epoch 1, 1 after epoch 2) are not compared" in text
    assert "Importance up to epoch 1" in text


def test_invalid_values_of_halving_are_an_error(outputs: Path) -> None:
    done = commands.run(outputs, "-m", "hidden_size=8", "hydra.launcher.halving.factor=1.5")
    assert done.returncode == 1
    assert "halving.factor must be a whole number of at least 2 or null, not 1.5" in done.stderr


def test_a_job_that_ends_exactly_at_a_rung_is_compared_there(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    jobs = [hyper(num_epochs=n, hidden_size=h) for n, h in ((1, 4), (2, 8), (4, 16), (4, 32))]
    candidates = [JobRun(job(i, tmp_path, values), place) for i, values in enumerate(jobs)]
    for run, accuracy in zip(candidates, (0.9, 0.8, 0.7, 0.6), strict=True):
        run.best.load_history([selection_key(accuracy, 1.0)] * run.hyperparameters.num_epochs)
    assert select_halted(candidates, 2, HALVING) == [candidates[0], candidates[3]]
    assert select_halted(candidates, 3, HALVING) == [*candidates[:2], candidates[3]]
