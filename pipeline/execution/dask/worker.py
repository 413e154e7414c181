"""What a worker of a Dask cluster does with a shard: look whether it is fit for it, and train it.

A worker trains as this project does on one machine (`train_jobs`), with a tracking server for the
runs and with its own disk for the data and the checkpoints.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from distributed import Status, Worker, get_worker
from threadpoolctl import threadpool_info

from pipeline import shutdown
from pipeline.config import DataConfig, parse_job
from pipeline.data.load import load
from pipeline.errors import PipelineError
from pipeline.execution.job import JobResult, JobRun, JobSpec, RunContext
from pipeline.execution.local import MEMORY_SHARE
from pipeline.execution.run import train_jobs
from pipeline.paths import PACKAGE
from pipeline.tracking.store import Finished, Store, Sweep

STORE_SECONDS = 30  # within which the tracking server must answer a worker
WORKING = (Status.running, Status.paused, Status.closing_gracefully)
# What a worker has in another form than the sweep's machine, and what to do.
REMEDIES = {
    "pipeline/": "start it again from the same checkout",
    "NumPy": "install the same requirements.lock there",
    "BLAS": "set OPENBLAS_CORETYPE on all machines to the same kernels (docs/cluster.md)",
    "NumPy's kernels": "set NPY_DISABLE_CPU_FEATURES on all machines (docs/cluster.md)",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A shard on its way to a worker."""

    shard: str  # a tag of its runs
    jobs: tuple[tuple[int, Mapping[str, Any]], ...]  # number and values
    uri: str  # of the tracking server
    experiment_id: str
    sweep: Sweep
    digest: str  # of the data
    facts: Mapping[str, str]  # that the worker must share
    memory: int | None  # bytes for data and weights


@dataclass(frozen=True)
class ShardResult:
    """What became of a task."""

    endings: tuple[JobResult, ...] = ()
    unfit: str = ""  # why this worker cannot do it, and what to do
    problem: str = ""  # why it has not done it


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


CODE = _code()  # as it was imported: a worker may live longer than a checkout


def facts() -> Mapping[str, str]:
    """All that decides the last bits of a result on a machine, besides the job and its data."""
    blas: Mapping[str, Any] = max(
        (library for library in threadpool_info() if library["user_api"] == "blas"),
        key=lambda library: "numpy" in library["filepath"],  # SciPy brings its own
        default={},
    )
    names = ("internal_api", "version", "architecture")
    loops = np.lib.introspect.opt_func_info(func_name="^(add|exp|log|maximum)$")
    kernels = {kinds["current"] for types in loops.values() for kinds in types.values()}
    return {
        "pipeline/": CODE,
        "NumPy": np.__version__,
        "BLAS": " ".join(str(blas.get(name, "?")) for name in names),
        "NumPy's kernels": ", ".join(sorted(kernels)),
    }


def train_shard(task: Task, key: str) -> ShardResult:
    """Train the jobs of a shard that no machine has finished yet; Dask names this try `key`."""
    worker = get_worker()
    with shutdown.when(lambda: not _wanted(worker, key)):
        try:
            unfit = _unfit(task)
            return ShardResult(unfit=unfit) if unfit else _train(task, _memory(worker, task))
        except shutdown.Stopped:
            return ShardResult(problem="it was stopped")  # which nobody reads any more
        except Exception as error:
            return ShardResult(problem=f"{error}\n{traceback.format_exc()}")


def _wanted(worker: Worker, key: str) -> bool:
    """Whether somebody waits for the result: the sweep may be gone, or the scheduler."""
    task = worker.state.tasks.get(key)
    return worker.status in WORKING and task is not None and task.state == "executing"


def _unfit(task: Task) -> str:
    """What keeps this worker from giving the same bits as the others, in one sentence; or ""."""
    mine = facts()
    for name, expected in task.facts.items():
        if mine[name] != expected:
            return f"its {name} is {mine[name]}, not {expected}: {REMEDIES[name]}"
    job = parse_job(task.jobs[0][1])
    try:
        digest = load(job.data, job.hyperparameters.dtype).digest
        _patiently(lambda: _store(task.uri))
    except PipelineError as error:
        return str(error)
    if digest != task.digest:
        return (
            f"{_where(job.data)} holds other images than on the machine of the sweep: "
            "copy the same files there"
        )
    return ""


def _where(data: DataConfig) -> str:
    return f"data.dir={data.dir}" if data.dir else f"its copy of {data.name}"


def _train(task: Task, memory: int | None) -> ShardResult:
    store = _store(task.uri)
    done = _patiently(lambda: store.claim_shard(task.sweep, task.shard))
    context = RunContext(store, task.experiment_id, task.sweep, task.shard)
    logs = {number: _Lines() for number, _ in task.jobs}
    specs = [
        JobSpec(number, values, Path(), logs[number].logger())
        for number, values in task.jobs
        if number not in done
    ]
    runs = train_jobs(specs, context, cores=1, memory=memory)
    endings = [_ending(run, logs[run.spec.number]) for run in runs]
    for number, values in task.jobs:
        if number in done:
            endings.append(_reused(number, values, done[number], context, logs[number]))
    return ShardResult(tuple(endings))


def _ending(run: JobRun, log: _Lines) -> JobResult:
    error = str(run.error) if run.error is not None else ""
    number = run.spec.number
    return JobResult(number, run.outcome, run.epoch, run.score, error, tuple(log.records))


def _reused(
    number: int, values: Mapping[str, Any], finished: Finished, context: RunContext, log: _Lines
) -> JobResult:
    """The end of a job that another worker had finished before it was lost."""
    run = JobRun(JobSpec(number, values, Path(), log.logger()), context)
    run.reuse(finished)
    return _ending(run, log)


class _Lines(logging.Handler):
    """Keeps the lines of a job's log for the machine that has the file."""

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
    """Bytes for data and weights: Dask ends a worker that takes more than its limit."""
    limit = worker.memory_manager.memory_limit
    return task.memory or (int(limit * MEMORY_SHARE) if limit else None)


@functools.cache
def _store(uri: str) -> Store:
    return Store(uri)


def _patiently(ask: Callable[[], T]) -> T:
    """Ask the tracking server again for some time when it does not answer.

    Raises:
        PipelineError: it does not.
    """
    until = time.monotonic() + STORE_SECONDS
    while True:
        try:
            return ask()
        except PipelineError:
            shutdown.check()
            if time.monotonic() > until:
                raise
            time.sleep(1)
