"""Train the jobs of a sweep, or the one job of a run, and keep MLflow and their logs told."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from pipeline import stop
from pipeline.board import Board
from pipeline.checkpoint import Checkpoints, fingerprint
from pipeline.config import (
    ConfigError,
    Halving,
    Hyperparameters,
    Job,
    PipelineError,
    check_batch_size,
    checkpoints_dir,
)
from pipeline.data import Dataset, load
from pipeline.dry_run import describe
from pipeline.halving import leaving
from pipeline.jobrun import JobRun, JobSpec, Place
from pipeline.population import Shard, check_size, plan, share, train_wave
from pipeline.progress import Progress
from pipeline.provenance import HEARTBEAT_SECONDS, lives, this_process
from pipeline.tracking import Finished, Store

POLL_SECONDS = 0.2  # between looks at what the shards have published
FLUSH_SECONDS = 5.0  # between rounds of writing to MLflow, at least
FLUSH_SHARE = 0.04  # of the time, at most, goes into those rounds
PATIENCE_SECONDS = 60  # for a store that is out of reach when all is trained
SCRATCH = "population"  # what the names of temporary folders begin with
MEMORY_SHARE = 0.6  # of the memory that is free, unless the launcher's max_memory says otherwise

log = logging.getLogger("pipeline")


def train_jobs(
    specs: Sequence[JobSpec],
    place: Place,
    cores: int,
    memory: int | None = None,
    halving: Halving | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[JobRun]:
    """Train jobs, as many together as can be; a job that fails does not stop the others.

    A job that has a finished run already is not trained again, and one that was interrupted goes on
    from its checkpoint.

    Args:
        specs: the jobs.
        place: where their runs go.
        cores: shards that train at once.
        memory: bytes for data and weights; None: a share of what is free.
        halving: when which part of the configurations stops training; None: all train to their end.
        elsewhere: trains the jobs on other machines.

    Returns:
        The jobs in their order, each ended as finished, halted, diverged or failed; one whose
        result could not be sent to MLflow has the reason as its error, and its result stays in its
        checkpoint.
    """
    runs = [JobRun(spec, place) for spec in specs]
    groups: dict[str, list[JobRun]] = defaultdict(list)
    for run in runs:
        if run.job is not None:
            groups[run.job.data_key].append(run)
    writer = Writer(runs, place)
    try:
        for group in groups.values():
            _train_group(group, place, writer, cores, memory, halving, elsewhere)
        writer.finish()
    except BaseException:
        with suppress(PipelineError, OSError):  # it may be the store that is gone
            for run in runs:
                run.kill()
        raise
    return runs


class Writer:
    """Sends what the jobs have measured to MLflow, now and then; what fails is sent again."""

    def __init__(self, runs: Sequence[JobRun], place: Place) -> None:
        """Take the jobs of a sweep."""
        self._runs, self._place = list(runs), place
        self._next = time.monotonic()  # the parameters, while training begins
        self._beat = time.monotonic() + HEARTBEAT_SECONDS
        self._problem: Exception | None = None

    def tick(self, trained: Callable[[], bool] = lambda: False) -> None:
        """Write what is pending, if it is time to; what is left when all is trained, `flush` does.

        Args:
            trained: whether the wave is.
        """
        began = time.monotonic()
        if began < self._next:
            return
        self.flush(trained)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(FLUSH_SECONDS, took / FLUSH_SHARE)

    def flush(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Write all that is pending, until that fails, or is enough."""
        if self._place.sweep is not None and time.monotonic() > self._beat:
            self._try(partial(self._place.store.say_alive, self._place.sweep.run_id))
            self._beat = time.monotonic() + HEARTBEAT_SECONDS
        for run in [run for run in self._runs if run.pending]:
            if enough():
                break
            if not self._try(run.flush):
                self._runs.remove(run)  # next time the others come first
                self._runs.append(run)
                return
        if any(run.unsettled for run in self._runs):
            self._try(self._settle)

    def _settle(self) -> None:
        """Forget the checkpoints of what is written, as soon as a power failure cannot take it."""
        self._place.store.sync()
        for run in self._runs:
            if run.unsettled:
                run.settle()

    def open(self, runs: Sequence[JobRun]) -> None:
        """Create the MLflow runs of jobs, if the store can be reached: if not, `flush` will."""
        all(self._try(run.open) for run in runs)

    def finish(self) -> None:
        """Write the rest; wait for a store that is out of reach, but not for ever."""
        until = time.monotonic() + PATIENCE_SECONDS
        self.flush()
        while self._problem is not None and time.monotonic() < until:
            time.sleep(FLUSH_SECONDS)
            self.flush()
        unsent = [run for run in self._runs if not run.ended]
        if unsent:
            reason = (
                f"{len(unsent)} of {len(self._runs)} jobs are trained but not in MLflow "
                f"({self._problem}): they are kept in {checkpoints_dir()}, and the same command "
                "again sends them without training"
            )
            for run in unsent:
                run.error = run.error or PipelineError(reason)

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether a write went well; the first that does not is told."""
        try:
            write()
        except (PipelineError, OSError) as error:
            if self._problem is None:
                log.warning("%s; training goes on", error)
            self._problem = error
            return False
        if self._problem is not None:
            log.info("MLflow can be reached again")
            self._problem = None
        return True


Elsewhere = Callable[[Sequence[JobRun], Dataset, Place, Writer], None]


def dry_run(
    jobs: Sequence[Job], cores: int, memory: int | None = None, halving: Halving | None = None
) -> list[str]:
    """Lines that say what `train_jobs` would do.

    Raises:
        PipelineError: a job cannot be trained.
    """
    lines: list[str] = []
    for key in dict.fromkeys(job.data_key for job in jobs):
        group = [job for job in jobs if job.data_key == key]
        data = load(group[0].data, group[0].hyperparameters.dtype)
        for job in group:
            _check(job.hyperparameters, data)
        free = _memory_for_weights(data, memory)
        lines += describe([job.hyperparameters for job in group], data, cores, free, halving)
    return lines


def _memory_for_weights(data: Dataset, memory: int | None) -> int:
    memory = memory or int(psutil.virtual_memory().available * MEMORY_SHARE)
    return memory - data.X_train.nbytes - data.X_val.nbytes


def _train_group(
    runs: Sequence[JobRun],
    place: Place,
    writer: Writer,
    cores: int,
    memory: int | None,
    halving: Halving | None,
    elsewhere: Elsewhere | None,
) -> None:
    """Train jobs on the same data and dtype, from rung to rung."""
    assert runs[0].job is not None
    try:
        data = load(runs[0].job.data, runs[0].hyperparameters.dtype)
    except Exception as error:
        trace = "" if isinstance(error, PipelineError) else traceback.format_exc()
        for run in runs:
            run.fail(error, trace)
        return
    tracking = runs[0].job.tracking
    checkpoints = Checkpoints(checkpoints_dir(), tracking.checkpoint_minutes)
    checkpoints.tidy()
    race = [run for run in runs if _fits(run, data)]
    # Who sent a shard has looked already.
    reuse = tracking.reuse and not place.shard
    runs = _not_finished(race, data, place, checkpoints, halving, reuse=reuse)
    if elsewhere is not None:
        elsewhere(runs, data, place, writer)
        return
    epochs = sum(run.hyperparameters.num_epochs for run in runs)
    longest = max((run.hyperparameters.num_epochs for run in race), default=0)
    free = _memory_for_weights(data, memory)
    progress = Progress(len(runs), epochs * len(data.y_train))
    rungs = halving.rungs(longest) if halving else []
    try:
        with _scratch() as folder:
            if cores > 1 and len(runs) > 1:
                data = share(data, folder)
            for rung in (*rungs, None):
                left = [run for run in runs if not run.outcome and not run.waits(rung)]
                jobs = [run.hyperparameters for run in left]
                for wave in plan(jobs, data.X_train.shape[1], len(data.classes), cores, free):
                    _train_wave(
                        wave, left, data, checkpoints, folder, cores, writer, progress, rung
                    )
                if halving and rung:
                    lower = leaving(race, rung, halving)
                    race = [run for run in race if run not in lower]
                    _halt(lower, rung, len(data.y_train), place, progress)
    except OSError as error:
        reason = PipelineError(f"{tempfile.gettempdir()} has no room for the data ({error})")
        for run in runs:
            if not run.outcome:
                run.fail(reason)
    progress.close()


def _halt(
    lower: Sequence[JobRun], rung: int, images: int, place: Place, progress: Progress
) -> None:
    """End the jobs that leave the race at a rung, unless they have ended by themselves."""
    reused: dict[int, str] = {}
    for run in [run for run in lower if not run.outcome]:
        if run.spare is not None and run.epoch == 0:
            run.reuse(run.spare)
            reused[run.spec.number] = run.spare.run_id
        else:
            run.halt(rung)
        progress.end(run.outcome, (run.hyperparameters.num_epochs - run.epoch) * images)
    if reused and place.sweep is not None:
        place.store.add_finished(place.sweep, reused)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder; those that killed processes have left are deleted."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*"):
        maker = re.fullmatch(rf"{SCRATCH}-(\d+)-(\d+)-\w+", path.name)
        if maker and not lives(*maker.groups()):
            shutil.rmtree(path, ignore_errors=True)
    prefix = "-".join((SCRATCH, *this_process(), ""))
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)


def _not_finished(
    runs: Sequence[JobRun],
    data: Dataset,
    place: Place,
    checkpoints: Checkpoints,
    halving: Halving | None,
    *,
    reuse: bool,
) -> list[JobRun]:
    """Let finished runs stand for jobs; prepare the others for training, and return them."""
    found = place.store.finished_runs(place.experiment_id, data.digest) if reuse else {}
    if found:
        place.store.sync()  # for their checkpoints go
    left: list[JobRun] = []
    reused: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for run in runs:
        name = fingerprint(run.hyperparameters, data.digest)
        ended = found.get(name, [])
        whole = [one for one in ended if one.outcome != "halted"]
        if halving and ended:
            run.recall(_goodness_of(place.store, (whole or ended)[-1]))
        if whole:
            # Each its own as long as there are several; the last stands for all that follow.
            finished = whole[-1]
            if len(whole) > 1:
                ended.remove(finished)
            run.reuse(finished)
            checkpoints.forget(name)  # of a process that was killed before it could
            reused[run.spec.number] = finished.run_id
        else:
            run.spare = ended.pop() if halving and ended else None
            seen[name] += 1  # a sweep may hold a job twice
            twin = f"-{seen[name]}" if seen[name] > 1 else ""
            run.prepare(data, checkpoints, name + twin)
            left.append(run)
    if reused and place.sweep is not None:
        place.store.add_finished(place.sweep, reused)
    if len(runs) > 1:
        done = f"{len(reused)} of {len(runs)} already finished, " if reused else ""
        resumed = sum(checkpoints.path(run.name).exists() for run in left)
        more = f", {resumed} of them from their checkpoints" if resumed else ""
        log.info("%straining %d jobs together%s", done, len(left), more)
    return left


def _goodness_of(store: Store, run: Finished) -> Iterator[tuple[float, float]]:
    """The goodness of each epoch of a run, which has logged those with finite metrics."""
    for _, row in store.curves(run.run_id, ("val_acc", "val_loss")).iterrows():
        yield row["val_acc"], -row["val_loss"]


def _train_wave(
    wave: Sequence[Shard],
    runs: Sequence[JobRun],
    data: Dataset,
    checkpoints: Checkpoints,
    folder: Path,
    cores: int,
    writer: Writer,
    progress: Progress,
    until: int | None,
) -> None:
    """Train the shards of a wave in the background; write what they publish meanwhile."""
    jobs = [run.hyperparameters for run in runs]
    members = [i for shard in wave for i in shard.jobs]
    writer.open([runs[i] for i in members])
    board = Board(folder / "board", len(runs), max(jobs[i].num_epochs for i in members))
    names = [run.name for run in runs]
    with ThreadPoolExecutor(1) as background:
        training = background.submit(
            train_wave, wave, jobs, names, data, checkpoints, board, cores, until
        )
        try:
            while not training.done():
                wait([training], POLL_SECONDS)
                stop.check()
                _look(board, members, runs, len(data.y_train), progress)
                writer.tick(training.done)
        except BaseException:
            board.stop()
            training.exception()
            _look(board, members, runs, len(data.y_train), progress)
            raise
    _look(board, members, runs, len(data.y_train), progress)
    try:
        failed = training.result()
    except Exception as error:  # a process died, and the shards with it
        failed = dict.fromkeys(members, f"{error}")
    for i in members:
        if not runs[i].outcome and (until is None or runs[i].epoch < until):
            trace = failed.get(i, "training ended without a result")
            runs[i].fail(RuntimeError(trace.strip().splitlines()[-1]), trace)
            progress.end("failed", (jobs[i].num_epochs - runs[i].epoch) * len(data.y_train))
    writer.flush()


def _look(
    board: Board, members: Sequence[int], runs: Sequence[JobRun], images: int, progress: Progress
) -> None:
    """Take in what the shards have published since the last look."""
    for i in members:
        run = runs[i]
        for row, outcome in board.read(i, run.epoch):
            run.take(row, outcome)
            progress.saw(images)
            if outcome:
                progress.end(outcome, (run.hyperparameters.num_epochs - run.epoch) * images)
    problem = board.complaint()
    if problem:
        log.warning("a checkpoint could not be written (%s): the one before is kept", problem)


def _fits(run: JobRun, data: Dataset) -> bool:
    try:
        _check(run.hyperparameters, data)
    except ConfigError as error:
        run.fail(error)
    return run.error is None


def _check(job: Hyperparameters, data: Dataset) -> None:
    check_batch_size(job, len(data.y_train))
    check_size(job, data.X_train.shape[1], len(data.classes))
