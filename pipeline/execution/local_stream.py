"""Trains jobs that are added one after another, each on one core of this machine."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from pipeline.data.dataset import Dataset
from pipeline.execution.backend import Event, JobFailed, JobPaused, Plan, PlannedJob, Resources
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.local_trainer import POLL_SECONDS, LocalTrainer, no_room
from pipeline.execution.plan import ShardPlan, model_bytes
from pipeline.execution.spec import RunContext


class LocalStream:
    """The `Stream` of this machine: a thread for each core hands jobs to the worker processes."""

    def __init__(
        self,
        data: Dataset,
        checkpoints: Checkpoints,
        context: RunContext,
        resources: Resources,
        num_jobs: int,
        folder: Path,
    ) -> None:
        """Prepare to train.

        Args:
            data: the dataset, shared by `share_dataset` if there is more than one core.
            checkpoints: the folder of the checkpoints.
            context: the place of the runs in MLflow.
            resources: the limits of this machine.
            num_jobs: at most as many jobs are trained at the same time.
            folder: a temporary folder for the metrics in shared memory.
        """
        self._data, self._checkpoints, self._context = data, checkpoints, context
        self._folder = folder
        self._cores = min(resources.cores, num_jobs)
        self._threads = ThreadPoolExecutor(self._cores)
        self._memory = _Memory(resources.memory_for_weights(data))
        self._trainers: dict[int, LocalTrainer] = {}  # of jobs that wait or train, by number
        self._bytes: dict[int, int] = {}  # of the weights of these jobs
        self._waiting: list[int] = []  # a heap of the numbers of jobs that no core has taken
        self._done: list[int] = []  # numbers of jobs whose training has ended or paused
        self._delivered: list[LocalTrainer] = []  # whose last events the latest poll has returned
        self._refused: list[JobFailed] = []
        self._lock = threading.Lock()  # of the two lists
        self._changed = threading.Event()

    def add(self, job: PlannedJob, until: int | None) -> None:
        """Add a job, as in `Stream`."""
        plan = Plan([job], self._data, self._checkpoints, self._context, until)
        folder = self._folder / str(job.number)
        trainer = LocalTrainer(plan, [[ShardPlan((0,), 1)]], self._cores, folder, is_shared=True)
        try:
            folder.mkdir(exist_ok=True)
            refused = trainer.open()
        except OSError as error:
            refused = [JobFailed(job.number, no_room(error))]
        if refused:
            self._refused += refused
            return
        D, C = self._data.X_train.shape[1], len(self._data.classes)
        self._trainers[job.number] = trainer
        self._bytes[job.number] = model_bytes(job.hyperparameters, D, C)
        with self._lock:
            heapq.heappush(self._waiting, job.number)
        self._threads.submit(self._train_next)

    def __iter__(self) -> Iterator[Sequence[Event]]:
        """Yield the events of the workers as long as there are jobs."""
        try:
            while self._trainers or self._refused:
                self._changed.wait(0 if self._refused else POLL_SECONDS)
                self._changed.clear()
                yield self._poll()
        finally:
            self._stop()

    def stop(self) -> Sequence[Event]:
        """Stop the workers, wait until their checkpoints are written, and return all epochs."""
        self._stop()
        trainers = [*self._delivered, *self._trainers.values()]
        return [event for trainer in trainers for event in trainer.reread()]

    def _stop(self) -> None:
        for trainer in self._trainers.values():
            trainer.request_stop()
        self._threads.shutdown()

    def _train_next(self) -> None:
        """Train the job with the lowest number. There are as many calls as jobs."""
        with self._lock:
            number = heapq.heappop(self._waiting)
        with self._memory.reserve(self._bytes[number]):
            self._trainers[number].train()
        with self._lock:
            self._done.append(number)
        self._changed.set()

    def _poll(self) -> list[Event]:
        with self._lock:
            done, self._done = self._done, []
        events: list[Event] = [*self._refused]
        self._refused = []
        for trainer in self._trainers.values():
            events += trainer.poll()
        self._delivered = [self._trainers.pop(number) for number in done]
        for number, trainer in zip(done, self._delivered, strict=True):
            events += list(trainer.unfinished()) or [JobPaused(number)]
        return events


class _Memory:
    """The memory for the weights of the jobs that train."""

    def __init__(self, size: int) -> None:
        """Set the number of bytes."""
        self._size, self._used = size, 0
        self._released = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait until the memory has room for a job, or no other job trains."""
        with self._released:
            self._released.wait_for(lambda: not self._used or self._used + size <= self._size)
            self._used += size
        try:
            yield
        finally:
            with self._released:
                self._used -= size
                self._released.notify_all()
