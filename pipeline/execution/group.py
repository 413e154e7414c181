"""The jobs of a sweep on one dataset: they train together, from rung to rung."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline import shutdown
from pipeline.data.dataset import Dataset
from pipeline.execution.backend import Backend, Plan, PlannedJob
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.flusher import Flusher
from pipeline.execution.job import JobRun
from pipeline.execution.progress import Progress
from pipeline.execution.recorder import Recorder
from pipeline.execution.spec import RunContext
from pipeline.execution.stopping import StoppingRule, halt


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
        self._runs, self._candidates, self._data = runs, candidates, data
        self._checkpoints, self._context, self._rule = checkpoints, context, rule
        self._retries, self._check = retries, check

    def train(self, backend: Backend, flusher: Flusher) -> None:
        """Train each job to its end, or to the rung where it is halted.

        Raises:
            PipelineError: no machine can train the jobs, or too many have failed.
        """
        images = len(self._data.y_train)
        epochs = sum(run.hyperparameters.num_epochs for run in self._runs)
        progress = Progress(len(self._runs), epochs * images)
        recorder = Recorder(flusher, progress, images, self._retries)
        recorder.add(self._runs, self._candidates)
        try:
            for rung in self._rungs():
                self._train_until(rung, backend, flusher, recorder)
                if rung is not None:
                    self._halt(rung, recorder)
                    flusher.tick()
            flusher.flush()
        finally:
            progress.close()

    def _rungs(self) -> list[int | None]:
        """The epochs after which training pauses, and None for the end."""
        if self._rule is None:
            return [None]
        return [*self._rule.rungs(self._candidates), None]

    def _train_until(
        self, rung: int | None, backend: Backend, flusher: Flusher, recorder: Recorder
    ) -> None:
        active = [
            run for run in self._runs if not run.outcome and not run.has_cached_result_at(rung)
        ]
        while active:
            active = self._train_once(active, rung, backend, flusher, recorder)

    def _train_once(
        self,
        active: Sequence[JobRun],
        rung: int | None,
        backend: Backend,
        flusher: Flusher,
        recorder: Recorder,
    ) -> list[JobRun]:
        """Train jobs, and return the ones that get another attempt."""
        planned = [planned_job(run) for run in active]
        training = backend.train(
            Plan(planned, self._data, self._checkpoints, self._context, until=rung)
        )
        postponed = []
        try:
            for events in training:
                postponed += recorder.apply(events)
                shutdown.check()
                self._check()
                flusher.tick()
        except BaseException:
            recorder.apply(training.stop())
            raise
        return postponed

    def _halt(self, rung: int, recorder: Recorder) -> None:
        """End the candidates that do not continue after a rung."""
        assert self._rule is not None
        ended, recorder.candidates = halt(self._rule, recorder.candidates, rung, self._context)
        for run in ended:
            recorder.count(run)


def planned_job(run: JobRun) -> PlannedJob:
    """A job as a backend receives it."""
    hyper, name = run.hyperparameters, run.checkpoint_name
    return PlannedJob(run.spec.number, run.spec.values, hyper, name, run.epoch)
