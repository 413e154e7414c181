"""Jobs that a source supplies one after another, while earlier jobs train."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.config import parse_job
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.backend import EpochTrained, Event, PlannedJob, Resources
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.failure import FailurePolicy
from pipeline.execution.job import JobRun
from pipeline.execution.local import LocalBackend
from pipeline.execution.local_stream import LocalStream
from pipeline.execution.plan import model_bytes
from pipeline.execution.run import NO_POLICY, train_stream
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.execution.stopping import StoppingRule
from pipeline.execution.stream import Supply
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.stack import Stack
from tests.conftest import forbid_training, job, kept, next_sweep, statuses, train

pytestmark = pytest.mark.usefixtures("outputs")

Hyper = Callable[..., Hyperparameters]


class ListSource:
    """Supplies a list of jobs, with a limit for the number in flight."""

    def __init__(
        self, specs: Sequence[JobSpec], limit: int, rule: StoppingRule | None = None
    ) -> None:
        self.job = parse_job(specs[0].values)
        self.num_jobs, self.max_active, self.stops_early = len(specs), limit, rule is not None
        self.ended: list[int] = []
        self.originals: dict[int, int] = {}
        self._specs, self._rule = list(specs), rule
        self._in_flight = 0

    def next_supply(self) -> Supply | None:
        if not self._specs or self._in_flight == self.max_active:
            return None
        self._in_flight += 1
        return Supply([self._specs.pop(0)], self._rule)

    def end(self, supply: Supply, original: Supply | None) -> None:
        self._in_flight -= 1
        self.ended.append(supply.specs[0].number)
        if original is not None:
            self.originals[supply.specs[0].number] = original.specs[0].number


class StopAt:
    """A rule that pauses at each of two epochs, and stops a job at the second."""

    def __init__(self, number: int, epochs: tuple[int, int]) -> None:
        self._number, self._epochs = number, epochs
        self.seen: list[tuple[int, int, int]] = []  # number, rung, epochs of the job

    def rungs(self, candidates: Sequence[JobRun]) -> list[int]:
        return list(self._epochs)

    def select_halted(self, candidates: Sequence[JobRun], rung: int) -> list[JobRun]:
        self.seen += [(run.spec.number, rung, run.epoch) for run in candidates]
        last = rung == self._epochs[1]
        return [run for run in candidates if last and run.spec.number == self._number]


def stream(
    source: ListSource, context: RunContext, cores: int, policy: FailurePolicy = NO_POLICY
) -> list[JobRun]:
    with LocalBackend(cores) as backend:
        return train_stream(source, context, backend, policy)


def specs_of(folder: Path, *values: Hyperparameters) -> list[JobSpec]:
    return [job(i, folder / str(i), each) for i, each in enumerate(values)]


def test_jobs_of_a_stream_have_the_results_of_a_sweep(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    different = [hyper(seed=i, num_epochs=1 + 3 * i % 5, hidden_size=8 + i) for i in range(4)]
    specs = specs_of(tmp_path, *different, different[0], hyper(batch_size=2000))
    train(specs[:4], place, cores=2)
    other = next_sweep(RunContext(place.store, place.store.ensure_experiment("stream"), None))
    source = ListSource(specs, limit=3)
    runs = stream(source, other, cores=2)
    assert [run.outcome for run in runs] == ["finished"] * 5 + ["failed"]
    assert sorted(source.ended) == [*range(6)]
    assert source.originals == {4: 0}
    for number in range(4):
        before, after = (kept(each, number, tmp_path) for each in (place, other))
        assert before == after
    assert statuses(other) == {**dict.fromkeys("01234", "FINISHED"), "5": "FAILED"}


def test_a_paused_job_stops_with_exactly_its_epochs_while_others_train(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    specs = specs_of(tmp_path, *(hyper(seed=i, num_epochs=6) for i in range(3)))
    rule = StopAt(1, (2, 4))
    runs = stream(ListSource(specs, 3, rule), place, cores=2)
    assert [(run.outcome, run.epoch) for run in runs] == [
        ("finished", 6),
        ("halted", 4),
        ("finished", 6),
    ]
    assert sorted(rule.seen) == [(n, rung, rung) for n in range(3) for rung in (2, 4)]
    curves = kept(place, 1, tmp_path)[0]
    assert [*curves["val_acc"]] == [1, 2, 3, 4]
    # The next sweep repeats the decisions without training.
    with pytest.MonkeyPatch.context() as patch:
        forbid_training(patch)
        again = stream(ListSource(specs, 3, StopAt(1, (2, 4))), next_sweep(place), cores=1)
    assert [run.outcome for run in again] == ["finished", "halted", "finished"]


def test_interrupted_stream_saves_checkpoints_and_resumes(
    place: RunContext, hyper: Hyper, tmp_path: Path
) -> None:
    specs = specs_of(tmp_path, *(hyper(seed=i, num_epochs=9) for i in range(2)), hyper())
    asked = itertools.count()

    def interrupt(_: LocalStream) -> list[Event]:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStream, "_poll", interrupt)
        patch.setattr(SharedMetrics, "stopped", lambda _: next(asked) > 40)  # in epoch 4
        with pytest.raises(KeyboardInterrupt):
            stream(ListSource(specs, 2), place, cores=1)
    assert statuses(place) == {"0": "KILLED"}
    steps, step = itertools.count(), Stack.begin_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stack, "begin_step", lambda *args: [next(steps), step(*args)])
        runs = stream(ListSource(specs, 2), next_sweep(place), cores=1)
    assert [run.outcome for run in runs] == ["finished"] * 3
    assert next(steps) == 11 * (9 + 9 + 3) - 40  # of 11 mini-batches an epoch
    assert not list((tmp_path / "outputs" / "checkpoints").glob("*"))


def test_jobs_of_a_dead_worker_are_retried_or_fail(
    place: RunContext, hyper: Hyper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []
    poll = LocalStream._poll

    def poll_and_kill(self: LocalStream) -> list[Event]:
        if not killed:
            killed.extend(p for p in psutil.Process().children() if "Loky" in str(p.cmdline()))
            for process in killed:
                process.kill()
        return poll(self)

    monkeypatch.setattr(LocalStream, "_poll", poll_and_kill)
    specs = specs_of(tmp_path, *(hyper(seed=i, num_epochs=200) for i in range(3)))
    runs = stream(ListSource(specs, 3), place, 2, FailurePolicy(retries=1))
    assert killed
    assert [run.outcome for run in runs] == ["finished"] * 3


def test_too_many_failures_stop_a_stream(place: RunContext, hyper: Hyper, tmp_path: Path) -> None:
    specs = specs_of(tmp_path, *(hyper(batch_size=n) for n in (100, 2000, 3000, 4000, 100)))
    with pytest.raises(PipelineError, match=r"max_failures=2 and \d of its jobs failed"):
        stream(ListSource(specs, 4), place, 1, FailurePolicy(max_failures=2))
    assert "RUNNING" not in statuses(place).values()


def test_jobs_wait_for_memory_and_the_lowest_number_goes_first(
    place: RunContext, digits: Dataset, hyper: Hyper, tmp_path: Path
) -> None:
    values = hyper(num_epochs=2)
    one = model_bytes(values, digits.X_train.shape[1], len(digits.classes))
    memory = digits.X_train.nbytes + digits.X_val.nbytes + one  # for a single model
    checkpoints = Checkpoints(tmp_path, 5)
    training = LocalStream(digits, checkpoints, place, Resources(2, memory), 4, tmp_path)
    for number in (3, 1, 2, 0):
        training.add(PlannedJob(number, {}, values, f"name{number}", 0), None)
    ends = {
        event.job: event.row.milliseconds
        for events in training
        for event in events
        if isinstance(event, EpochTrained)
    }
    assert sorted(ends) == [0, 1, 2, 3]
    assert ends[0] <= ends[2]
