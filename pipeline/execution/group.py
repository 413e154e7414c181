"""The jobs of a sweep on one dataset: they train together, from rung to rung."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pipeline import shutdown
from pipeline.data.dataset import Dataset
from pipeline.execution.backend import (
    Backend,
    EpochTrained,
    Event,
    JobFailed,
    JobLogged,
    JobStarted,
    Plan,
    PlannedJob,
)
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.flusher import Flusher
from pipeline.execution.job import JobRun
from pipeline.execution.progress import Progress
from pipeline.execution.spec import RunContext
from pipeline.execution.stopping import StoppingRule
from pipeline.outcomes import Outcome
from pipeline.selection import describe_score, direction

log = logging.getLogger("pipeline")


class JobGroup:
    """Trains jobs that share a dataset and a dtype on a backend, and records its events."""

    def __init__(
        self,
        runs: Sequence[JobRun],
        candidates: Sequence[JobRun],
        data: Dataset,
        checkpoints: Checkpoints,
        context: RunContext,
        rule: StoppingRule | None,
        retries: int,
        check: Callable[[], None],
    ) -> None:
        """Prepare to train.

        Args:
            runs: the jobs to train.
            candidates: the jobs that are compared at a rung: `runs`, and jobs that reuse a result.
            data: the dataset, as the backend has staged it.
            checkpoints: the folder of the checkpoints.
            context: the place of the runs in MLflow.
            rule: stops jobs early; None: all train to their end.
            retries: further attempts of a job after a transient failure.
            check: raises a PipelineError if too many jobs have failed.
        """
        self._runs, self._candidates, self._data = runs, list(candidates), data
        self._checkpoints, self._context, self._rule = checkpoints, context, rule
        self._check = check
        self._retries_left = dict.fromkeys(runs, retries)
        self._postponed: list[JobRun] = []  # jobs that get another attempt
        self._by_number = {run.spec.number: run for run in runs}
        self._images = len(data.y_train)
        epochs = sum(run.hyperparameters.num_epochs for run in runs)
        self._progress = Progress(len(runs), epochs * self._images)
        self._show_best()

    def train(self, backend: Backend, flusher: Flusher) -> None:
        """Train each job to its end, or to the rung where it is halted.

        Raises:
            PipelineError: no machine can train the jobs, or too many have failed.
        """
        try:
            for rung in self._rungs():
                self._train_until(rung, backend, flusher)
                if rung is not None:
                    self._halt(rung)
                    flusher.tick()
            flusher.flush()
        finally:
            self._progress.close()

    def _rungs(self) -> list[int | None]:
        """The epochs after which training pauses, and None for the end."""
        if self._rule is None:
            return [None]
        return [*self._rule.rungs(self._candidates), None]

    def _train_until(self, rung: int | None, backend: Backend, flusher: Flusher) -> None:
        active = [
            run for run in self._runs if not run.outcome and not run.has_cached_result_at(rung)
        ]
        while active:
            self._postponed = []
            self._train_once(active, rung, backend, flusher)
            active = self._postponed

    def _train_once(
        self, active: Sequence[JobRun], rung: int | None, backend: Backend, flusher: Flusher
    ) -> None:
        planned = [
            PlannedJob(
                run.spec.number,
                run.spec.values,
                run.hyperparameters,
                run.checkpoint_name,
                run.epoch,
            )
            for run in active
        ]
        training = backend.train(
            Plan(planned, self._data, self._checkpoints, self._context, until=rung)
        )
        try:
            for events in training:
                self._apply(events, flusher)
                shutdown.check()
                self._check()
                flusher.tick()
        except BaseException:
            self._apply(training.stop(), flusher)
            raise

    def _apply(self, events: Sequence[Event], flusher: Flusher) -> None:
        """Record events. Events that were recorded before have no effect."""
        flusher.open([self._by_number[e.job] for e in events if isinstance(e, JobStarted)])
        epochs = 0  # that models have trained since the last call
        for event in events:
            run = self._by_number[event.job]
            match event:
                case EpochTrained(_, epoch, row, outcome):
                    if not run.record_epoch(epoch, row, outcome):
                        continue
                    epochs += 1
                case JobFailed(_, error, trace, is_transient):
                    if is_transient and self._retries_left[run]:
                        self._retries_left[run] -= 1
                        self._postponed.append(run)
                        log.warning("job %d is retried: %s", event.job, error)
                        continue
                    run.fail(error, trace)
                case JobLogged(_, result):
                    run.apply_remote_result(result)
                    epochs += run.epoch
                case _:
                    continue
            if run.outcome is not None:
                self._count(run)
        self._show_best()
        self._progress.add_images(epochs * self._images)

    def _halt(self, rung: int) -> None:
        """End the candidates that do not continue after a rung."""
        assert self._rule is not None
        halted = set(self._rule.select_halted(self._candidates, rung))
        reused: dict[int, str] = {}
        for run in self._candidates:
            if run not in halted or run.outcome:
                continue
            if run.cached_halted_run is not None and run.epoch == 0:
                run.reuse(run.cached_halted_run)
                reused[run.spec.number] = run.cached_halted_run.run_id
            else:
                run.halt(rung)
            self._count(run)
        self._candidates = [run for run in self._candidates if run not in halted]
        if reused and self._context.sweep is not None:
            self._context.store.link_reused_runs(self._context.sweep, reused)

    def _show_best(self) -> None:
        """Show the best score of the jobs that can still be chosen."""
        found = [
            (run.score, run.name)
            for run in self._candidates
            if run.score is not None and run.outcome in (None, Outcome.FINISHED)
        ]
        if found:
            select_by = self._candidates[0].hyperparameters.select_by
            best = min if direction(select_by) == "minimize" else max
            score, name = best(found, key=lambda pair: pair[0])
            self._progress.set_best(describe_score(score, select_by), name)

    def _count(self, run: JobRun) -> None:
        assert run.outcome is not None
        epochs_left = run.hyperparameters.num_epochs - run.epoch
        self._progress.end_job(run.outcome, epochs_left * self._images)
