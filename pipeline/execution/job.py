"""A job of a sweep: its state, its result, its MLflow run and its log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config import Job, parse_job
from pipeline.data.dataset import Dataset, Scaler
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution import job_metadata
from pipeline.execution.artifacts import write_artifacts
from pipeline.execution.best_epoch import BestEpoch
from pipeline.execution.checkpoint_file import Model
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.job_log import JobLog
from pipeline.execution.job_state import TRANSITIONS, JobState
from pipeline.execution.spec import JobResult, JobSpec, RunContext
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Checkpoint, Row
from pipeline.outcomes import Outcome
from pipeline.selection import SelectionKey
from pipeline.shutdown import defer_signals
from pipeline.tracking import artifacts
from pipeline.tracking.entities import FinishedRun, Point
from pipeline.tracking.run_logger import RunLogger
from pipeline.uris import redact

TAG_LENGTH = 5000  # characters of a tag that every MLflow store keeps


class JobRun:
    """A job of the sweep that this process runs.

    Training reports each epoch to `record_epoch`; `flush` writes new epochs to the job's log
    and to MLflow. A `flush` that fails can be repeated without losing or doubling anything.

    Attributes:
        spec: the job as Hydra defines it.
        job: the checked configuration; None if it was rejected.
        state: changes only along `TRANSITIONS`.
        outcome: how the job ended; None before that.
        epoch: the number of epochs recorded.
        best: the best epoch so far.
        error: why the job failed, or why its result is not in MLflow.
        checkpoint_name: the name of the job's checkpoint.
        cached_halted_run: a run of an earlier sweep that was halted; it stands for this job if
            this job is halted at the same rung.
    """

    def __init__(self, spec: JobSpec, context: RunContext) -> None:
        """Check the configuration of a job. A job with an invalid configuration has failed."""
        self.spec = spec
        self.job: Job | None = None
        self.state = JobState.WAITING
        self.outcome: Outcome | None = None
        self.epoch = 0
        self.best = BestEpoch()
        self.error: Exception | None = None
        self.checkpoint_name = ""
        self.cached_halted_run: FinishedRun | None = None
        self._cached_score: float | None = None  # of a run that stands for this job
        self._unlogged_rows: list[tuple[int, Row]] = []  # epochs that the log file lacks
        self._checkpoints: Checkpoints | None = None
        self._model: Model | None = None  # the sizes of its checkpoint
        self._shard = context.shard
        self._choices: dict[str, str] = {}  # of the preprocessing
        self._preprocessing: Mapping[str, Any] = {}  # arrays
        self._scaler: Scaler | None = None
        self._log = JobLog(spec.log)
        try:
            self.job = parse_job(spec.values)
            self.best = BestEpoch(self.job.hyperparameters.select_by)
        except ConfigError as error:
            self.error = error
        where = context.store, context.experiment_id, context.sweep
        swept = context.sweep.swept if context.sweep is not None else ()
        self._logger = RunLogger(*where, job_metadata.run_name(spec.number, self.job, swept))
        if self.error is not None:
            self.fail(self.error)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of a job whose configuration was accepted."""
        assert self.job is not None
        return self.job.hyperparameters

    @property
    def name(self) -> str:
        """The name of the job's own MLflow run."""
        return self._logger.name

    @property
    def run_id(self) -> str:
        """The ID of the job's own or reused MLflow run; empty before it is created."""
        return self._logger.run_id

    @property
    def is_pending(self) -> bool:
        """Whether `flush` has something to write."""
        is_open = self.state in (JobState.WAITING, JobState.TRAINING, JobState.ENDED)
        return is_open and (self._logger.has_pending_metrics or self.outcome is not None)

    @property
    def is_logged(self) -> bool:
        """Whether MLflow has the outcome."""
        return self.state in (JobState.LOGGED, JobState.COMMITTED)

    @property
    def has_redundant_checkpoint(self) -> bool:
        """Whether MLflow and a checkpoint hold the result. A failed job keeps its checkpoint."""
        return self.state is JobState.LOGGED and self.outcome is not Outcome.FAILED

    @property
    def score(self) -> float | None:
        """The metric of `select_by`; None if it cannot be compared with that of other jobs."""
        if self.outcome is Outcome.HALTED:
            return None
        return self._cached_score if self.best.score is None else self.best.score

    def prepare(self, data: Dataset, checkpoints: Checkpoints, name: str) -> None:
        """Set the dataset and the name of the checkpoint before training."""
        assert self.job is not None
        self.checkpoint_name, self._checkpoints = name, checkpoints
        self._model = Model.of(self.hyperparameters, data)
        self._choices, self._preprocessing = dict(data.choices), data.preprocessing
        self._scaler = data.scaler
        self._logger.set_dataset(job_metadata.dataset_info(self.job, data))
        self._logger.add_tags(job_metadata.data_tags(self.job, data))

    def open(self) -> None:
        """Create the MLflow run with status RUNNING, unless it exists.

        Raises:
            TrackingError: the store cannot be reached.
        """
        if self._logger.run_id:
            return
        self._logger.add_tags(
            job_metadata.job_tags(self.spec.number, self._shard, self.spec.values)
        )
        self._logger.open()
        self._logger.add_params(job_metadata.job_params(self.spec.values) | self._choices)

    def record_epoch(self, epoch: int, row: Row, outcome: Outcome | None) -> bool:
        """Record an epoch; return False if it is recorded already.

        Args:
            epoch: 1, 2, …
            row: its metrics.
            outcome: FINISHED or DIVERGED if it was the last epoch of the job.
        """
        if epoch <= self.epoch:
            return False
        with defer_signals():  # an interrupt must not leave half of an epoch
            self.epoch = epoch
            if outcome is not Outcome.DIVERGED:
                self._unlogged_rows.append((epoch, row))
                self._logger.add_point(Point(epoch, row.milliseconds, row.metrics.measured()))
                self.best.update(epoch, row.metrics)
            if outcome is not None:
                self._end(outcome, row.milliseconds)
            elif self.state is JobState.WAITING:
                self._enter(JobState.TRAINING)
        return True

    def fail(self, error: Exception, trace: str = "") -> None:
        """End the job as failed.

        Args:
            error: the reason.
            trace: the traceback, if the reason is not an error of the user.
        """
        self.error = error
        self._end(Outcome.FAILED)
        reason, trace = redact(str(error)), redact(trace)
        self._logger.add_tags({"error": reason[-TAG_LENGTH:]})
        if trace:
            self._logger.add_tags({"traceback": trace[-TAG_LENGTH:]})
        self._log.error(f"failed: {reason}" + (f"\n{trace}" if trace else ""))

    def halt(self, rung: int) -> None:
        """End the job at a rung of successive halving."""
        try:
            saved = self._read_result()
        except OSError as error:
            self.fail(PipelineError(f"{error}: rerun the same command"))
            return
        self._logger.add_tags({"rung": str(rung)})
        self._end(Outcome.HALTED, saved.curve[-1].milliseconds)

    def key_at(self, epoch: int) -> SelectionKey | None:
        """The selection key of the best of the first epochs; None if the job did not reach them.

        A job that diverged after `epoch` has a key: it was a candidate at that rung.
        """
        return None if self.outcome is Outcome.FAILED else self.best.key_at(epoch)

    def has_cached_result_at(self, rung: int | None) -> bool:
        """Whether a cached run already covers this rung, so that no training is needed."""
        if rung is None or self.cached_halted_run is None or self.epoch > 0:
            return False
        return self.best.key_at(rung) is not None

    def reuse(self, run: FinishedRun, reason: str = "already finished") -> None:
        """Take the outcome of a run that has finished."""
        self._enter(JobState.COMMITTED)
        self._logger.run_id, self._cached_score = run.run_id, run.score
        self.outcome = Outcome(run.outcome)
        best = f", best {self.hyperparameters.select_by} {run.score:.4f}" if run.score else ""
        self._log.info(f"{reason}: run {run.run_id}{best}")

    def apply_remote_result(self, result: JobResult) -> None:
        """Take the result of a job that another machine has trained and logged to MLflow."""
        self._enter(JobState.COMMITTED)
        self.outcome, self._cached_score = result.outcome, result.score
        self._logger.run_id, self.epoch = result.run_id, result.epochs
        self.error = PipelineError(result.error) if result.error else None
        self._log.replay(result.log_records)

    def flush(self) -> None:
        """Write new epochs to the log and to MLflow, and end the run if the job has ended.

        Raises:
            TrackingError: the store cannot be reached.
            OSError: the disk is full.
        """
        self._log.epochs(self._unlogged_rows)
        self._unlogged_rows = []
        self.open()
        if self.state is not JobState.ENDED:
            self._logger.flush()
            return
        if self.outcome is not Outcome.FAILED:
            self._log_artifacts()
        self._logger.flush("FAILED" if self.outcome is Outcome.FAILED else "FINISHED")
        self._enter(JobState.LOGGED)
        if self.outcome is not Outcome.FAILED:  # `fail` has logged the reason
            self._log.info(self.summary())

    def delete_checkpoint(self) -> None:
        """Delete the checkpoint, after `Store.flush_to_disk` has made the result durable."""
        assert self._checkpoints is not None
        self._checkpoints.delete(self.checkpoint_name)
        self._enter(JobState.COMMITTED)

    def kill(self) -> None:
        """End an unfinished run as KILLED, because the sweep stops.

        Raises:
            TrackingError, OSError: as in `flush`.
        """
        if self.is_pending:
            self.flush()
        if self._logger.run_id and not self.is_logged and self.state is not JobState.KILLED:
            self._logger.flush("KILLED")
            self._enter(JobState.KILLED)
            self._log.info(f"killed in epoch {self.epoch + 1}")

    def summary(self) -> str:
        """The outcome in one line."""
        if self.outcome is Outcome.FAILED:
            return f"failed: {self.error}"
        if self.outcome is Outcome.DIVERGED:
            return f"diverged in epoch {self.epoch}: the loss is not finite"
        score = f"{self.hyperparameters.select_by} {self.best.score or 0:.4f}"
        if self.outcome is Outcome.HALTED:
            return f"halted after epoch {self.epoch}, with {score}"
        return f"best {score} in epoch {self.best.epoch}"

    def _enter(self, state: JobState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(
                f"job {self.spec.number} cannot change from {self.state.name} to {state.name}"
            )
        self.state = state

    def _end(self, outcome: Outcome, milliseconds: int | None = None) -> None:
        self._enter(JobState.ENDED)
        self.outcome = outcome
        self._logger.add_tags({"outcome": outcome.value})
        if outcome in (Outcome.DIVERGED, Outcome.HALTED):
            self._logger.add_tags({f"{outcome.value}_epoch": str(self.epoch)})
        if milliseconds is not None and (best := self.best.as_metrics()):
            self._logger.add_point(Point(self.epoch, milliseconds, best))

    def _read_result(self) -> Checkpoint:
        assert self._checkpoints is not None and self._model is not None
        if result := self._checkpoints.read_result(self.checkpoint_name, self._model):
            return result
        path = self._checkpoints.result_path(self.checkpoint_name)
        raise OSError(f"the result in {path} is missing or damaged")

    def _log_artifacts(self) -> None:
        """Store the artifacts, and buffer a tag by which a later sweep can check them."""
        result = self._read_result()
        assert self._checkpoints is not None and self._scaler is not None
        with self._logger.artifact_folder(self._checkpoints.folder) as folder:
            write_artifacts(folder, self.spec.values, result, self._preprocessing, self._scaler)
            self._logger.add_tags({artifacts.TAG: artifacts.manifest(folder)})
