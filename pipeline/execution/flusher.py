"""Sends the results of a sweep's jobs to MLflow in batches, and retries when that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pipeline.errors import PipelineError
from pipeline.execution.job import JobRun
from pipeline.execution.spec import RunContext
from pipeline.paths import checkpoints_dir
from pipeline.tracking.artifacts import flush_artifacts
from pipeline.tracking.provenance import HEARTBEAT_SECONDS

FLUSH_SECONDS = 5.0  # at least, between two flushes
FLUSH_SHARE = 0.04  # of the time, at most, is spent in flushes
RETRY_SECONDS = 60  # how long to retry after the training

log = logging.getLogger("pipeline")


class Flusher:
    """Flushes jobs to MLflow from time to time, without stopping the training when that fails."""

    def __init__(
        self,
        runs: Sequence[JobRun],
        context: RunContext,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to flush the jobs of a sweep.

        Args:
            runs: the jobs.
            context: the store, and the sweep whose run gets the heartbeat.
            clock: the time in seconds.
            sleep: waits for some seconds.
        """
        self._runs, self._context = list(runs), context
        self._clock, self._sleep = clock, sleep
        self._next_flush = clock()  # the first flush sends the parameters
        self._next_heartbeat = clock() + HEARTBEAT_SECONDS
        self._problem: Exception | None = None

    def add(self, runs: Sequence[JobRun]) -> None:
        """Add jobs of the sweep."""
        self._runs += runs

    def open(self, runs: Sequence[JobRun]) -> None:
        """Create the MLflow runs of jobs; the next flush does so if the store is unreachable."""
        all(self._try(run.open) for run in runs)

    def tick(self) -> None:
        """Measure the machine and flush, each if it is time for it."""
        if self._context.system_metrics is not None:
            self._context.system_metrics.sample()
        start = self._clock()
        if start < self._next_flush:
            return
        self.flush()
        end = self._clock()
        self._next_flush = end + max(FLUSH_SECONDS, (end - start) / FLUSH_SHARE)

    def flush(self) -> None:
        """Write everything that is pending, until a write fails."""
        self._send_heartbeat()
        for run in [run for run in self._runs if run.is_pending]:
            if not self._try(run.flush):
                self._runs.remove(run)  # the next flush starts with the other jobs
                self._runs.append(run)
                return
        if any(run.has_redundant_checkpoint for run in self._runs):
            self._try(self._commit)
        if self._context.system_metrics is not None:
            with suppress(PipelineError):  # they stay pending until the next flush
                self._context.system_metrics.flush()

    def _send_heartbeat(self) -> None:
        """Mark the run of the sweep, or a single run, as alive if it is time for it."""
        if self._clock() < self._next_heartbeat:
            return
        self._next_heartbeat = self._clock() + HEARTBEAT_SECONDS
        if self._context.sweep is not None:
            alive = [self._context.sweep.run_id]
        else:
            alive = [run.run_id for run in self._runs if run.run_id and not run.is_logged]
        for run_id in alive:
            self._try(partial(self._context.store.heartbeat, run_id))

    def finish(self) -> None:
        """Write everything that is left, and retry for `RETRY_SECONDS`.

        A job whose result cannot be written gets the reason as its error.
        """
        give_up = self._clock() + RETRY_SECONDS
        self.flush()
        while self._problem is not None and self._clock() < give_up:
            self._sleep(FLUSH_SECONDS)
            self.flush()
        unsent = [run for run in self._runs if run.outcome is not None and not run.is_logged]
        if unsent:
            reason = (
                f"{len(unsent)} of {len(self._runs)} jobs are trained but not in MLflow "
                f"({self._problem}): their results are in {checkpoints_dir()}; rerun the same "
                "command to send them without training"
            )
            for run in unsent:
                run.error = run.error or PipelineError(reason)

    def _commit(self) -> None:
        """Delete checkpoints whose results a power failure can no longer remove from MLflow."""
        logged = [run for run in self._runs if run.has_redundant_checkpoint]
        flush_artifacts(self._context.store, [run.run_id for run in logged])
        self._context.store.flush_to_disk()
        for run in logged:
            run.delete_checkpoint()

    def _try(self, write: Callable[[], None]) -> bool:
        """Return whether a write succeeded; log the first of several failures."""
        try:
            write()
        except (PipelineError, OSError) as error:
            if self._problem is None:
                log.warning("%s; training continues", error)
            self._problem = error
            return False
        if self._problem is not None:
            log.info("MLflow can be reached again")
            self._problem = None
        return True
