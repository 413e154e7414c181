"""Reuse of results: jobs that an earlier run has finished are not trained again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.config import Halving
from pipeline.data.dataset import Dataset
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.job import JobRun
from pipeline.execution.spec import RunContext
from pipeline.outcomes import Outcome
from pipeline.selection import SelectionKey, selection_key
from pipeline.tracking import queries
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.store import Store

REUSABLE = (Outcome.FINISHED, Outcome.HALTED, Outcome.DIVERGED)

log = logging.getLogger("pipeline")


def find_unfinished(
    runs: Sequence[JobRun],
    data: Dataset,
    context: RunContext,
    checkpoints: Checkpoints,
    halving: Halving | None,
    *,
    reuse: bool,
) -> list[JobRun]:
    """Reuse the results of finished runs, and prepare the other jobs for training.

    Args:
        runs: jobs on this dataset.
        data: the dataset.
        context: where runs are looked up.
        checkpoints: the checkpoints of the other jobs.
        halving: if set, reused jobs get their history, because they are candidates at each rung.
        reuse: whether to look for finished runs at all.

    Returns:
        The jobs that must be trained.
    """
    found = _cached_runs(context, data) if reuse else {}
    if found:
        context.store.flush_to_disk()  # the checkpoints of finished runs are deleted below
    unfinished: list[JobRun] = []
    reused: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for run in runs:
        name = fingerprint(run.hyperparameters, data.digest)
        cached = found.get(name, [])
        complete = [one for one in cached if one.outcome != Outcome.HALTED]
        if halving and cached:
            run.best.load_history(_keys_of(context.store, (complete or cached)[-1]))
        if complete:
            # Equal jobs reuse different runs while there are several, and then share the last one.
            finished = complete[-1]
            if len(complete) > 1:
                cached.remove(finished)
            run.reuse(finished)
            checkpoints.delete(name)  # left by a process that was killed after it had logged
            reused[run.spec.number] = finished.run_id
        else:
            run.cached_halted_run = cached.pop() if halving and cached else None
            seen[name] += 1
            suffix = f"-{seen[name]}" if seen[name] > 1 else ""  # equal jobs of one sweep
            run.prepare(data, checkpoints, name + suffix)
            unfinished.append(run)
    if reused and context.sweep is not None:
        context.store.link_reused_runs(context.sweep, reused)
    if len(runs) > 1:
        _log_counts(len(runs), len(reused), unfinished, checkpoints)
    return unfinished


def _cached_runs(context: RunContext, data: Dataset) -> dict[str, list[FinishedRun]]:
    """The finished runs on a dataset, by fingerprint; the latest is the last."""
    found = queries.finished_runs(context.store, context.experiment_id, data.digest)
    return {name: [run for run in runs if run.outcome in REUSABLE] for name, runs in found.items()}


def _log_counts(
    jobs: int, reused: int, unfinished: Sequence[JobRun], checkpoints: Checkpoints
) -> None:
    done = f"{reused} of {jobs} already finished, " if reused else ""
    resumed = sum(checkpoints.path(run.checkpoint_name).exists() for run in unfinished)
    more = f", {resumed} of them from their checkpoints" if resumed else ""
    log.info("%straining %d jobs together%s", done, len(unfinished), more)


def _keys_of(store: Store, run: FinishedRun) -> Iterator[SelectionKey]:
    """The selection key of each epoch of a run. Epochs that are not finite were not logged."""
    for _, row in queries.curves(store, run.run_id, ("val_acc", "val_loss")).iterrows():
        yield selection_key(row["val_acc"], row["val_loss"])
