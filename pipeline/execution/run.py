"""Train the jobs of a sweep, or the one job of a run, and keep MLflow and their logs told."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from pipeline.config import Halving, Hyperparameters, Job, check_batch_size
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.dry_run import describe
from pipeline.execution.job import JobRun, JobSpec, RunContext
from pipeline.execution.local import Backend, LocalTrainer, Resources
from pipeline.execution.plan import check_size
from pipeline.execution.reuse import find_unfinished
from pipeline.execution.run_logger import Writer
from pipeline.paths import checkpoints_dir


def train_jobs(
    specs: Sequence[JobSpec],
    context: RunContext,
    cores: int,
    memory: int | None = None,
    halving: Halving | None = None,
    elsewhere: Backend | None = None,
) -> list[JobRun]:
    """Train jobs, as many together as can be; a job that fails does not stop the others.

    A job that has a finished run already is not trained again, and one that was interrupted goes on
    from its checkpoint.

    Args:
        specs: the jobs.
        context: where their runs go.
        cores: shards that train at once.
        memory: bytes for data and weights; None: a share of what is free.
        halving: when which part of the configurations stops training; None: all train to their end.
        elsewhere: trains the jobs on other machines.

    Returns:
        The jobs in their order, each ended as finished, halted, diverged or failed; one whose
        result could not be sent to MLflow has the reason as its error, and its result stays in its
        checkpoint.
    """
    means = Resources(cores, memory, halving, elsewhere)
    runs = [JobRun(spec, context) for spec in specs]
    groups: dict[str, list[JobRun]] = defaultdict(list)
    for run in runs:
        if run.job is not None:
            groups[run.job.data_key].append(run)
    writer = Writer(runs, context)
    try:
        for group in groups.values():
            _train_group(group, context, writer, means)
        writer.finish()
    except BaseException:
        with suppress(PipelineError, OSError):  # it may be the store that is gone
            for run in runs:
                run.kill()
        raise
    return runs


def _train_group(
    runs: Sequence[JobRun], context: RunContext, writer: Writer, means: Resources
) -> None:
    """Train jobs on the same data and dtype, here or elsewhere."""
    assert runs[0].job is not None
    try:
        data = load(runs[0].job.data, runs[0].hyperparameters.dtype)
    except Exception as error:
        trace = "" if isinstance(error, PipelineError) else traceback.format_exc()
        for run in runs:
            run.fail(error, trace)
        return
    tracking = runs[0].job.tracking
    checkpoints = Checkpoints(checkpoints_dir(), tracking.checkpoint_minutes)
    checkpoints.tidy()
    race = [run for run in runs if _fits(run, data)]
    reuse = tracking.reuse and not context.shard  # who sent a shard has looked already
    left = find_unfinished(race, data, context, checkpoints, means.halving, reuse=reuse)
    if means.elsewhere is not None:
        means.elsewhere(left, data, context, writer)
        return
    group = LocalTrainer(left, race, data, checkpoints, means)
    del data  # the group shares it with its processes: it would be in memory twice
    group.train(context, writer)


def dry_run(
    jobs: Sequence[Job], cores: int, memory: int | None = None, halving: Halving | None = None
) -> list[str]:
    """Lines that say what `train_jobs` would do.

    Raises:
        PipelineError: a job cannot be trained.
    """
    lines: list[str] = []
    for key in dict.fromkeys(job.data_key for job in jobs):
        group = [job for job in jobs if job.data_key == key]
        data = load(group[0].data, group[0].hyperparameters.dtype)
        for job in group:
            _check(job.hyperparameters, data)
        free = Resources(cores, memory).for_weights(data)
        lines += describe([job.hyperparameters for job in group], data, cores, free, halving)
    return lines


def _fits(run: JobRun, data: Dataset) -> bool:
    try:
        _check(run.hyperparameters, data)
    except ConfigError as error:
        run.fail(error)
    return run.error is None


def _check(job: Hyperparameters, data: Dataset) -> None:
    check_batch_size(job, len(data.y_train))
    if job.flip and data.image_shape is None:
        raise ConfigError(f"flip=true mirrors images, but the rows of {data.name} are no images")
    check_size(job, data.X_train.shape[1], len(data.classes))
