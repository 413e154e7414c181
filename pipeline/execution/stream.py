"""Trains jobs that a source supplies one after another, while earlier jobs train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline import shutdown
from pipeline.config import Job
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.backend import Event, JobPaused, StreamingBackend
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.flusher import Flusher
from pipeline.execution.group import planned_job
from pipeline.execution.job import JobRun
from pipeline.execution.progress import Progress
from pipeline.execution.recorder import Recorder
from pipeline.execution.reuse import Reuse
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.execution.stopping import StoppingRule, halt


@dataclass(frozen=True, eq=False)
class Supply:
    """Jobs that a source supplies together. They pause for each other, and for no other job."""

    specs: Sequence[JobSpec]
    rule: StoppingRule | None = None  # stops these jobs early; None: they train to their end
    runs: list[JobRun] = field(default_factory=list)  # the jobs, since they have started


class JobSource(Protocol):
    """Supplies jobs, and receives them when they have ended."""

    job: Job  # any job: all of them share its dataset, its dtype and its tracking
    num_jobs: int  # planned in total
    max_active: int  # jobs in flight at most
    stops_early: bool  # whether jobs have a rule

    def next_supply(self) -> Supply | None:
        """The jobs that can start now; None: none can before other jobs have ended."""

    def end(self, supply: Supply, original: Supply | None) -> None:
        """Receive jobs that have ended.

        Args:
            supply: of `next_supply`.
            original: an earlier supply with equal jobs. The jobs of this one were not trained.
        """


@dataclass(eq=False)
class _Active:
    """A supply whose jobs have not ended."""

    supply: Supply
    original: Supply | None = None
    unfinished: list[JobRun] = field(default_factory=list)  # jobs to train
    candidates: list[JobRun] = field(default_factory=list)  # jobs that the rule compares
    rungs: Iterator[int | None] = field(default_factory=lambda: iter([None]))
    rung: int | None = None  # the epoch of the next comparison; None: the end
    training: set[int] = field(default_factory=set)  # numbers of jobs that wait or train


class JobStream:
    """Trains the jobs of a source on a backend, and records its events.

    Attributes:
        runs: all jobs, in the order of their supply.
        duplicates: pairs of a job that is not trained and an equal job that is.
    """

    def __init__(
        self,
        source: JobSource,
        data: Dataset,
        checkpoints: Checkpoints,
        context: RunContext,
        retries: int,
    ) -> None:
        """Prepare to train.

        Args:
            source: supplies the jobs.
            data: the dataset, as the backend has staged it.
            checkpoints: the folder of the checkpoints.
            context: the place of the runs in MLflow.
            retries: further attempts of a job after a transient failure.
        """
        self.runs: list[JobRun] = []
        self.duplicates: list[tuple[JobRun, JobRun]] = []
        self._source, self._data, self._checkpoints = source, data, checkpoints
        self._context, self._retries = context, retries
        options = {"with_history": source.stops_early, "enabled": source.job.tracking.reuse}
        self._reuse = Reuse(data.digest, context, checkpoints, **options)
        self._originals: dict[str, tuple[JobRun, Supply]] = {}  # by fingerprint
        self._active: list[_Active] = []

    def train(
        self,
        backend: StreamingBackend,
        flusher: Flusher,
        fits: Callable[[JobRun, Dataset], bool],
        check: Callable[[], None],
    ) -> None:
        """Train each job to its end, or to the rung where it is halted.

        Args:
            backend: trains the jobs.
            flusher: writes them to MLflow.
            fits: checks a job against the dataset; a job that does not fit has failed.
            check: raises a PipelineError if too many jobs have failed.

        Raises:
            PipelineError: too many jobs have failed, or the source cannot supply jobs.
        """
        images = len(self._data.y_train)
        progress = Progress(self._source.num_jobs, 0)
        self._recorder = Recorder(flusher, progress, images, self._retries)
        self._flusher, self._fits, self._images = flusher, fits, images
        size = self._source.max_active
        self._training = backend.stream(self._data, self._checkpoints, self._context, size)
        try:
            self._advance()
            for events in self._training:
                self._record(events)
                self._advance()
                shutdown.check()
                check()
                flusher.tick()
            flusher.flush()
        except BaseException:
            self._recorder.apply(self._training.stop())
            raise
        finally:
            progress.close()

    def _record(self, events: Sequence[Event]) -> None:
        for run in self._recorder.apply(events):
            active = next(one for one in self._active if run in one.supply.runs)
            self._training.add(planned_job(run), active.rung)
        ended = {event.job for event in events if isinstance(event, JobPaused)}
        for active in self._active:
            failed = {run.spec.number for run in active.supply.runs if run.outcome is not None}
            active.training -= ended | failed

    def _advance(self) -> None:
        """Halt jobs, continue others, and start new ones, until all of them train or wait."""
        while True:
            shutdown.check()
            ended = [active for active in self._active if self._has_ended(active)]
            self._active = [active for active in self._active if active not in ended]
            for active in ended:
                self._source.end(active.supply, active.original)
            supply = self._source.next_supply()
            if supply is not None:
                self._active.append(self._start(supply))
            elif not ended:
                return

    def _start(self, supply: Supply) -> _Active:
        """Look for results of new jobs, and train the others up to their first rung."""
        supply.runs[:] = runs = [JobRun(spec, self._context) for spec in supply.specs]
        self.runs += runs
        self._flusher.add(runs)
        active = _Active(supply)
        valid = [run for run in runs if self._is_valid(run)]
        names = {run: fingerprint(run.hyperparameters, self._data.digest) for run in valid}
        if valid and all(name in self._originals for name in names.values()):
            self.duplicates += [(run, self._originals[name][0]) for run, name in names.items()]
            active.original = self._originals[names[valid[0]]][1]
        else:
            self._originals |= {name: (run, supply) for run, name in names.items()}
            parts = self._reuse.partition(valid, self._data)
            active.unfinished, active.candidates = parts.unfinished, parts.candidates
            self._recorder.add(parts.unfinished, parts.candidates)
            rungs = supply.rule.rungs(parts.candidates) if supply.rule is not None else []
            active.rungs = iter([*rungs, None])
            self._continue(active)
        for run in runs:
            if run in active.unfinished:
                images = run.hyperparameters.num_epochs * self._images
                self._recorder.progress.add_job(images)
            else:
                self._recorder.progress.skip_job()
        return active

    def _is_valid(self, run: JobRun) -> bool:
        if run.job is None:
            return False
        if run.job.data_key != self._source.job.data_key:
            run.fail(
                ConfigError(
                    "hydra.sweeper.continuous trains all jobs on one dataset in one dtype, and "
                    "this job has another: set hydra.sweeper.continuous=false"
                )
            )
            return False
        return self._fits(run, self._data)

    def _has_ended(self, active: _Active) -> bool:
        """Whether all jobs of a supply have ended. Jobs that have paused are halted or continue."""
        if active.original is not None:
            return all(one.supply is not active.original for one in self._active)
        while not active.training:
            if active.rung is None:
                return True
            self._halt(active)
            self._continue(active)
        return False

    def _continue(self, active: _Active) -> None:
        """Train the jobs of a supply up to its next rung."""
        active.rung = rung = next(active.rungs)
        for run in active.unfinished:
            if not run.outcome and not run.has_cached_result_at(rung):
                active.training.add(run.spec.number)
                self._training.add(planned_job(run), rung)

    def _halt(self, active: _Active) -> None:
        assert active.supply.rule is not None and active.rung is not None
        rule, rung = active.supply.rule, active.rung
        ended, active.candidates = halt(rule, active.candidates, rung, self._context)
        for run in ended:
            self._recorder.count(run)
