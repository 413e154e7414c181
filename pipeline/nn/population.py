"""How a population is divided: into stacks of models, and wide models into tiles of columns."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters

# The version of the trainer's numbers. Raise both numbers with any change in this package that
# alters a metric or a weight by a single bit: finished runs and checkpoints are reused by it.
# Models wider than a tile have their own version, because tiles were introduced after version 2.
VERSION, WIDE_VERSION = 2, 3

# A model of more hidden units than this is computed in tiles of columns of W1. The number is part
# of the definition of the trainer: another number changes the last bits of wide models.
TILE_WIDTH = 512

# The working arrays of a stack should fit one core's share of the cache.
STACK_BYTES = 1 << 23


def trainer_version(hidden_size: int) -> int:
    """Return the version of the numbers of a model, which is part of its fingerprint."""
    return VERSION if hidden_size <= TILE_WIDTH else WIDE_VERSION


def tile_columns(hidden_size: int) -> list[slice]:
    """Divide the hidden units of a model into the fewest tiles of nearly equal width."""
    count = -(-hidden_size // TILE_WIDTH)
    ends = [hidden_size * i // count for i in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def group_into_stacks(
    population: Sequence[Hyperparameters], data: Dataset, threads: int = 1
) -> list[list[int]]:
    """Group the models that take the same kind of step, in stacks of at most `STACK_BYTES`.

    Stacks are the units of work of threads. With several threads each model is a stack of its own.

    Returns:
        For each stack, the indices of its models in the population.
    """
    if threads > 1:
        widest_first = sorted(enumerate(population), key=lambda pair: -pair[1].hidden_size)
        return [[i] for i, _ in widest_first]
    kinds = defaultdict(list)
    for i, job in enumerate(population):
        kinds[job.kind].append(i)
    stacks: list[list[int]] = []
    D = data.X_train.shape[1]
    for kind, members in sorted(kinds.items()):
        hidden_size = kind[0]
        model_bytes = hidden_size * (D + 2 * population[0].batch_size) * data.X_train.itemsize
        size = max(1, STACK_BYTES // model_bytes)
        stacks += [members[i : i + size] for i in range(0, len(members), size)]
    return stacks
