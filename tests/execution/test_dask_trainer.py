"""Distribution of shards over Dask workers, with a scheduler that the tests control."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.backend import Event, JobFailed, JobLogged, Plan, PlannedJob
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.dask import trainer
from pipeline.execution.dask.task import ShardResult, Task
from pipeline.execution.dask.trainer import DaskTrainer
from pipeline.execution.spec import JobResult, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.outcomes import Outcome


class Workers:
    """A scheduler whose workers answer each task with `reply`; only polls take time."""

    address = "tcp://test:1"

    def __init__(self, reply: Callable[[str, Task], ShardResult | None]) -> None:
        self.reply = reply
        self.threads: Mapping[str, int] | None = {"a": 1, "b": 1}
        self.sent: list[tuple[str, Task]] = []
        self.cancelled: list[str] = []
        self.now = 0.0
        self._open: dict[str, tuple[str, Task]] = {}

    def workers(self) -> Mapping[str, int] | None:
        return self.threads

    def send(self, worker: str, task: Task) -> str:
        key = str(len(self.sent))
        self.sent.append((worker, task))
        self._open[key] = worker, task
        return key

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)
        self._open.pop(key)

    def results(self, seconds: float) -> Iterator[tuple[str, ShardResult | None]]:
        self.now += seconds
        tasks, self._open = self._open, {}
        for key, (worker, task) in tasks.items():
            yield key, self.reply(worker, task)

    def reconnect(self) -> None:
        self._open.clear()


Train = Callable[[Workers], list[Event]]


@pytest.fixture
def train(
    place: RunContext,
    digits: Dataset,
    hyper: Callable[..., Hyperparameters],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    def run(workers: Workers) -> list[Event]:
        monkeypatch.setattr(trainer.time, "monotonic", lambda: workers.now)
        jobs = [PlannedJob(i, {}, hyper(seed=i), str(i), 0) for i in range(4)]
        plan = Plan(jobs, digits, Checkpoints(tmp_path, 5), place)
        return [event for events in DaskTrainer(workers, plan, None) for event in events]

    return run


def finish(worker: str, task: Task) -> ShardResult:
    numbers = [number for number, _ in task.jobs]
    return ShardResult(
        tuple(JobResult(n, f"run-{n}", Outcome.FINISHED, 3, 0.5, "", ()) for n in numbers)
    )


def test_each_job_is_trained_once_by_some_worker(train: Train) -> None:
    workers = Workers(finish)
    events = train(workers)
    assert sorted(event.job for event in events) == [0, 1, 2, 3]
    assert all(isinstance(event, JobLogged) for event in events)
    assert {worker for worker, _ in workers.sent} == {"a", "b"}


def test_a_shard_whose_workers_fail_is_given_up_after_three_attempts(train: Train) -> None:
    def fail(worker: str, task: Task) -> ShardResult:
        failed = task.shard_id == "2"
        return ShardResult(problem="no memory\ntrace") if failed else finish(worker, task)

    workers = Workers(fail)
    events = {event.job: event for event in train(workers)}
    given_up = events.pop(2)
    assert isinstance(given_up, JobFailed)
    assert "given up after 3 attempts (worker " in str(given_up.error)
    assert given_up.trace == "trace"
    assert all(isinstance(event, JobLogged) for event in events.values())
    assert [task.shard_id for _, task in workers.sent].count("2") == 3


def test_a_lost_result_is_not_a_failed_attempt(train: Train) -> None:
    lost: list[str] = []

    def lose(worker: str, task: Task) -> ShardResult | None:
        if task.shard_id == "1" and len(lost) < 5:
            lost.append(worker)
            return None
        return finish(worker, task)

    assert all(isinstance(event, JobLogged) for event in train(Workers(lose)))
    assert len(lost) == 5


def test_an_unfit_worker_gets_one_shard_and_no_more(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    def reply(worker: str, task: Task) -> ShardResult:
        return ShardResult(unfit="other NumPy") if worker == "a" else finish(worker, task)

    workers = Workers(reply)
    assert len(train(workers)) == 4
    assert [worker for worker, _ in workers.sent].count("a") == 1
    assert "worker a is not used: other NumPy" in caplog.text


def test_a_sweep_without_a_fit_worker_ends_after_ten_seconds(train: Train) -> None:
    workers = Workers(lambda *_: ShardResult(unfit="other NumPy"))
    with pytest.raises(PipelineError, match="none of the 2 workers at tcp://test:1 can be used"):
        train(workers)
    assert 10 < workers.now < 14


def test_a_worker_with_two_threads_is_not_used(train: Train) -> None:
    workers = Workers(finish)
    workers.threads = {"a": 2, "b": 1}
    train(workers)
    assert {worker for worker, _ in workers.sent} == {"b"}


def test_a_sweep_waits_for_workers_and_warns_once_a_minute(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Late(Workers):
        def workers(self) -> Mapping[str, int] | None:
            return {"a": 1} if self.now > 150 else {}

    assert len(train(Late(finish))) == 4
    assert caplog.text.count("the sweep waits because there is no worker") == 3


def test_shards_of_a_lost_worker_and_of_a_lost_scheduler_are_sent_again(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreliable(Workers):
        def workers(self) -> Mapping[str, int] | None:
            return {1.0: {"b": 1}, 2.0: None}.get(self.now, self.threads)

        def results(self, seconds: float) -> Iterator[tuple[str, ShardResult | None]]:
            if self.now >= 2:
                return super().results(seconds)
            self.now += seconds
            return iter(())

    workers = Unreliable(finish)
    with caplog.at_level(logging.WARNING, "pipeline"):
        events = train(workers)
    assert sorted(event.job for event in events) == [0, 1, 2, 3]
    assert "worker a died or left" in caplog.text
    assert workers.cancelled == ["0"] or workers.cancelled == ["1"]


def test_a_shard_of_a_large_sweep_holds_about_64_jobs(
    place: RunContext, digits: Dataset, hyper: Callable[..., Hyperparameters], tmp_path: Path
) -> None:
    jobs = [PlannedJob(i, {}, hyper(l2_reg=i / 1e6), str(i), 0) for i in range(1100)]
    workers = Workers(finish)
    trained = DaskTrainer(workers, Plan(jobs, digits, Checkpoints(tmp_path, 5), place), None)
    assert sum(len(events) for events in trained) == 1100
    sizes = [len(task.jobs) for _, task in workers.sent]
    assert (len(sizes), max(sizes)) == (17, 65)


def test_a_sweep_that_sees_only_unfit_workers_waits_ten_seconds_for_another(train: Train) -> None:
    class Late(Workers):
        def workers(self) -> Mapping[str, int] | None:
            return {"a": 2, "b": 1} if self.now > 8 else {"a": 2}

    assert len(train(Late(finish))) == 4
    workers = Workers(finish)
    workers.threads = {"a": 2}
    with pytest.raises(PipelineError, match="none of the 1 workers"):
        train(workers)
    assert 10 < workers.now < 14
