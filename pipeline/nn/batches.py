"""The mini-batches of an epoch, shared by all models of a population."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.model import Array, Labels


def mini_batches(
    data: Dataset, job: Hyperparameters, epoch: int, skip: int = 0
) -> Iterator[tuple[Array, Labels]]:
    """Iterate over the training images in the random order of (seed, epoch).

    With `job.flip`, each image is mirrored left to right with probability 0.5. Then each image is
    shifted by at most `job.shift` whole pixels in both directions. Pixels without a value are 0.

    Args:
        data: the images.
        job: its batch_size, seed, flip and shift determine the mini-batches.
        epoch: 1, 2, …
        skip: the number of mini-batches that were processed before an interruption.

    Yields:
        X (N, D) and y (N,). The last mini-batch may be smaller. The next one overwrites X.
    """
    rng = np.random.default_rng([job.seed, epoch])
    order = rng.permutation(len(data.y_train))
    mirrored = rng.random(len(order)) < 0.5 if job.flip else None
    limits = (-job.shift, job.shift + 1)
    shifts = rng.integers(*limits, (len(order), 2)) if job.shift else None
    buffer = np.empty((job.batch_size, data.X_train.shape[1]), data.X_train.dtype)
    for start in range(skip * job.batch_size, len(order), job.batch_size):
        rows = order[start : start + job.batch_size]
        X = buffer[: len(rows)]
        np.take(data.X_train, rows, axis=0, out=X, mode="clip")  # "raise" would copy `out`
        if mirrored is not None and data.image_shape is not None:
            _mirror(X, mirrored[start : start + len(rows)], data.image_shape)
        if shifts is not None and data.image_shape is not None:
            _shift(X, shifts[start : start + len(rows)], job.shift, data.image_shape)
        yield X, data.y_train[rows]


def _mirror(X: Array, which: NDArray[np.bool_], image_shape: tuple[int, int, int]) -> None:
    """Mirror the selected rows of X left to right, in place."""
    height, width, channels = image_shape
    planes = X.reshape(-1, channels, height, width)
    planes[which] = planes[which, ..., ::-1]


def _shift(
    X: Array, shifts: NDArray[np.int64], limit: int, image_shape: tuple[int, int, int]
) -> None:
    """Shift the rows of X by (down, right) pixels, in place.

    Args:
        X: images (N, D).
        shifts: (N, 2), from −limit to limit.
        limit: the largest shift.
        image_shape: height, width and channels.
    """
    height, width, channels = image_shape
    planes = X.reshape(-1, channels, height, width)
    margins = ((0, 0), (0, 0), (limit, limit), (limit, limit))
    windows = sliding_window_view(np.pad(planes, margins), (height, width), axis=(2, 3))
    down, right = (limit - shifts).T
    planes[:] = windows[np.arange(len(X)), :, down, right]
