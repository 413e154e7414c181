"""hydra.launcher.retries and hydra.launcher.max_failures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import PipelineError
from pipeline.execution.backend import Event
from pipeline.execution.failure import FailurePolicy
from pipeline.execution.local_trainer import LocalTrainer
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from tests import commands
from tests.commands import report_of
from tests.conftest import job, kept, next_sweep, statuses, train

pytestmark = pytest.mark.usefixtures("outputs")

Hyper = Callable[..., Hyperparameters]
TWICE = FailurePolicy(retries=1)


def fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the training of a single model raise an error in its second epoch, once."""
    steps, real_step = itertools.count(), Stack.begin_step

    def step(stack: Stack, *args: Any) -> None:
        if next(steps) == 15:
            raise error
        real_step(stack, *args)

    monkeypatch.setattr(Stack, "begin_step", step)


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError("too large")])
def test_a_failure_of_the_machine_is_retried(
    error: Exception,
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = train([job(0, tmp_path / "a", hyper())], place)
    other = RunContext(place.store, place.store.ensure_experiment(f"retried {error}"), None)
    again = next_sweep(other)
    fail_once(monkeypatch, error)
    (run,) = train([job(0, tmp_path / "b", hyper())], again, policy=TWICE)
    assert run.outcome == "finished"
    assert run.best.metrics == expected[0].best.metrics
    assert kept(again, 0, tmp_path) == kept(place, 0, tmp_path)


@pytest.mark.parametrize(
    ("error", "policy"), [(ValueError("code"), TWICE), (OSError("disk"), FailurePolicy())]
)
def test_other_failures_are_not_retried(
    error: Exception,
    policy: FailurePolicy,
    place: RunContext,
    hyper: Hyper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_once(monkeypatch, error)
    (run,) = train([job(0, tmp_path, hyper())], place, policy=policy)
    assert run.outcome == "failed"
    assert str(error) in str(run.error)


def test_jobs_of_a_dead_worker_are_retried(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []
    poll = LocalTrainer.poll

    def poll_and_kill(trainer: LocalTrainer) -> Sequence[Event]:
        if not killed:
            killed.extend(p for p in psutil.Process().children() if "Loky" in str(p.cmdline()))
            for process in killed:
                process.kill()
        return poll(trainer)

    monkeypatch.setattr(LocalTrainer, "poll", poll_and_kill)
    jobs = [job(i, tmp_path / str(i), hyper(num_epochs=300, seed=i)) for i in range(2)]
    runs = train(jobs, place, cores=2, policy=TWICE)
    assert killed
    assert [run.outcome for run in runs] == ["finished", "finished"]


def test_too_many_failures_stop_the_other_jobs(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    sizes = (100, 2000, 3000, 4000)
    jobs = [job(i, tmp_path / str(i), hyper(batch_size=n)) for i, n in enumerate(sizes)]
    with pytest.raises(PipelineError, match=r"max_failures=2 and 3 of its jobs failed \(job 1: "):
        train(jobs, place, policy=FailurePolicy(max_failures=2))
    assert "RUNNING" not in statuses(place).values()
    assert train(jobs, next_sweep(place), policy=FailurePolicy(4))[0].outcome == "finished"


def test_search_counts_the_failures_of_all_batches_and_writes_a_report(outputs: Path) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=9", "hydra.sweeper.batch_size=1")
    values = (
        "batch_size=50",
        "seed=0,1",
        "hidden_size=4",
        "num_epochs=1",
        "hydra.sweeper.sampler=random",
    )
    policy = "hydra.launcher.max_failures=2"
    done = commands.run_with_failures(outputs, "-m", *search, *values, policy)
    assert done.returncode == 1
    assert "hydra.launcher.max_failures=2 and 2 of its jobs failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert [run["outcome"] for run in report_of(outputs)["runs"]] == ["failed", "failed"]
