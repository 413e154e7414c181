"""Raw datasets: rows and labels as they are stored, divided into splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.dataset import Encoder, ImageShape
from pipeline.errors import DataError

PIECE_BYTES = 1 << 25  # of rows that are processed at once


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of raw features, which may lie in a file that is larger than the memory."""

    open: Callable[[], NDArray[Any]]  # returns all items (M, …); called once for each piece
    shape: tuple[int, ...]  # (M, …) of that array
    dtype: np.dtype[Any]
    index: NDArray[np.int64] | None = None  # (N,) which of the items, in ascending order; None: all
    channels_last: bool = False  # items are images (height, width, channels)

    @staticmethod
    def of(array: NDArray[Any], *, channels_last: bool = False) -> Rows:
        """Return the rows of an array in memory, (M, D) or images (M, height, width, channels)."""
        return Rows(lambda: array, array.shape, array.dtype, channels_last=channels_last)

    def __len__(self) -> int:
        return self.shape[0] if self.index is None else len(self.index)

    @property
    def num_features(self) -> int:
        """D: an item of any shape becomes one row."""
        return int(np.prod(self.shape[1:]))

    def select(self, index: NDArray[np.int64]) -> Rows:
        """Return the rows with these positions (n,), which ascend."""
        return replace(self, index=index if self.index is None else self.index[index])

    def position(self, row: int) -> int:
        """Return the position of a row among all items of the file."""
        return row if self.index is None else int(self.index[row])

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Yield the rows in order, in arrays (n, D) of at most `PIECE_BYTES`.

        The array is opened again for each piece, so that the pages of a mapped file are released.
        """
        step = max(1, PIECE_BYTES // max(1, self.num_features * self.dtype.itemsize))
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            items = self.open()[
                slice(start, stop) if self.index is None else self.index[start:stop]
            ]
            if self.channels_last:  # a row holds one channel after the other
                items = items.transpose(0, 3, 1, 2)
            yield items.reshape(len(items), -1)


class Split(NamedTuple):
    """The rows and labels of one split."""

    rows: Rows
    labels: NDArray[Any]  # (N,) indices into the classes

    def select(self, mask: NDArray[np.bool_]) -> Split:
        """Return the rows for which the mask (N,) is true."""
        return Split(self.rows.select(np.flatnonzero(mask)), self.labels[mask])


def no_test_split() -> Split:
    """Refuse to test on a dataset without a test split."""
    raise DataError("the dataset has no test split: set data.test_fraction above 0")


@dataclass(frozen=True, eq=False)
class RawDataset:
    """The splits of a dataset before scaling."""

    classes: tuple[str, ...]
    train: Split
    val: Split
    read_test: Callable[[], Split] = no_test_split
    scaling: str = "pixels"  # pixels, standard or none
    image_shape: ImageShape | None = None  # None: the rows are no images
    largest: int = 255  # the value of the brightest pixel
    features: tuple[str, ...] = ()  # names of the columns of X; (): they have none
    encoder: Encoder | None = None  # from the columns of a table to rows
    choices: Mapping[str, str] = field(default_factory=dict)  # parameters of the run
    whiten: float | None = None  # ε of `pipeline.data.whitening`; None: no whitening
