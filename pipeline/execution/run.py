"""Trains the jobs of a sweep, or the one job of a run, and records them in MLflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pipeline.config import Halving, Job
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.backend import Backend, Resources, StreamingBackend
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.datasets import Datasets, check_job
from pipeline.execution.dry_run import describe
from pipeline.execution.failure import FailurePolicy
from pipeline.execution.flusher import Flusher
from pipeline.execution.group import JobGroup
from pipeline.execution.job import JobRun
from pipeline.execution.reuse import Reuse, finish_duplicates, log_counts
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.execution.stopping import StoppingRule
from pipeline.execution.stream import JobSource, JobStream
from pipeline.outcomes import Outcome
from pipeline.paths import checkpoints_dir

NO_POLICY = FailurePolicy()


def train_jobs(
    specs: Sequence[JobSpec],
    context: RunContext,
    backend: Backend,
    rule: StoppingRule | None = None,
    policy: FailurePolicy = NO_POLICY,
    datasets: Datasets | None = None,
) -> list[JobRun]:
    """Train jobs, as many together as possible.

    A job that fails does not stop the others, unless `policy` says so. A job that an earlier run
    has finished is not trained again. A job that was interrupted resumes from its checkpoint.

    Args:
        specs: the jobs.
        context: the place of their runs in MLflow.
        backend: trains the jobs.
        rule: stops jobs early; None: all train to their end.
        policy: when to retry a job, and after how many failures to stop.
        datasets: with the datasets that were loaded already; None: there are none.

    Returns:
        The jobs in their order, each finished, halted, diverged or failed. A job whose result
        could not be sent to MLflow has the reason as its error, and keeps its checkpoint.

    Raises:
        PipelineError: no machine can train the jobs, or too many have failed.
    """
    runs = [JobRun(spec, context) for spec in specs]
    datasets = datasets or Datasets()
    flusher = Flusher(runs, context)
    check = partial(_check_failures, runs, policy)
    try:
        duplicates: list[tuple[JobRun, JobRun]] = []
        for group in _groups(runs):
            duplicates += _train_group(
                group, datasets, context, backend, flusher, rule, policy, check
            )
            check()
        flusher.finish()
        finish_duplicates(duplicates, context)
    except BaseException:
        _kill(runs)
        raise
    return runs


def train_stream(
    source: JobSource,
    context: RunContext,
    backend: StreamingBackend,
    policy: FailurePolicy = NO_POLICY,
    datasets: Datasets | None = None,
) -> list[JobRun]:
    """Train the jobs of a source. A job starts when the source supplies it and a core is free.

    The arguments and the result are as in `train_jobs`. All jobs have the same dataset.

    Raises:
        PipelineError: the dataset cannot be loaded, too many jobs have failed, or the source cannot
            supply a job.
    """
    job = source.job
    data = backend.stage((datasets or Datasets()).take(job), source.max_active)
    checkpoints = Checkpoints(checkpoints_dir(), job.tracking.checkpoint_minutes)
    checkpoints.delete_abandoned()
    _log_cores(context, backend)
    flusher = Flusher([], context)
    stream = JobStream(source, data, checkpoints, context, policy.retries)
    try:
        stream.train(backend, flusher, _fits, lambda: _check_failures(stream.runs, policy))
        flusher.finish()
        finish_duplicates(stream.duplicates, context)
    except BaseException:
        _kill(stream.runs)
        raise
    return stream.runs


def dry_run(
    jobs: Sequence[Job],
    resources: Resources,
    halving: Halving | None = None,
    datasets: Datasets | None = None,
    *,
    alone: bool = False,
) -> list[str]:
    """Describe in some lines what `train_jobs` would do, or `train_stream` if `alone` is true.

    Raises:
        PipelineError: a job cannot be trained.
    """
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.data_key].append(job)
    lines: list[str] = []
    for group in groups.values():
        data = (datasets or Datasets()).take(group[0])
        for job in group:
            check_job(job.hyperparameters, data)
        lines += describe(
            [job.hyperparameters for job in group], data, resources, halving, alone=alone
        )
    return lines


def _kill(runs: Sequence[JobRun]) -> None:
    with suppress(PipelineError, OSError):  # perhaps the store is unreachable
        for run in runs:
            run.kill()


def _groups(runs: Sequence[JobRun]) -> list[list[JobRun]]:
    """Group the valid jobs by dataset and dtype."""
    groups: dict[str, list[JobRun]] = defaultdict(list)
    for run in runs:
        if run.job is not None:
            groups[run.job.data_key].append(run)
    return list(groups.values())


def _train_group(
    runs: Sequence[JobRun],
    datasets: Datasets,
    context: RunContext,
    backend: Backend,
    flusher: Flusher,
    rule: StoppingRule | None,
    policy: FailurePolicy,
    check: Callable[[], None],
) -> list[tuple[JobRun, JobRun]]:
    """Train jobs on the same dataset; return pairs of a duplicate and the job that is trained."""
    assert runs[0].job is not None
    tracking = runs[0].job.tracking
    data = _load(runs, datasets)
    if data is None:
        return []
    checkpoints = Checkpoints(checkpoints_dir(), tracking.checkpoint_minutes)
    checkpoints.delete_abandoned()
    valid = [run for run in runs if _fits(run, data)]
    enabled = tracking.reuse and not context.shard  # the sweep has looked before it sent a shard
    options = {"with_history": rule is not None, "enabled": enabled}
    parts = Reuse(data.digest, context, checkpoints, **options).partition(valid, data)
    log_counts(parts, checkpoints)
    try:
        data = backend.stage(data, len(parts.unfinished))
    except PipelineError as error:
        for run in parts.unfinished:
            run.fail(error)
        return parts.duplicates
    if parts.unfinished and not context.shard:
        _log_cores(context, backend)
    jobs = parts.unfinished, parts.candidates, data, checkpoints, context
    group = JobGroup(*jobs, rule, policy.retries, check)
    group.train(backend, flusher)
    return parts.duplicates


def _log_cores(context: RunContext, backend: Backend) -> None:
    if context.sweep is not None:
        with suppress(PipelineError):  # the report then lacks the core-hours
            context.store.log_cores(context.sweep, backend.resources.cores)


def _check_failures(runs: Sequence[JobRun], policy: FailurePolicy) -> None:
    """End the sweep if too many of its jobs have failed.

    Raises:
        PipelineError: `max_failures` is reached.
    """
    failed = [run for run in runs if run.outcome is Outcome.FAILED]
    count = policy.earlier + len(failed)
    if policy.max_failures is None or not failed or count < policy.max_failures:
        return
    first = failed[0]
    raise PipelineError(
        f"the sweep stops because hydra.launcher.max_failures={policy.max_failures} and {count} of "
        f"its jobs failed (job {first.spec.number}: {first.error}): fix the reason, then rerun the "
        "same command"
    )


def _load(runs: Sequence[JobRun], datasets: Datasets) -> Dataset | None:
    """Load the dataset of jobs; if that fails, so do the jobs."""
    assert runs[0].job is not None
    try:
        return datasets.take(runs[0].job)
    except PipelineError as error:
        for run in runs:
            run.fail(error)
    return None


def _fits(run: JobRun, data: Dataset) -> bool:
    """Check a job against its dataset; a job that does not fit has failed."""
    try:
        check_job(run.hyperparameters, data)
    except ConfigError as error:
        run.fail(error)
        return False
    return True
