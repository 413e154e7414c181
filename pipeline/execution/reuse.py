"""Which jobs of a sweep have a finished run already, and which are to be trained."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.config import Halving
from pipeline.data.dataset import Dataset
from pipeline.execution.checkpoints import Checkpoints
from pipeline.execution.fingerprint import fingerprint
from pipeline.execution.job import JobRun, RunContext
from pipeline.selection import SelectionKey, selection_key
from pipeline.tracking.store import Finished, Store

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
    """Let finished runs stand for jobs; prepare the others for training, and return them."""
    found = context.store.finished_runs(context.experiment_id, data.digest) if reuse else {}
    if found:
        context.store.sync()  # for their checkpoints go
    left: list[JobRun] = []
    reused: dict[int, str] = {}
    seen: Counter[str] = Counter()
    for run in runs:
        name = fingerprint(run.hyperparameters, data.digest)
        ended = found.get(name, [])
        whole = [one for one in ended if one.outcome != "halted"]
        if halving and ended:
            run.recall(_selection_keys_of(context.store, (whole or ended)[-1]))
        if whole:
            # Each its own as long as there are several; the last stands for all that follow.
            finished = whole[-1]
            if len(whole) > 1:
                ended.remove(finished)
            run.reuse(finished)
            checkpoints.forget(name)  # of a process that was killed before it could
            reused[run.spec.number] = finished.run_id
        else:
            run.spare = ended.pop() if halving and ended else None
            seen[name] += 1  # a sweep may hold a job twice
            twin = f"-{seen[name]}" if seen[name] > 1 else ""
            run.prepare(data, checkpoints, name + twin)
            left.append(run)
    if reused and context.sweep is not None:
        context.store.link_reused_runs(context.sweep, reused)
    if len(runs) > 1:
        done = f"{len(reused)} of {len(runs)} already finished, " if reused else ""
        resumed = sum(checkpoints.path(run.name).exists() for run in left)
        more = f", {resumed} of them from their checkpoints" if resumed else ""
        log.info("%straining %d jobs together%s", done, len(left), more)
    return left


def _selection_keys_of(store: Store, run: Finished) -> Iterator[SelectionKey]:
    """The selection_key of each epoch of a run, which has logged those with finite metrics."""
    for _, row in store.curves(run.run_id, ("val_acc", "val_loss")).iterrows():
        yield selection_key(row["val_acc"], row["val_loss"])
