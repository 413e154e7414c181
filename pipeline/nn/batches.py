"""The mini-batches of an epoch, shared by all models of a population."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.model import Array, Labels, Mixture


class MiniBatch(NamedTuple):
    """The examples of a step."""

    X: Array  # (N, D)
    y: Labels  # (N,)
    mixture: Mixture | None = None  # the labels of mixup


def num_steps(data: Dataset, job: Hyperparameters) -> int:
    """The number of mini-batches of an epoch."""
    return -(-len(data.y_train) // job.batch_size)


def mini_batches(
    data: Dataset, job: Hyperparameters, epoch: int, skip: int = 0
) -> Iterator[MiniBatch]:
    """Iterate over the training images in the random order of (seed, epoch).

    With `job.flip`, each image is mirrored left to right with probability 0.5. Then each image is
    shifted by at most `job.shift` whole pixels in both directions. Pixels without a value are 0.
    With `job.mixup`, each image of a mini-batch then becomes ℓ times itself plus (1 − ℓ) times the
    image before it. ℓ is drawn from Beta(α, α) for each mini-batch; of ℓ and 1 − ℓ the larger is
    used, so that y is the class of the larger part.

    Args:
        data: the images.
        job: its batch_size, seed, flip, shift and mixup determine the mini-batches.
        epoch: 1, 2, …
        skip: the number of mini-batches that were processed before an interruption.

    Yields:
        The mini-batches. The last one may be smaller. The next one overwrites X.
    """
    rng = np.random.default_rng([job.seed, epoch])
    order = rng.permutation(len(data.y_train))
    mirrored = rng.random(len(order)) < 0.5 if job.flip else None
    limits = (-job.shift, job.shift + 1)
    shifts = rng.integers(*limits, (len(order), 2)) if job.shift else None
    shares = rng.beta(job.mixup, job.mixup, num_steps(data, job)) if job.mixup else None
    buffer = np.empty((job.batch_size, data.X_train.shape[1]), data.X_train.dtype)
    for step in range(skip, num_steps(data, job)):
        start = step * job.batch_size
        rows = order[start : start + job.batch_size]
        X = buffer[: len(rows)]
        np.take(data.X_train, rows, axis=0, out=X, mode="clip")  # "raise" would copy `out`
        if mirrored is not None and data.image_shape is not None:
            _mirror(X, mirrored[start : start + len(rows)], data.image_shape)
        if shifts is not None and data.image_shape is not None:
            _shift(X, shifts[start : start + len(rows)], job.shift, data.image_shape)
        y = data.y_train[rows]
        mixture = None
        if shares is not None:
            mixture = Mixture(np.roll(y, 1), max(float(shares[step]), 1 - float(shares[step])))
            _mix(X, mixture.share)
        yield MiniBatch(X, y, mixture)


def _mix(X: Array, share: float) -> None:
    """Mix each row of X with the row before it, in place (Zhang et al., 2018).

    The rows of a mini-batch are in random order, so their neighbours are random partners.
    """
    partners = np.roll(X, 1, axis=0)
    partners *= 1 - share
    X *= share
    X += partners


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
