"""The type `Dataset`: training and validation data of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training and validation splits. Only `pipeline.data.load.load_test` reads the test split.

    A row of X holds one image as channel planes, each plane row by row, which is the order of
    CIFAR-10's binary files. `as_images` folds rows back into images.
    """

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (height, width, channels)
    digest: str  # of the raw training and validation rows, the classes and the preprocessing
    X_train: NDArray[np.floating]  # (N, D), C-contiguous
    y_train: NDArray[np.int64]  # (N,), indices into `classes`
    X_val: NDArray[np.floating]
    y_val: NDArray[np.int64]


def as_images(rows: NDArray[Any], image_shape: tuple[int, int, int]) -> NDArray[Any]:
    """Fold rows of X (n, D), or of a model's W1.T, into images (n, height, width, channels)."""
    height, width, channels = image_shape
    return rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
