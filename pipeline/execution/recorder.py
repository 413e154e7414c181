"""Records the events of a backend: in the jobs, in MLflow and in the progress bar."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pipeline.execution.backend import EpochTrained, Event, JobFailed, JobLogged, JobStarted
from pipeline.execution.flusher import Flusher
from pipeline.execution.job import JobRun
from pipeline.execution.progress import Progress
from pipeline.outcomes import Outcome
from pipeline.selection import describe_score, direction

log = logging.getLogger("pipeline")


class Recorder:
    """Records events of jobs on one dataset.

    Attributes:
        candidates: the jobs whose best score is shown.
        progress: the progress bar.
    """

    def __init__(self, flusher: Flusher, progress: Progress, images: int, retries: int) -> None:
        """Prepare to record.

        Args:
            flusher: creates the MLflow runs.
            progress: counts the images and the jobs.
            images: of an epoch.
            retries: further attempts of a job after a transient failure.
        """
        self.candidates: list[JobRun] = []
        self.progress = progress
        self._flusher, self._images, self._retries = flusher, images, retries
        self._by_number: dict[int, JobRun] = {}
        self._retries_left: dict[JobRun, int] = {}

    def add(self, runs: Sequence[JobRun], candidates: Sequence[JobRun]) -> None:
        """Add jobs.

        Args:
            runs: jobs to train.
            candidates: jobs whose score counts: `runs`, and jobs that reuse a result.
        """
        self._by_number |= {run.spec.number: run for run in runs}
        self._retries_left |= dict.fromkeys(runs, self._retries)
        self.candidates += candidates
        self.show_best()

    def apply(self, events: Sequence[Event]) -> list[JobRun]:
        """Record events. Events that were recorded before have no effect.

        Returns:
            Jobs that get another attempt after a transient failure.
        """
        self._flusher.open([self._by_number[e.job] for e in events if isinstance(e, JobStarted)])
        epochs = 0  # that models have trained since the last call
        postponed = []
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
                        postponed.append(run)
                        log.warning("job %d is retried: %s", event.job, error)
                        continue
                    run.fail(error, trace)
                case JobLogged(_, result):
                    run.apply_remote_result(result)
                    epochs += run.epoch
                case _:
                    continue
            if run.outcome is not None:
                self.count(run)
        self.show_best()
        self.progress.add_images(epochs * self._images)
        return postponed

    def count(self, run: JobRun) -> None:
        """Count a job that has ended."""
        assert run.outcome is not None
        epochs_left = run.hyperparameters.num_epochs - run.epoch
        self.progress.end_job(run.outcome, epochs_left * self._images)

    def show_best(self) -> None:
        """Show the best score of the jobs that can still be chosen."""
        found = [
            (run.score, run.name)
            for run in self.candidates
            if run.score is not None and run.outcome in (None, Outcome.FINISHED)
        ]
        if found:
            select_by = self.candidates[0].hyperparameters.select_by
            best = min if direction(select_by) == "minimize" else max
            score, name = best(found, key=lambda pair: pair[0])
            self.progress.set_best(describe_score(score, select_by), name)
