"""The training loop of a population: models that share every mini-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.nn.batches import mini_batches
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.stack import Stack
from pipeline.nn.workspace import Workspace, group_into_stacks


def train(
    population: Sequence[Hyperparameters],
    data: Dataset,
    saved: Sequence[Checkpoint] = (),
    stopped: Callable[[], bool] = lambda: False,
    due: Callable[[], bool] = lambda: False,
    until: int | None = None,
) -> Iterator[EpochEnd | Snapshot]:
    """Train models that share data, dtype and `batches`, and therefore every mini-batch.

    The metrics and weights of a model are bitwise the same in any population and after any number
    of interruptions, if BLAS uses one thread: NumPy calls BLAS once per model. A model that has
    finished or diverged takes no further computing time.

    Args:
        population: the hyperparameters of each model. The batch size is at most the number of
            training images.
        data: images in the dtype of the models.
        saved: the checkpoint of each model, all with equal progress. Empty: train from the start.
        stopped: called before each step. If it returns true, training stops before the step.
        due: called before each step. If it returns true, all models yield a snapshot.
        until: the epoch after which training pauses. None: train to the end.

    Yields:
        One `EpochEnd` per model and epoch, in the order of the epochs. One `Snapshot` per model
        that still trains whenever `due` returns true, and when training stops or pauses.
    """
    work = Workspace(population, data)
    stacks = [
        Stack(population, members, data, saved) for members in group_into_stacks(population, data)
    ]
    epoch, step = saved[0].progress if saved else (0, 0)
    while stacks and (until is None or epoch < until):
        epoch += 1
        for X, y in mini_batches(data, population[0], epoch, step, work.X):
            if (stop := stopped()) or due():
                for stack in stacks:
                    yield from stack.snapshots(step)
                if stop:
                    return
            step += 1
            for stack in stacks:
                stack.step(X, y, work, epoch, step)
        step = 0
        for stack in stacks:
            yield from stack.end_epoch(epoch, data, work)
        stacks = [stack for stack in stacks if stack.members]
    for stack in stacks:
        yield from stack.snapshots(step)
