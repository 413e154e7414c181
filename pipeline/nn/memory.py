"""Working memory of the training loop: allocated once, used again in every step."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from pipeline.nn.model import Array


class Buffer:
    """A block of memory that holds one set of arrays at a time."""

    def __init__(self, dtype: DTypeLike) -> None:
        """Create an empty buffer. It grows on demand."""
        self._memory: Array = np.empty(0, dtype)
        self._views: dict[tuple[tuple[int, ...], ...], tuple[Array, ...]] = {}

    def arrays(self, *shapes: tuple[int, ...]) -> tuple[Array, ...]:
        """Return contiguous arrays of these shapes with undefined content.

        They occupy the memory of all arrays that earlier calls returned.
        """
        if shapes not in self._views:
            sizes = [math.prod(shape) for shape in shapes]
            if sum(sizes) > self._memory.size:
                self._memory = np.empty(sum(sizes), self._memory.dtype)
                self._views.clear()
            ends = np.cumsum(sizes)
            parts = np.split(self._memory[: ends[-1]], ends[:-1])
            views = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
            self._views[shapes] = tuple(views)
        return self._views[shapes]

    def array(self, *shape: int) -> Array:
        """Return one array, as `arrays` does."""
        return self.arrays(shape)[0]


class Workspace:
    """The buffers of one thread or one stack."""

    def __init__(self, dtype: DTypeLike) -> None:
        """Create empty buffers."""
        self.hidden = Buffer(dtype)  # (K, N, H): hidden units or their gradients
        self.scores = Buffer(dtype)  # (K, C, N): scores or their gradients
        self.grad = Buffer(dtype)  # gradients of W1 or W2
