"""From raw pixels to the rows of X: x / largest − mean, with the mean of the training split."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.data.raw import Kind, RawDataset, Split

# This text enters the digest of every dataset: a new text would invalidate all saved results.
PREPROCESSING = "divided by the largest pixel value, minus the training mean of each feature"


def training_mean(train: Split, largest: int) -> NDArray[np.float64]:
    """Return the mean of each feature over the training rows, scaled to 0…1, (D,)."""
    # float64 represents the sum of the integers exactly: the mean is the same on every machine.
    mean: NDArray[np.float64] = train.pixels.mean(axis=0, dtype=np.float64)
    return mean / largest


def preprocess(
    split: Split, largest: int, mean: NDArray[np.float64], dtype: str
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Return X (N, D) of the given dtype and y (N,)."""
    X: NDArray[np.floating] = split.pixels.astype(dtype, order="C")
    X /= largest
    X -= mean.astype(dtype)
    return X, split.labels.astype(np.int64)


def digest(kind: Kind, raw: RawDataset) -> str:
    """Return a hexadecimal digest of the raw splits, the classes and the preprocessing."""
    splits = (raw.train, raw.val)
    shapes = [split.pixels.shape for split in splits]
    text = repr((PREPROCESSING, ",".join(kind.classes), kind.image_shape, kind.largest, shapes))
    sha256 = hashlib.sha256(text.encode())
    for split in splits:
        sha256.update(np.ascontiguousarray(split.pixels).data)
        sha256.update(np.ascontiguousarray(split.labels).data)
    return sha256.hexdigest()[:32]  # MLflow stores at most 36 characters
