"""Training in the worker processes of this machine, while another thread polls its progress."""

from __future__ import annotations

import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.execution.backend import EpochTrained, Event, JobFailed, JobStarted, Plan
from pipeline.execution.failure import Failure
from pipeline.execution.plan import ShardPlan
from pipeline.execution.shared_metrics import SharedMetrics
from pipeline.execution.workers import train_wave

POLL_SECONDS = 0.2  # between two reads of the workers' metrics

log = logging.getLogger("pipeline")


class LocalTrainer:
    """Trains the waves of a plan in a background thread, and polls what its workers publish."""

    def __init__(
        self,
        plan: Plan,
        waves: Sequence[Sequence[ShardPlan]],
        cores: int,
        folder: Path,
        *,
        is_shared: bool = False,
    ) -> None:
        """Describe the training.

        Args:
            plan: the jobs.
            waves: their division into waves of shards.
            cores: threads that train at the same time.
            folder: a temporary folder for the metrics in shared memory.
            is_shared: whether other trainers use the same worker processes.
        """
        self._plan, self._waves, self._cores, self._folder = plan, waves, cores, folder
        self._is_shared = is_shared
        self._jobs = [job.hyperparameters for job in plan.jobs]
        self._started: deque[int] = deque()  # indices of jobs whose wave has started
        self._failures: dict[int, Failure] = {}
        self._epochs = {i: job.epochs_done for i, job in enumerate(plan.jobs)}
        self._ended: set[int] = set()
        self._metrics: SharedMetrics | None = None
        self._training: Future[None] | None = None

    def __iter__(self) -> Iterator[Sequence[Event]]:
        """Yield the events of the workers until all waves are trained."""
        if refused := self.open():
            yield refused
            return
        with ThreadPoolExecutor(1) as background:
            try:
                self._training = background.submit(self.train)
                while not self._training.done():
                    wait([self._training], POLL_SECONDS)
                    yield self.poll()
            finally:
                self.request_stop()  # has no effect after the last wave
        self._training.result()
        yield [*self.poll(), *self.unfinished()]

    def stop(self) -> Sequence[Event]:
        """Stop the workers, wait until their checkpoints are written, and return all epochs."""
        if self._metrics is None or self._training is None:
            return []
        self.request_stop()
        self._training.exception()
        return self.reread()

    def open(self) -> list[JobFailed]:
        """Create the shared metrics; if there is no room for them, return the failures."""
        epochs = max((job.num_epochs for job in self._jobs), default=0)
        try:
            self._metrics = SharedMetrics(self._folder / "metrics", len(self._jobs), epochs)
        except OSError as error:
            reason = no_room(error)
            return [JobFailed(job.number, reason) for job in self._plan.jobs]
        return []

    def request_stop(self) -> None:
        """Ask the workers to stop after their current step and to save checkpoints."""
        assert self._metrics is not None
        self._metrics.stop()

    def reread(self) -> list[Event]:
        """Read all epochs again, because events of `poll` may not have been recorded."""
        self._epochs = {i: job.epochs_done for i, job in enumerate(self._plan.jobs)}
        self._ended = set()
        return self.poll()

    def train(self) -> None:
        """Train all waves. `open` was called before."""
        plan, metrics = self._plan, self._metrics
        assert metrics is not None
        names = [job.checkpoint_name for job in plan.jobs]
        for wave in self._waves:
            if metrics.stopped():
                return
            members = _members(wave)
            self._started += members
            try:
                self._failures |= train_wave(
                    wave,
                    self._jobs,
                    names,
                    plan.data,
                    plan.checkpoints,
                    metrics,
                    self._cores,
                    plan.until,
                    is_shared=self._is_shared,
                )
            except Exception as error:  # a worker has died, and its pool with it
                self._failures |= dict.fromkeys(members, Failure(f"{error}", is_transient=True))

    def poll(self) -> list[Event]:
        """Read the epochs that the workers have published since the last call."""
        assert self._metrics is not None
        events: list[Event] = []
        while self._started:
            events.append(JobStarted(self._plan.jobs[self._started.popleft()].number))
        for i, job in enumerate(self._plan.jobs):
            if i in self._ended:
                continue
            for row, outcome in self._metrics.read(i, self._epochs[i]):
                self._epochs[i] += 1
                events.append(EpochTrained(job.number, self._epochs[i], row, outcome))
                if outcome is not None:
                    self._ended.add(i)
        problem = self._metrics.take_error()
        if problem:
            log.warning(
                "a checkpoint could not be written (%s): the previous one is still valid", problem
            )
        return events

    def unfinished(self) -> Iterator[JobFailed]:
        """The failures: jobs that have neither ended nor reached the pause."""
        until = self._plan.until
        for i, job in enumerate(self._plan.jobs):
            if i in self._ended or (until is not None and self._epochs[i] >= until):
                continue
            failure = self._failures.get(i, Failure("training ended without a result"))
            reason = RuntimeError(failure.trace.strip().splitlines()[-1])
            yield JobFailed(job.number, reason, failure.trace, failure.is_transient)


def _members(wave: Sequence[ShardPlan]) -> list[int]:
    return [i for shard in wave for i in shard.jobs]


def no_room(error: OSError) -> PipelineError:
    """The error that the folder for temporary files is full."""
    return PipelineError(
        f"the data cannot be written to {tempfile.gettempdir()} ({error}): free some space there, "
        "or set TMPDIR to another folder"
    )
