"""Distributes the shards of a plan over Dask workers, and retries shards of lost workers."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.execution.backend import Event, JobFailed, JobLogged, Plan, PlannedJob
from pipeline.execution.dask.environment import environment
from pipeline.execution.dask.scheduler import Scheduler
from pipeline.execution.dask.task import ShardResult, Task
from pipeline.execution.plan import plan_waves
from pipeline.execution.spec import JobResult
from pipeline.outcomes import Outcome
from pipeline.tracking import cleanup
from pipeline.tracking.entities import FinishedRun

POLL_SECONDS = 1.0  # at most, between two looks at the list of workers
FIT_SECONDS = 10  # how long to wait for a fit worker while there are only unfit ones
REPORT_SECONDS = 60  # between two warnings that there is no worker
SHARDS_PER_WORKER = 4  # at least, so that fast workers train more
MIN_SHARDS = 16  # for workers that join later
MAX_JOBS = 64  # of a shard: the work that is lost with a worker
MAX_ATTEMPTS = 3  # of a shard whose workers die

ADVICE = "if the workers lack memory, set hydra.launcher.max_memory, then rerun the same command"

log = logging.getLogger("pipeline")


@dataclass
class RemoteShard:
    """Jobs that one worker trains together."""

    shard_id: str
    jobs: Sequence[PlannedJob]
    failed_attempts: int = 0


class DaskTrainer:
    """Trains the jobs of a plan on the workers of a scheduler."""

    def __init__(self, scheduler: Scheduler, plan: Plan, memory: int | None) -> None:
        """Divide the jobs into shards.

        Args:
            scheduler: the connection to the workers.
            plan: the jobs.
            memory: bytes for data and weights on each worker; None: a share of its limit.
        """
        assert plan.context.sweep is not None
        self._sweep = plan.context.sweep
        self._scheduler, self._plan, self._memory = scheduler, plan, memory
        self._queue = deque(self._shards())
        self._assigned: dict[str, tuple[str, RemoteShard]] = {}  # worker and shard, by attempt
        self._unfit: dict[str, str] = {}  # the reason, by worker
        self._restarted: set[str] = set()  # IDs of shards with more than one attempt
        self._environment = environment()
        self._fit_deadline = time.monotonic() + FIT_SECONDS
        self._next_report = time.monotonic() + POLL_SECONDS

    def __iter__(self) -> Iterator[Sequence[Event]]:
        """Yield results until all jobs have ended.

        Raises:
            PipelineError: no worker is fit, or the scheduler does not come back.
        """
        try:
            while self._queue or self._assigned:
                events = self._assign()
                for key, result in self._scheduler.results(POLL_SECONDS):
                    events += self._handle(*self._assigned.pop(key), result)
                yield events
        finally:
            self._clean_up()

    def stop(self) -> Sequence[Event]:
        """Cancel all attempts. Workers save checkpoints, for a sweep that sends the shard again."""
        self._clean_up()
        return []

    def _shards(self) -> Iterator[RemoteShard]:
        """Divide the jobs into shards of about equal work, the longest first."""
        jobs = self._plan.jobs
        workers = len(self._scheduler.workers() or ())
        count = max(MIN_SHARDS, SHARDS_PER_WORKER * workers, len(jobs) // MAX_JOBS)
        D, C = self._plan.data.X_train.shape[1], len(self._plan.data.classes)
        hyperparameters = [job.hyperparameters for job in jobs]
        (wave,) = plan_waves(hyperparameters, D, C, count, sys.maxsize, threads=False)
        for shard in wave:
            members = [jobs[i] for i in shard.jobs]
            yield RemoteShard(str(members[0].number), members)

    def _assign(self) -> list[Event]:
        """Send shards to idle workers, and take shards back from workers that are gone."""
        events: list[Event] = []
        workers = self._scheduler.workers()
        if workers is None:
            for key in list(self._assigned):
                self._requeue(self._assigned.pop(key)[1])
            self._scheduler.reconnect()
            self._fit_deadline = time.monotonic() + FIT_SECONDS
            return events
        for key, (worker, shard) in list(self._assigned.items()):
            if worker not in workers:
                del self._assigned[key]
                self._scheduler.cancel(key)
                events += self._fail_attempt(shard, f"worker {worker} died or left")
        for worker, threads in workers.items():
            if threads > 1:
                reason = f"it runs {threads} tasks at once: start one worker per core, each with "
                self._exclude(worker, reason + "--nthreads 1")
        busy = {worker for worker, _ in self._assigned.values()}
        for worker in workers.keys() - self._unfit.keys() - busy:
            if self._queue:
                shard = self._queue.popleft()
                self._assigned[self._scheduler.send(worker, self._task(shard))] = worker, shard
        self._check_workers(workers)
        return events

    def _task(self, shard: RemoteShard) -> Task:
        return Task(
            shard_id=shard.shard_id,
            jobs=tuple((job.number, job.values) for job in shard.jobs),
            tracking_uri=self._plan.context.store.uri,
            experiment_id=self._plan.context.experiment_id,
            sweep=self._sweep,
            digest=self._plan.data.digest,
            environment=self._environment,
            memory=self._memory,
        )

    def _handle(self, worker: str, shard: RemoteShard, result: ShardResult | None) -> list[Event]:
        """Handle the end of an attempt."""
        if result is None:
            self._requeue(shard)
        elif result.unfit:
            self._exclude(worker, result.unfit)
            self._queue.appendleft(shard)
        elif result.problem:
            return self._fail_attempt(shard, f"worker {worker} failed: {result.problem}")
        else:
            return [JobLogged(one.job, one) for one in result.results]
        return []

    def _requeue(self, shard: RemoteShard) -> None:
        """Put a shard that was started at the front of the queue."""
        self._restarted.add(shard.shard_id)
        self._queue.appendleft(shard)

    def _fail_attempt(self, shard: RemoteShard, problem: str) -> list[Event]:
        """Retry a shard, or give it up after `MAX_ATTEMPTS`."""
        shard.failed_attempts += 1
        reason, _, trace = problem.partition("\n")
        log.warning("%s: it had %d jobs to train", reason, len(shard.jobs))
        self._restarted.add(shard.shard_id)
        if shard.failed_attempts < MAX_ATTEMPTS:
            self._queue.appendleft(shard)
            return []
        finished = cleanup.claim_shard(self._plan.context.store, self._sweep, shard.shard_id)
        text = f"given up after {MAX_ATTEMPTS} attempts ({reason}): {ADVICE}"
        return [
            JobLogged(job.number, _as_result(job.number, finished[job.number]))
            if job.number in finished
            else JobFailed(job.number, PipelineError(text), trace)
            for job in shard.jobs
        ]

    def _exclude(self, worker: str, reason: str) -> None:
        """Send no more shards to a worker. Equal reasons are logged once."""
        if reason not in self._unfit.values():
            log.warning("worker %s is not used: %s", worker, reason)
        self._unfit[worker] = reason

    def _check_workers(self, workers: Mapping[str, int]) -> None:
        """Give up if all workers are unfit; log a warning from time to time if there are none."""
        now = time.monotonic()
        if self._assigned or not workers:
            self._fit_deadline = now + FIT_SECONDS
        elif self._queue and now > self._fit_deadline:
            reasons = dict.fromkeys(self._unfit[worker] for worker in workers)
            raise PipelineError(
                f"none of the {len(workers)} workers at {self._scheduler.address} can be used: "
                f"{'; '.join(reasons)}"
            )
        if not workers and now > self._next_report:
            command = f"dask worker {self._scheduler.address} --nthreads 1"
            log.warning("the sweep waits because there is no worker: start one with %s", command)
            self._next_report = now + REPORT_SECONDS

    def _clean_up(self) -> None:
        """Cancel all attempts, and end the runs that lost workers have left RUNNING."""
        for key in self._assigned:
            self._scheduler.cancel(key)
        self._assigned = {}
        with suppress(PipelineError):
            for shard_id in self._restarted:
                cleanup.claim_shard(self._plan.context.store, self._sweep, shard_id)
            self._restarted = set()
            cleanup.kill_running_jobs(self._plan.context.store, self._sweep)


def _as_result(number: int, run: FinishedRun) -> JobResult:
    return JobResult(number, run.run_id, Outcome(run.outcome), 0, run.score, "", ())
