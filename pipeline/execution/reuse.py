"""Reuse of results: jobs that an earlier run has finished are not trained again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.job import JobRun
from pipeline.execution.spec import RunContext
from pipeline.outcomes import Outcome
from pipeline.selection import SelectBy, SelectionKey, selection_key
from pipeline.tracking import artifacts, queries
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.store import Store

REUSABLE = (Outcome.FINISHED, Outcome.HALTED, Outcome.DIVERGED)

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Partition:
    """The jobs on a dataset: reused, to be trained, or equal to another job."""

    reused: list[JobRun]  # a finished run replaces them
    unfinished: list[JobRun]  # they are trained
    duplicates: list[tuple[JobRun, JobRun]]  # not trained, because the second job is equal

    @property
    def candidates(self) -> list[JobRun]:
        """The jobs that are compared at a rung of successive halving."""
        return [*self.reused, *self.unfinished]


class Reuse:
    """Finds the finished runs that replace jobs on one dataset."""

    def __init__(
        self,
        digest: str,
        context: RunContext,
        checkpoints: Checkpoints,
        *,
        with_history: bool,
        enabled: bool,
    ) -> None:
        """Look for finished runs.

        Args:
            digest: of the dataset.
            context: where runs are looked up.
            checkpoints: the checkpoints of the other jobs.
            with_history: whether reused jobs get their history, because a stopping rule compares
                them.
            enabled: whether to look for finished runs at all.
        """
        self._context, self._checkpoints = context, checkpoints
        self._with_history = with_history
        self._found: dict[str, list[FinishedRun]] = {}
        if enabled:
            self._found = queries.finished_runs(context.store, context.experiment_id, digest)
        if self._found:
            context.store.flush_to_disk()  # the checkpoints of finished runs are deleted below

    def partition(self, runs: Sequence[JobRun], data: Dataset) -> Partition:
        """Reuse the results of finished runs, and prepare the other jobs for training on `data`."""
        parts = Partition([], [], [])
        links: dict[int, str] = {}
        originals: dict[str, JobRun] = {}
        for run in runs:
            name = fingerprint(run.hyperparameters, data.digest)
            if name in originals:
                parts.duplicates.append((run, originals[name]))
                continue
            cached = self._cached(run, name)
            complete = [one for one in cached if one.outcome != Outcome.HALTED]
            if complete:
                run.reuse(complete[-1])
                self._checkpoints.delete(name)  # of a process that was killed after it had logged
                links[run.spec.number] = complete[-1].run_id
                parts.reused.append(run)
            else:
                originals[name] = run
                run.cached_halted_run = cached[-1] if self._with_history and cached else None
                run.prepare(data, self._checkpoints, name)
                parts.unfinished.append(run)
        if links and self._context.sweep is not None:
            self._context.store.link_reused_runs(self._context.sweep, links)
        return parts

    def _cached(self, run: JobRun, name: str) -> list[FinishedRun]:
        """The usable runs that are equal to a job. The job gets their history if it is needed."""
        store = self._context.store
        cached = [one for one in self._found.get(name, []) if _is_usable(one, store)]
        if self._with_history and cached:
            complete = [one for one in cached if one.outcome != Outcome.HALTED]
            select_by = run.hyperparameters.select_by
            run.best.load_history(_keys_of(store, (complete or cached)[-1], select_by))
        return cached


def finish_duplicates(duplicates: Sequence[tuple[JobRun, JobRun]], context: RunContext) -> None:
    """Let jobs take the result of the equal job that was trained.

    If that job has failed or is not in MLflow, the other one gets the same error.
    """
    links: dict[int, str] = {}
    for run, original in duplicates:
        run.error = original.error
        if not original.is_logged or not original.run_id:
            continue
        links[run.spec.number] = original.run_id
        if original.outcome is not None and original.outcome is not Outcome.FAILED:
            finished = FinishedRun(original.run_id, original.outcome, original.score)
            run.reuse(finished, f"equal to job {original.spec.number}")
    if links and context.sweep is not None:
        try:
            context.store.link_reused_runs(context.sweep, links)
        except PipelineError as error:
            for run, _ in duplicates:
                run.error = run.error or error


def _is_usable(run: FinishedRun, store: Store) -> bool:
    if run.outcome not in REUSABLE:
        return False
    if artifacts.are_complete(store, run):
        return True
    log.warning("run %s is trained again: its artifacts are missing or damaged", run.run_id)
    return False


def log_counts(parts: Partition, checkpoints: Checkpoints) -> None:
    """State how many of several jobs are reused, resumed and trained."""
    jobs = len(parts.candidates) + len(parts.duplicates)
    if jobs < 2:
        return
    done = f"{len(parts.reused)} of {jobs} already finished, " if parts.reused else ""
    resumed = sum(checkpoints.path(run.checkpoint_name).exists() for run in parts.unfinished)
    more = f", {resumed} of them from their checkpoints" if resumed else ""
    log.info("%straining %d jobs together%s", done, len(parts.unfinished), more)
    if parts.duplicates:
        numbers = ", ".join(str(run.spec.number) for run, _ in parts.duplicates)
        log.info("not trained, because they are equal to other jobs of the sweep: %s", numbers)


def _keys_of(store: Store, run: FinishedRun, select_by: SelectBy) -> Iterator[SelectionKey]:
    """The selection key of each epoch of a run. Epochs that are not finite were not logged."""
    names = sorted({"val_acc", "val_loss", select_by})
    for row in queries.curves(store, run.run_id, names).to_dict("records"):
        values = {str(name): value for name, value in row.items()}
        yield selection_key(**values, select_by=select_by)
