"""Mini-batch SGD over a population of models that share every mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.model import Array, Labels
from pipeline.nn.stack import Stack, Workspace, stack_members


def train(
    population: Sequence[Hyperparameters],
    data: Dataset,
    saved: Sequence[Checkpoint] = (),
    stopped: Callable[[], bool] = lambda: False,
    due: Callable[[], bool] = lambda: False,
    until: int | None = None,
) -> Iterator[EpochEnd | Snapshot]:
    """Train models that share data, dtype and `batches`, and so every mini-batch.

    A model's numbers are bitwise the same in any population, and however often it was interrupted,
    as long as BLAS runs on one thread: NumPy calls it once per model. A model that has finished or
    diverged costs nothing more.

    Args:
        population: the models; their batch is at most the training set.
        data: X in the dtype of the models.
        saved: where each model goes on, all from the same progress; none: from the start.
        stopped: asked before each step; if it says so, training ends there.
        due: asked before each step; if it says so, all models are shown as they stand.
        until: the epoch after which training pauses; None: it does not.

    Yields:
        One `EpochEnd` per model and epoch, in the order of the epochs; and one `Snapshot` per model
        that trains whenever they are due, and when training stops or pauses.
    """
    work = Workspace(population, data)
    stacks = [
        Stack(population, members, data, saved) for members in stack_members(population, data)
    ]
    epoch, step = saved[0].progress if saved else (0, 0)
    while stacks and (until is None or epoch < until):
        epoch += 1
        for X, y in mini_batches(data, population[0], epoch, step, work):
            if (stop := stopped()) or due():
                for stack in stacks:
                    yield from stack.snapshots(step)
                if stop:
                    return
            for stack in stacks:
                stack.step(X, y, work, epoch, step + 1)
            step += 1
        step = 0
        for stack in stacks:
            yield from stack.end_epoch(epoch, data, work)
        stacks = [stack for stack in stacks if stack.members]
    for stack in stacks:
        yield from stack.snapshots(step)


def mini_batches(
    data: Dataset, job: Hyperparameters, epoch: int, done: int, work: Workspace
) -> Iterator[tuple[Array, Labels]]:
    """The training images in a fresh order, which depends on (seed, epoch), after `done` steps."""
    rng = np.random.default_rng([job.seed, epoch])
    order = rng.permutation(len(data.y_train))
    mirrored = rng.random(len(order)) < 0.5 if job.flip else None
    for start in range(done * job.batch_size, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        X = work.X[: len(rows)]
        np.take(data.X_train, rows, axis=0, out=X, mode="clip")  # "raise" would buffer `out`
        if mirrored is not None:
            _mirror(X, mirrored[start : start + len(rows)], data.image_shape)
        yield X, data.y_train[rows]


def _mirror(X: Array, which: NDArray[np.bool_], image_shape: tuple[int, int, int]) -> None:
    """Swap left and right of some rows of X, in place."""
    height, width, channels = image_shape
    planes = X.reshape(-1, channels, height, width)
    planes[which] = planes[which, ..., ::-1]
