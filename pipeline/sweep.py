"""Train the jobs of a sweep, or the one job of a run, and keep MLflow and their logs told."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import psutil

from pipeline.config import (
    ConfigError,
    Job,
    PipelineError,
    check_batch_size,
)
from pipeline.data import Dataset, load
from pipeline.dry_run import describe
from pipeline.jobrun import JobRun, JobSpec, Place
from pipeline.population import Board, Shard, plan, share, train_wave
from pipeline.progress import Progress

POLL_SECONDS = 0.2  # between looks at what the shards have published
FLUSH_SECONDS = 2.0  # between rounds of writing to MLflow, at least
FLUSH_SHARE = 0.04  # of the time, at most, goes into those rounds
MEMORY_SHARE = 0.6  # of the memory that is free, unless the launcher's max_memory says otherwise


def train_jobs(
    specs: Sequence[JobSpec], place: Place, cores: int, memory: int | None = None
) -> list[JobRun]:
    """Train jobs, as many together as can be; a job that fails does not stop the others.

    Args:
        specs: the jobs.
        place: where their runs go.
        cores: shards that train at once.
        memory: bytes for data and weights; None: a share of what is free.

    Returns:
        The jobs in their order, each ended as finished, diverged or failed.
    """
    runs = [JobRun(spec, place) for spec in specs]
    groups: dict[str, list[JobRun]] = defaultdict(list)
    for run in runs:
        if run.job is not None:
            groups[run.job.data_key].append(run)
    try:
        for group in groups.values():
            _train_group(group, cores, memory)
    except BaseException:
        for run in runs:
            with suppress(PipelineError):  # it may be the store that is gone
                run.kill()
        raise
    return runs


def dry_run(jobs: Sequence[Job], cores: int, memory: int | None = None) -> list[str]:
    """Lines that say what `train_jobs` would do.

    Raises:
        PipelineError: a job cannot be trained.
    """
    lines: list[str] = []
    for key in dict.fromkeys(job.data_key for job in jobs):
        group = [job for job in jobs if job.data_key == key]
        data = load(group[0].data, group[0].hyperparameters.dtype)
        for job in group:
            check_batch_size(job.hyperparameters, len(data.y_train))
        free = _memory_for_weights(data, memory)
        lines += describe([job.hyperparameters for job in group], data, cores, free)
    return lines


def _memory_for_weights(data: Dataset, memory: int | None) -> int:
    memory = memory or int(psutil.virtual_memory().available * MEMORY_SHARE)
    return memory - data.X_train.nbytes - data.X_val.nbytes


def _train_group(runs: Sequence[JobRun], cores: int, memory: int | None) -> None:
    """Train jobs on the same data and dtype."""
    assert runs[0].job is not None
    try:
        data = load(runs[0].job.data, runs[0].hyperparameters.dtype)
    except Exception as error:
        trace = "" if isinstance(error, PipelineError) else traceback.format_exc()
        for run in runs:
            run.fail(error, trace)
        return
    runs = [run for run in runs if _fits(run, data)]
    jobs = [run.hyperparameters for run in runs]
    free = _memory_for_weights(data, memory)
    waves = plan(jobs, data.X_train.shape[1], len(data.classes), cores, free)
    progress = Progress(len(jobs), sum(job.num_epochs for job in jobs) * len(data.y_train))
    with tempfile.TemporaryDirectory() as folder:
        if any(len(wave) > 1 for wave in waves):
            data = share(data, Path(folder))
        for wave in waves:
            _train_wave(wave, runs, data, Path(folder), cores, progress)
    progress.close()


def _train_wave(
    wave: Sequence[Shard],
    runs: Sequence[JobRun],
    data: Dataset,
    folder: Path,
    cores: int,
    progress: Progress,
) -> None:
    """Train the shards of a wave in the background; write what they publish meanwhile."""
    jobs = [run.hyperparameters for run in runs]
    members = [i for shard in wave for i in shard.jobs]
    for i in members:
        runs[i].start(data, folder)
    board = Board(folder / "board", len(runs), max(jobs[i].num_epochs for i in members))
    folders = [run.artifacts for run in runs]
    with ThreadPoolExecutor(1) as background:
        training = background.submit(train_wave, wave, jobs, data, folders, board, cores)
        flush_at = time.monotonic() + FLUSH_SECONDS
        try:
            while not training.done():
                wait([training], POLL_SECONDS)
                _look(board, members, runs, len(data.y_train), progress)
                if time.monotonic() > flush_at:
                    flush_at = _flush(runs) + time.monotonic()
        except BaseException:
            board.stop()
            raise
    _look(board, members, runs, len(data.y_train), progress)
    _flush(runs)
    try:
        traces = training.result()
    except Exception as error:  # a process died, and the shards with it
        traces = [str(error)] * len(wave)
    for shard, trace in zip(wave, traces, strict=True):
        for i in shard.jobs:
            if trace is not None and not runs[i].outcome:
                runs[i].fail(RuntimeError(trace.strip().splitlines()[-1]), trace)
                progress.end("failed", (jobs[i].num_epochs - runs[i].epoch) * len(data.y_train))


def _look(
    board: Board, members: Sequence[int], runs: Sequence[JobRun], images: int, progress: Progress
) -> None:
    """Take in what the shards have published since the last look."""
    for i in members:
        run = runs[i]
        for end, milliseconds in board.read(i, run.epoch):
            run.take(end, milliseconds)
            progress.saw(images)
            if end.outcome:
                progress.end(end.outcome, (run.hyperparameters.num_epochs - end.epoch) * images)


def _flush(runs: Sequence[JobRun]) -> float:
    """Write all that is pending; returns the seconds to wait before the next time."""
    began = time.monotonic()
    for run in runs:
        if run.pending:
            run.flush()
    return max(FLUSH_SECONDS, (time.monotonic() - began) / FLUSH_SHARE)


def _fits(run: JobRun, data: Dataset) -> bool:
    try:
        check_batch_size(run.hyperparameters, len(data.y_train))
    except ConfigError as error:
        run.fail(error)
    return run.error is None
