"""The one who sends what the jobs of a sweep have measured to MLflow, and does not give up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.errors import PipelineError
from pipeline.execution.job import JobRun, RunContext
from pipeline.paths import checkpoints_dir
from pipeline.tracking.provenance import HEARTBEAT_SECONDS

FLUSH_SECONDS = 5.0  # between rounds of writing to MLflow, at least
FLUSH_SHARE = 0.04  # of the time, at most, goes into those rounds
PATIENCE_SECONDS = 60  # for a store that is out of reach when all is trained

log = logging.getLogger("pipeline")


class Writer:
    """Sends what the jobs have measured to MLflow, now and then; what fails is sent again."""

    def __init__(self, runs: Sequence[JobRun], context: RunContext) -> None:
        """Take the jobs of a sweep."""
        self._runs, self._context = list(runs), context
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
        if self._context.sweep is not None and time.monotonic() > self._beat:
            self._try(partial(self._context.store.heartbeat, self._context.sweep.run_id))
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
        self._context.store.sync()
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
