"""The training loop of a population: models that share every mini-batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.batches import mini_batches
from pipeline.nn.history import Checkpoint, EpochEnd, Snapshot
from pipeline.nn.memory import Workspace
from pipeline.nn.population import group_into_stacks
from pipeline.nn.stack import Stack
from pipeline.nn.team import Task, Team


def train(
    population: Sequence[Hyperparameters],
    data: Dataset,
    saved: Sequence[Checkpoint] = (),
    stopped: Callable[[], bool] = lambda: False,
    due: Callable[[], bool] = lambda: False,
    until: int | None = None,
    threads: int = 1,
) -> Iterator[EpochEnd | Snapshot]:
    """Train models that share data, dtype and `batches`, and therefore every mini-batch.

    The metrics and weights of a model are bitwise the same in any population, with any number of
    threads and after any number of interruptions, if BLAS uses one thread: NumPy calls BLAS once
    per model and tile. A model that has finished or diverged takes no further computing time.

    Args:
        population: the hyperparameters of each model. The batch size is at most the number of
            training images.
        data: images in the dtype of the models.
        saved: the checkpoint of each model, all with equal progress. Empty: train from the start.
        stopped: called before each step. If it returns true, training stops before the step.
        due: called before each step. If it returns true, all models yield a snapshot.
        until: the epoch after which training pauses. None: train to the end.
        threads: how many threads share the work of each step.

    Yields:
        One `EpochEnd` per model and epoch, in the order of the epochs. One `Snapshot` per model
        that still trains whenever `due` returns true, and when training stops or pauses.
    """
    stacks = _create_stacks(population, data, saved, threads)
    epoch, step = saved[0].progress if saved else (0, 0)
    with Team(threads, data.X_train.dtype) as team:
        while stacks and (until is None or epoch < until):
            epoch += 1
            tasks = step_tasks(stacks, team)
            for batch in mini_batches(data, population[0], epoch, step):
                if (stop := stopped()) or due():
                    for stack in stacks:
                        yield from stack.snapshots(step)
                    if stop:
                        return
                step += 1
                for stack in stacks:
                    stack.begin_step(batch, epoch, step)
                team.run(tasks)
            step = 0
            team.run([task for stack in stacks for task in stack.evaluation_tasks()])
            for stack in stacks:
                yield from stack.end_epoch()
            stacks = [stack for stack in stacks if stack.members]
    for stack in stacks:
        yield from stack.snapshots(step)


def steps(population: Sequence[Hyperparameters], data: Dataset, threads: int = 1) -> Iterator[None]:
    """Train without end and without evaluation, and yield after each step.

    For measurements of the time of a step. The arguments have the same meaning as in `train`.
    """
    stacks = _create_stacks(population, data, (), threads)
    with Team(threads, data.X_train.dtype) as team:
        tasks = step_tasks(stacks, team)
        for epoch in itertools.count(1):
            for step, batch in enumerate(mini_batches(data, population[0], epoch), 1):
                for stack in stacks:
                    stack.begin_step(batch, epoch, step)
                team.run(tasks)
                yield


def _create_stacks(
    population: Sequence[Hyperparameters],
    data: Dataset,
    saved: Sequence[Checkpoint],
    threads: int,
) -> list[Stack]:
    groups = group_into_stacks(population, data, threads)
    return [Stack(population, members, data, saved) for members in groups]


def step_tasks(stacks: Sequence[Stack], team: Team) -> list[Task]:
    """Order the tasks of a step so that all threads of a team end at about the same time.

    One thread completes a stack before the next one, so that its arrays stay in the cache and all
    stacks use the same buffers. Several threads complete all forward passes first. If there are
    few tiles, the backward pass of each is divided, so that there are two tasks for each thread.
    """
    if team.size == 1:
        memory = Workspace(team.dtype)
        passes = [stack.tasks(memory, parts=1) for stack in stacks]
        return [task for forward, backward in passes for task in (*forward, *backward)]
    num_tiles = sum(len(stack.network.tiles) for stack in stacks)
    parts = -(-2 * team.size // num_tiles)
    passes = [stack.tasks(Workspace(team.dtype), parts) for stack in stacks]
    forward, backward = zip(*passes, strict=True)
    return [*itertools.chain(*forward), *itertools.chain(*backward)]
