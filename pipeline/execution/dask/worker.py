"""The task of a Dask worker: check that the worker is fit, then train a shard.

A worker trains like a sweep on one machine (`train_jobs`). It logs to the tracking server itself,
and reads data and checkpoints from its own disk.
"""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from distributed import Status, Worker, get_worker

from pipeline import shutdown
from pipeline.config import DataConfig, parse_job
from pipeline.errors import PipelineError
from pipeline.execution.backend import MEMORY_SHARE
from pipeline.execution.dask.environment import difference
from pipeline.execution.dask.task import ShardResult, Task
from pipeline.execution.datasets import Datasets
from pipeline.execution.job import JobRun
from pipeline.execution.local import LocalBackend
from pipeline.execution.run import train_jobs
from pipeline.execution.spec import JobResult, JobSpec, RunContext
from pipeline.tracking import cleanup
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.store import Store

STORE_SECONDS = 30  # how long to retry when the tracking server does not answer
ACTIVE = (Status.running, Status.paused, Status.closing_gracefully)

T = TypeVar("T")


def train_shard(task: Task, key: str) -> ShardResult:
    """Train the jobs of a shard that no machine has finished yet.

    Args:
        task: the shard.
        key: Dask's name of this attempt.
    """
    worker = get_worker()
    with shutdown.cancel_when(lambda: not _is_wanted(worker, key)):
        try:
            datasets = Datasets()
            if unfit := _reason_unfit(task, datasets):
                return ShardResult(unfit=unfit)
            return _train(task, _memory(worker, task), datasets)
        except shutdown.Stopped:
            return ShardResult(problem="it was stopped")  # nobody waits for this result
        except Exception as error:
            return ShardResult(problem=f"{error}\n{traceback.format_exc()}")


def _is_wanted(worker: Worker, key: str) -> bool:
    """Whether the sweep still waits for the result; it or the scheduler may have stopped."""
    task = worker.state.tasks.get(key)
    return worker.status in ACTIVE and task is not None and task.state == "executing"


def _reason_unfit(task: Task, datasets: Datasets) -> str:
    """One sentence why this worker cannot reproduce the bits of the other machines, or ""."""
    if reason := difference(task.environment):
        return reason
    job = parse_job(task.jobs[0][1])
    try:
        digest = datasets.get(job).digest
        _retry(lambda: _store(task.tracking_uri))
    except PipelineError as error:
        return str(error)
    if digest != task.digest:
        return (
            f"{_location(job.data)} holds other data than the machine of the sweep: "
            "copy the same files there"
        )
    return ""


def _location(data: DataConfig) -> str:
    for key, value in (("file", data.file), ("dir", data.dir)):
        if value:
            return f"data.{key}={value}"
    return f"its copy of {data.name}"


def _train(task: Task, memory: int | None, datasets: Datasets) -> ShardResult:
    store = _store(task.tracking_uri)
    finished = _retry(lambda: cleanup.claim_shard(store, task.sweep, task.shard_id))
    context = RunContext(store, task.experiment_id, task.sweep, task.shard_id)
    logs = {number: _LogRecords() for number, _ in task.jobs}
    specs = [
        JobSpec(number, values, Path(), logs[number].logger())
        for number, values in task.jobs
        if number not in finished
    ]
    with LocalBackend(cores=1, memory=memory) as backend:
        runs = train_jobs(specs, context, backend, datasets=datasets)
    results = [_result(run, logs[run.spec.number]) for run in runs]
    for number, values in task.jobs:
        if number in finished:
            results.append(_reused(number, values, finished[number], context, logs[number]))
    return ShardResult(tuple(results))


def _result(run: JobRun, log: _LogRecords) -> JobResult:
    assert run.outcome is not None
    error = str(run.error) if run.error is not None else ""
    records = tuple(log.records)
    return JobResult(run.spec.number, run.run_id, run.outcome, run.epoch, run.score, error, records)


def _reused(
    number: int, values: Mapping[str, Any], run: FinishedRun, context: RunContext, log: _LogRecords
) -> JobResult:
    """The result of a job that another worker had finished before it was lost."""
    job = JobRun(JobSpec(number, values, Path(), log.logger()), context)
    job.reuse(run)
    return _result(job, log)


class _LogRecords(logging.Handler):
    """Collects the log of a job for the machine that writes the file."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def logger(self) -> logging.Logger:
        logger = logging.Logger("pipeline")
        logger.addHandler(self)
        return logger


def _memory(worker: Worker, task: Task) -> int | None:
    """Bytes for data and weights. Dask restarts a worker that exceeds its memory limit."""
    limit = worker.memory_manager.memory_limit
    return task.memory or (int(limit * MEMORY_SHARE) if limit else None)


@functools.cache
def _store(uri: str) -> Store:
    return Store(uri)


def _retry(call: Callable[[], T]) -> T:
    """Call the tracking server, and retry for `STORE_SECONDS` when it does not answer.

    Raises:
        PipelineError: it does not answer.
    """
    give_up = time.monotonic() + STORE_SECONDS
    while True:
        try:
            return call()
        except PipelineError:
            shutdown.check()
            if time.monotonic() > give_up:
                raise
            time.sleep(1)
