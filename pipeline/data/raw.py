"""Raw datasets: rows and labels as they are stored in the files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """The rows and labels of one split."""

    pixels: NDArray[np.uint8]  # (N, D)
    labels: NDArray[np.uint8]  # (N,)

    def select(self, mask: NDArray[np.bool_]) -> Split:
        """Return the rows for which the mask (N,) is true."""
        return Split(self.pixels[mask], self.labels[mask])


@dataclass(frozen=True, eq=False)
class RawDataset:
    """The splits of a dataset before preprocessing."""

    train: Split
    val: Split


@dataclass(frozen=True)
class Kind:
    """One kind of dataset. Each module in `pipeline.data.kinds` defines one, named `KIND`."""

    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (height, width, channels)
    largest: int  # the value of the brightest pixel
    read: Callable[..., RawDataset]  # takes a DataConfig; opens no test file
    read_test: Callable[..., Split]  # takes a DataConfig
