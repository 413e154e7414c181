"""The jobs of a sweep on the same data: their training, from rung to rung and wave after wave."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline import shutdown
from pipeline.config import Halving
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.halving import leaving
from pipeline.execution.job import JobRun, RunContext
from pipeline.execution.plan import Shard, plan, share, train_wave
from pipeline.execution.progress import Progress
from pipeline.execution.run_logger import Writer
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.tracking.provenance import lives, this_process

POLL_SECONDS = 0.2  # between looks at what the shards have published
SCRATCH = "population"  # what the names of temporary folders begin with
MEMORY_SHARE = 0.6  # of the memory that is free, unless the launcher's max_memory says otherwise

Backend = Callable[[Sequence[JobRun], Dataset, RunContext, Writer], None]

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Resources:
    """With what jobs train."""

    cores: int  # shards that train at once
    memory: int | None = None  # bytes for data and weights; None: a share of what is free
    halving: Halving | None = None  # who stops early; None: all train to their end
    elsewhere: Backend | None = None  # trains the jobs on other machines

    def for_weights(self, data: Dataset) -> int:
        """Bytes that the data leaves to the weights."""
        memory = self.memory or int(psutil.virtual_memory().available * MEMORY_SHARE)
        return memory - data.X_train.nbytes - data.X_val.nbytes


class LocalTrainer:
    """Jobs that train on this machine on the same data, in the same dtype."""

    def __init__(
        self,
        runs: Sequence[JobRun],
        race: Sequence[JobRun],
        data: Dataset,
        checkpoints: Checkpoints,
        means: Resources,
    ) -> None:
        """Take the jobs.

        Args:
            runs: which are to be trained.
            race: these, and those with a finished run, which are compared with them at a rung.
            data: what they train on.
            checkpoints: where they go on from.
            means: with what they train.
        """
        self._runs, self._race, self._data = runs, list(race), data
        self._checkpoints, self._means = checkpoints, means
        epochs = sum(run.hyperparameters.num_epochs for run in runs)
        self._progress = Progress(len(runs), epochs * len(data.y_train))

    def train(self, context: RunContext, writer: Writer) -> None:
        """Train each job to its end, or to the rung where it leaves the race."""
        try:
            with scratch() as folder:
                if self._means.cores > 1 and len(self._runs) > 1:
                    self._data = share(self._data, folder)
                for rung in self._rungs():
                    left = [run for run in self._runs if not run.outcome and not run.waits(rung)]
                    for wave in self._plan(left):
                        self._train_wave(wave, left, folder, writer, rung)
                    if rung is not None:
                        self._halt(rung, context)
        except OSError as error:
            reason = PipelineError(f"{tempfile.gettempdir()} has no room for the data ({error})")
            for run in self._runs:
                if not run.outcome:
                    run.fail(reason)
        self._progress.close()

    def _rungs(self) -> list[int | None]:
        """Epochs after which training pauses, and None for the end."""
        if self._means.halving is None:
            return [None]
        longest = max((run.hyperparameters.num_epochs for run in self._race), default=0)
        return [*self._means.halving.rungs(longest), None]

    def _plan(self, runs: Sequence[JobRun]) -> list[list[Shard]]:
        D, C = self._data.X_train.shape[1], len(self._data.classes)
        jobs = [run.hyperparameters for run in runs]
        return plan(jobs, D, C, self._means.cores, self._means.for_weights(self._data))

    def _train_wave(
        self,
        wave: Sequence[Shard],
        runs: Sequence[JobRun],
        folder: Path,
        writer: Writer,
        until: int | None,
    ) -> None:
        """Train the shards of a wave in the background; write what they publish meanwhile."""
        jobs, names = [run.hyperparameters for run in runs], [run.name for run in runs]
        members = [i for shard in wave for i in shard.jobs]
        writer.open([runs[i] for i in members])
        board = SharedMetrics(folder / "board", len(runs), max(jobs[i].num_epochs for i in members))
        data, checkpoints, cores = self._data, self._checkpoints, self._means.cores
        with ThreadPoolExecutor(1) as background:
            training = background.submit(
                train_wave, wave, jobs, names, data, checkpoints, board, cores, until
            )
            try:
                while not training.done():
                    wait([training], POLL_SECONDS)
                    shutdown.check()
                    self._look(board, members, runs)
                    writer.tick(training.done)
            except BaseException:
                board.stop()
                training.exception()
                self._look(board, members, runs)
                raise
        self._look(board, members, runs)
        try:
            failed = training.result()
        except Exception as error:  # a process died, and the shards with it
            failed = dict.fromkeys(members, f"{error}")
        for i in members:
            if not runs[i].outcome and (until is None or runs[i].epoch < until):
                trace = failed.get(i, "training ended without a result")
                runs[i].fail(RuntimeError(trace.strip().splitlines()[-1]), trace)
                self._count(runs[i])
        writer.flush()

    def _look(self, board: SharedMetrics, members: Sequence[int], runs: Sequence[JobRun]) -> None:
        """Take in what the shards have published since the last look."""
        for run, i in ((runs[i], i) for i in members if not runs[i].outcome):
            for row, outcome in board.read(i, run.epoch):
                run.take(row, outcome)
                self._progress.saw(len(self._data.y_train))
                if outcome:
                    self._count(run)
        problem = board.take_error()
        if problem:
            log.warning("a checkpoint could not be written (%s): the one before is kept", problem)

    def _count(self, run: JobRun) -> None:
        """Show that a job has ended."""
        unseen = run.hyperparameters.num_epochs - run.epoch
        self._progress.end(run.outcome, unseen * len(self._data.y_train))

    def _halt(self, rung: int, context: RunContext) -> None:
        """End the jobs that leave the race at a rung, unless they have ended by themselves."""
        assert self._means.halving is not None
        lower = set(leaving(self._race, rung, self._means.halving))
        reused: dict[int, str] = {}
        for run in [run for run in self._race if run in lower and not run.outcome]:
            if run.spare is not None and run.epoch == 0:
                run.reuse(run.spare)
                reused[run.spec.number] = run.spare.run_id
            else:
                run.halt(rung)
            self._count(run)
        self._race = [run for run in self._race if run not in lower]
        if reused and context.sweep is not None:
            context.store.link_reused_runs(context.sweep, reused)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder; those that killed processes have left are deleted."""
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}-*"):
        maker = re.fullmatch(rf"{SCRATCH}-(\d+)-(\d+)-\w+", path.name)
        if maker and not lives(*maker.groups()):
            shutil.rmtree(path, ignore_errors=True)
    prefix = "-".join((SCRATCH, *this_process(), ""))
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        yield Path(folder)
