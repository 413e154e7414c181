"""How a population is divided into stacks, and the buffers that all its stacks share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.config import Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.nn.model import Array

# The working arrays of a stack should fit one core's share of the cache.
STACK_BYTES = 1 << 23


def group_into_stacks(population: Sequence[Hyperparameters], data: Dataset) -> list[list[int]]:
    """Group the models that take the same kind of step, in stacks of at most `STACK_BYTES`.

    Returns:
        For each stack, the indices of its models in the population.
    """
    kinds = defaultdict(list)
    for i, job in enumerate(population):
        kinds[job.hidden_size, job.momentum > 0, job.dropout > 0].append(i)
    stacks: list[list[int]] = []
    D = data.X_train.shape[1]
    for kind, members in sorted(kinds.items()):
        hidden_size = kind[0]
        model_bytes = hidden_size * (D + 2 * population[0].batch_size) * data.X_train.itemsize
        size = max(1, STACK_BYTES // model_bytes)
        stacks += [members[i : i + size] for i in range(0, len(members), size)]
    return stacks


class Buffers(NamedTuple):
    """The intermediate arrays of one step of a stack."""

    H: Array  # (K, N, H)
    dH0: Array  # (K, N, H)
    S: Array  # (K, N, C)
    dW1: Array  # (D, H), used by one model after another
    dW2: Array  # (K, H, C), in the memory of dW1, which is free by then


class Workspace:
    """Memory for the mini-batch and the intermediate arrays of a step."""

    def __init__(self, population: Sequence[Hyperparameters], data: Dataset) -> None:
        """Allocate for the largest stack of a population."""
        D, C = data.X_train.shape[1], len(data.classes)
        batch_size = population[0].batch_size
        stacks = group_into_stacks(population, data)
        most_units = max(len(members) * population[members[0]].hidden_size for members in stacks)
        widest = max(job.hidden_size for job in population)
        dtype = data.X_train.dtype
        self.X = np.empty((batch_size, D), dtype)
        self._hidden = np.empty(most_units * batch_size, dtype)
        self._d_hidden = np.empty(most_units * batch_size, dtype)
        self._scores = np.empty(max(map(len, stacks)) * batch_size * C, dtype)
        self._grad = np.empty(max(widest * D, most_units * C), dtype)
        self._views: dict[tuple[int, ...], Buffers] = {}

    def buffers(self, K: int, N: int, H: int, C: int) -> Buffers:
        """Return the buffers in the shapes of a stack. All stacks use the same memory."""
        if (K, N, H, C) not in self._views:
            D = self.X.shape[1]
            self._views[K, N, H, C] = Buffers(
                H=self._hidden[: K * N * H].reshape(K, N, H),
                dH0=self._d_hidden[: K * N * H].reshape(K, N, H),
                # The images are adjacent in memory, which makes reductions over classes fast.
                S=self._scores[: K * N * C].reshape(K, C, N).swapaxes(1, 2),
                dW1=self._grad[: D * H].reshape(D, H),
                dW2=self._grad[: K * H * C].reshape(K, H, C),
            )
        return self._views[K, N, H, C]
