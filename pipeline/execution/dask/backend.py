"""Train shards on the workers of a Dask cluster, each with one shard at a time.

Dask brings shards to workers and answers back; which worker gets which is decided here. So a worker
that is not fit costs one look and no shard, one that joins late has work at once, a faster one
takes more, and a scheduler that starts again has nothing to remember.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pipeline import shutdown
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.dask.scheduler import Scheduler
from pipeline.execution.dask.worker import ShardResult, Task
from pipeline.execution.job import JobRun, RunContext
from pipeline.execution.local import Backend
from pipeline.execution.plan import plan
from pipeline.execution.progress import Progress
from pipeline.execution.run_logger import Writer
from pipeline.tracking.store import Sweep

LOOK_SECONDS = 1.0  # between looks at which workers there are, at most
HOPE_SECONDS = 10  # for a worker that can be used, while there are only others
WAIT_SECONDS = 60  # between lines that say that there is no worker
SHARDS_A_WORKER = 4  # at least, so that the fast ones take more
LEAST_SHARDS = 16  # for workers that join later
MOST_JOBS = 64  # of a shard: what a worker that dies takes with it
TRIES = 3  # of a shard that workers die of

ADVICE = "if the workers lack memory, set hydra.launcher.max_memory, then start it again"

log = logging.getLogger("pipeline")


@contextmanager
def on_cluster(address: str, uri: str, memory: int | None) -> Iterator[Backend]:
    """What trains jobs on the workers of a scheduler.

    Args:
        address: of the scheduler.
        uri: of the store.
        memory: bytes that data and weights may take of a worker; None: a share of its limit.

    Raises:
        PipelineError: the scheduler cannot be reached, or the store is none for many machines.
    """
    if not uri.startswith("http"):
        raise PipelineError(
            "hydra.launcher.backend=dask needs a tracking server that all workers reach, not "
            f"tracking.uri={uri}: start mlflow server and set tracking.uri=http://HOST:PORT"
        )
    scheduler = Scheduler(address)

    def train(runs: Sequence[JobRun], data: Dataset, context: RunContext, writer: Writer) -> None:
        if runs:
            Training(scheduler, runs, data, context, memory).go_on(writer)

    try:
        yield train
    finally:
        scheduler.close()


@dataclass
class Shard:
    """Jobs that go to a worker together."""

    name: str
    runs: Sequence[JobRun]
    tries: int = 0  # that have failed


class Training:
    """The training of jobs on the same data."""

    def __init__(
        self,
        scheduler: Scheduler,
        runs: Sequence[JobRun],
        data: Dataset,
        context: RunContext,
        memory: int | None,
    ) -> None:
        """Divide the jobs into shards."""
        assert context.sweep is not None
        self._sweep: Sweep = context.sweep
        self._scheduler, self._data, self._context, self._memory = scheduler, data, context, memory
        self._todo = deque(self._shards(runs))
        self._busy: dict[str, tuple[str, Shard]] = {}  # worker and shard by the name of the try
        self._unfit: dict[str, str] = {}  # why a worker is not used
        self._again: set[str] = set()  # shards that were begun more than once
        epochs = sum(run.hyperparameters.num_epochs for run in runs)
        self._progress = Progress(len(runs), epochs * len(data.y_train))
        self._hope_until = time.monotonic() + HOPE_SECONDS
        self._say_at = time.monotonic() + LOOK_SECONDS

    def go_on(self, writer: Writer) -> None:
        """Train all jobs to their end.

        Raises:
            PipelineError: no worker can do it, or the scheduler is gone for good.
        """
        try:
            while self._todo or self._busy:
                shutdown.check()
                writer.tick()
                self._look()
                for key, answer in self._scheduler.answers(LOOK_SECONDS):
                    self._take(*self._busy.pop(key), answer)
        finally:
            self._end()

    def _shards(self, runs: Sequence[JobRun]) -> Iterator[Shard]:
        """Shards of about equal work, the longest first."""
        jobs = [run.hyperparameters for run in runs]
        workers = len(self._scheduler.workers() or ())
        count = max(LEAST_SHARDS, SHARDS_A_WORKER * workers, len(jobs) // MOST_JOBS)
        D, C = self._data.X_train.shape[1], len(self._data.classes)
        (wave,) = plan(jobs, D, C, count, sys.maxsize)
        for shard in wave:
            members = [runs[i] for i in shard.jobs]
            yield Shard(str(members[0].spec.number), members)

    def _look(self) -> None:
        """Send shards to workers that have none; take them back from those that are gone."""
        workers = self._scheduler.workers()
        if workers is None:
            for key in list(self._busy):
                self._lost(self._busy.pop(key)[1])
            self._scheduler.come_back()
            self._hope_until = time.monotonic() + HOPE_SECONDS
            return
        for key, (worker, shard) in list(self._busy.items()):
            if worker not in workers:
                del self._busy[key]
                self._scheduler.forget(key)
                self._failed(shard, f"worker {worker} died or left")
        for worker, threads in workers.items():
            if threads > 1:
                advice = "start it with --nthreads 1, and one a core"
                self._refuse(worker, f"it runs {threads} tasks at once: {advice}")
        for worker in workers.keys() - self._unfit.keys() - {w for w, _ in self._busy.values()}:
            if self._todo:
                shard = self._todo.popleft()
                self._busy[self._scheduler.send(worker, self._task(shard))] = worker, shard
        self._hope(workers)

    def _task(self, shard: Shard) -> Task:
        return Task(
            shard=shard.name,
            jobs=tuple((run.spec.number, run.spec.values) for run in shard.runs),
            uri=self._context.store.uri,
            experiment_id=self._context.experiment_id,
            sweep=self._sweep,
            digest=self._data.digest,
            facts=self._scheduler.facts,
            memory=self._memory,
        )

    def _take(self, worker: str, shard: Shard, answer: ShardResult | None) -> None:
        """Take what a worker has answered."""
        if answer is None:
            self._lost(shard)
        elif answer.unfit:
            self._refuse(worker, answer.unfit)
            self._todo.appendleft(shard)
        elif answer.problem:
            self._failed(shard, f"worker {worker} failed: {answer.problem}")
        else:
            runs = {run.spec.number: run for run in shard.runs}
            for end in answer.endings:
                runs[end.job].adopt(end)
                self._count(runs[end.job])

    def _lost(self, shard: Shard) -> None:
        """Train a shard that was begun again, first of all."""
        self._again.add(shard.name)
        self._todo.appendleft(shard)

    def _failed(self, shard: Shard, problem: str) -> None:
        """Try a shard once more, or give it up."""
        shard.tries += 1
        reason, _, trace = problem.partition("\n")
        log.warning("%s: it had %d jobs to train", reason, len(shard.runs))
        self._lost(shard)
        if shard.tries < TRIES:
            return
        self._todo.popleft()
        done = self._context.store.claim_shard(self._sweep, shard.name)
        for run in shard.runs:
            if run.spec.number in done:
                run.reuse(done[run.spec.number])
            else:
                problem = f"given up after {TRIES} tries ({reason}): {ADVICE}"
                run.fail(PipelineError(problem), trace)
            self._count(run)

    def _refuse(self, worker: str, reason: str) -> None:
        """Use a worker no more, and say why, once for all that have the same reason."""
        if reason not in self._unfit.values():
            log.warning("worker %s is not used: %s", worker, reason)
        self._unfit[worker] = reason

    def _hope(self, workers: Mapping[str, int]) -> None:
        """Give up when no worker can be used; while there is none at all, say so."""
        now = time.monotonic()
        if self._busy or not workers:
            self._hope_until = now + HOPE_SECONDS
        elif self._todo and now > self._hope_until:
            reasons = dict.fromkeys(self._unfit[worker] for worker in workers)
            raise PipelineError(
                f"none of the {len(workers)} workers at {self._scheduler.address} can be used: "
                f"{'; '.join(reasons)}"
            )
        if not workers and now > self._say_at:
            start = f"dask worker {self._scheduler.address} --nthreads 1"
            log.warning("no worker is there, the sweep waits: %s starts one", start)
            self._say_at = now + WAIT_SECONDS

    def _count(self, run: JobRun) -> None:
        """Show that a job has ended."""
        images = len(self._data.y_train)
        self._progress.saw(run.epoch * images)
        self._progress.end(run.outcome, (run.hyperparameters.num_epochs - run.epoch) * images)

    def _end(self) -> None:
        """Stop what goes on, and put the runs in order that lost workers have left."""
        self._progress.close()
        for key in self._busy:
            self._scheduler.forget(key)
        with suppress(PipelineError):
            for shard in self._again:
                self._context.store.claim_shard(self._sweep, shard)
            self._context.store.end_jobs(self._sweep)
