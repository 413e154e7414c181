"""Train the jobs of a sweep, or the one job of a run, and keep MLflow and their logs told."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.config import (
    ConfigError,
    Hyperparameters,
    Job,
    PipelineError,
    check_batch_size,
    parse_job,
    short,
)
from pipeline.data import Dataset, load
from pipeline.dry_run import describe
from pipeline.population import Board, Shard, plan, share, train_wave
from pipeline.progress import Progress
from pipeline.tracking import Point, Store, Sweep
from pipeline.train import EpochEnd, Metrics, better

POLL_SECONDS = 0.2  # between looks at what the shards have published
FLUSH_SECONDS = 2.0  # between rounds of writing to MLflow, at least
FLUSH_SHARE = 0.04  # of the time, at most, goes into those rounds
MEMORY_SHARE = 0.6  # of the memory that is free, unless the launcher's max_memory says otherwise
FINDABLE = ("hidden_size", "l2_reg", "learning_rate", "seed")  # as tags of a run


@dataclass(frozen=True)
class JobSpec:
    """A job as Hydra hands it over."""

    number: int
    values: Mapping[str, Any]  # the composed configuration, interpolations resolved
    folder: Path  # its output folder
    log: logging.Logger  # its own log


@dataclass(frozen=True)
class Place:
    """Where in MLflow the runs go."""

    store: Store
    experiment_id: str
    sweep: Sweep | None  # None: a run of its own


class JobRun:
    """A job on its way: what it has measured, its MLflow run and its log."""

    def __init__(self, spec: JobSpec, place: Place) -> None:
        """Check the job's values; a job that cannot be has failed from the start."""
        self.spec = spec
        self.epoch = 0
        self.best: Metrics | None = None
        self.outcome = ""
        self.error: Exception | None = None
        self._best_epoch = 0
        self._points: list[Point] = []  # to be written
        self._params: dict[str, Any] = {}  # likewise
        self._place = place
        self._run_id = ""
        self._status = ""  # of the MLflow run, once it has ended
        self.artifacts = Path()  # what MLflow gets as files when the job ends
        self.job: Job | None = None
        try:
            self.job = parse_job(spec.values)
        except ConfigError as error:
            self.fail(error)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of a job whose values were accepted."""
        assert self.job is not None
        return self.job.hyperparameters

    def start(self, data: Dataset, folder: Path) -> None:
        """Create the MLflow run, RUNNING; what it gets as files is gathered below `folder`."""
        sizes = {"num_train": len(data.y_train), "num_val": len(data.y_val)}
        tags = {"dataset": data.name, "dataset_digest": data.digest}
        self._create_run(tags | {key: str(value) for key, value in sizes.items()})
        assert self.job is not None
        source = self.job.data.dir or self.job.data.url or "scikit-learn"
        self._place.store.log_dataset(
            self._run_id, data.name, data.digest, source, json.dumps(sizes)
        )
        self.artifacts = folder / self._run_id
        self.artifacts.mkdir()
        text = yaml.safe_dump(dict(self.spec.values), sort_keys=False, allow_unicode=True)
        (self.artifacts / "config.yaml").write_text(text)

    def take(self, end: EpochEnd, milliseconds: int) -> None:
        """Note an epoch; its row is written at the next flush."""
        self.epoch = end.epoch
        if end.outcome != "diverged":
            values = end.metrics._asdict()
            self._points.append(Point(end.epoch, milliseconds, values))
            if self.best is None or better(end.metrics, self.best):
                self.best, self._best_epoch = end.metrics, end.epoch
        if end.outcome:
            self.outcome = end.outcome

    @property
    def pending(self) -> bool:
        """Whether the next flush has something to write."""
        return not self._status and (bool(self._points) or self.outcome != "")

    def flush(self) -> None:
        """Write what is new to the log and, in one call, to MLflow; end the run if it is over."""
        self._log_epochs()
        if not self.outcome:
            self._write({})
        else:
            tags = {"outcome": self.outcome}
            if self.outcome == "diverged":
                tags["diverged_epoch"] = str(self.epoch)
            if self.best is not None:
                self._points.append(self._best_point())
            self.spec.log.info(self.summary())
            self._write(tags)
            self._place.store.log_files(self._run_id, self.artifacts)
            self._end("FINISHED")
        _close(self.spec.log)

    def fail(self, error: Exception, trace: str = "") -> None:
        """End as FAILED: the reason goes to the log and to MLflow, the traceback to the log."""
        self.outcome, self.error = "failed", error
        if not self._run_id:
            self._create_run({})
        self._log_epochs()
        self.spec.log.error("failed: %s%s", error, f"\n{trace}" if trace else "")
        self._write({"outcome": "failed", "error": str(error)})
        self._end("FAILED")
        _close(self.spec.log)

    def kill(self) -> None:
        """End as KILLED, if the run has begun and not ended: something stopped the whole sweep."""
        if self.pending:
            self.flush()
        if self._run_id and not self._status:
            self._end("KILLED")
            self.spec.log.warning("killed in epoch %d", self.epoch + 1)
            _close(self.spec.log)

    def _log_epochs(self) -> None:
        for point in self._points:
            values = " ".join(f"{key} {value:.4f}" for key, value in point.values.items())
            self.spec.log.info("epoch %d: %s", point.epoch, values)

    def _end(self, status: str) -> None:
        self._place.store.end_run(self._run_id, status)
        self._status = status
        if self.artifacts.name:
            shutil.rmtree(self.artifacts, ignore_errors=True)

    def summary(self) -> str:
        """How the job went, in one line."""
        if self.outcome == "diverged":
            return f"diverged in epoch {self.epoch}: the loss is not finite"
        assert self.best is not None
        return f"best val_acc {self.best.val_acc:.4f} in epoch {self._best_epoch}"

    def _best_point(self) -> Point:
        assert self.best is not None
        best = {"best_val_acc": self.best.val_acc, "best_val_loss": self.best.val_loss}
        best["best_epoch"] = float(self._best_epoch)
        return Point(self.epoch, int(time.time() * 1000), best)

    def _create_run(self, tags: Mapping[str, str]) -> None:
        values = {k: v for k, v in self.spec.values.items() if not isinstance(v, Mapping)}
        data = self.spec.values.get("data")
        self._params = values | ({"data.name": data["name"]} if isinstance(data, Mapping) else {})
        name = f"job {self.spec.number}"
        if self.job is not None:
            p = self.job.hyperparameters
            name = f"H={p.hidden_size} lr={short(p.learning_rate)} λ={short(p.l2_reg)} s{p.seed}"
        findable = {key: str(values[key]) for key in FINDABLE if key in values}
        self._run_id = self._place.store.start_run(
            self._place.experiment_id,
            name,
            {"job": str(self.spec.number), **findable, **tags},
            self._place.sweep,
        )

    def _write(self, tags: Mapping[str, str]) -> None:
        self._place.store.log(self._run_id, self._points, self._params, tags)
        self._points, self._params = [], {}


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


def _close(log: logging.Logger) -> None:
    """Give the log's file back until the next line: a sweep has more jobs than a process files."""
    for handler in log.handlers:
        handler.close()
