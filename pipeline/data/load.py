"""Load a dataset: read its files, split, preprocess."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.kinds import find_kind
from pipeline.data.preprocessing import digest, preprocess, training_mean


def load(config: DataConfig, dtype: str) -> Dataset:
    """Load the training and validation splits. No test row is read.

    Raises:
        DataError: the dataset is unknown, missing, unreadable or damaged.
    """
    kind = find_kind(config.name)
    raw = kind.read(config)
    fingerprint, mean = digest(kind, raw), training_mean(raw.train, kind.largest)
    X_train, y_train = preprocess(raw.train, kind.largest, mean, dtype)
    val = raw.val
    del raw  # frees the raw training rows before X_val is allocated
    X_val, y_val = preprocess(val, kind.largest, mean, dtype)
    return Dataset(
        name=config.name,
        classes=kind.classes,
        image_shape=kind.image_shape,
        digest=fingerprint,
        X_train=X_train,
        y_train=y_train,
        X_val=X_val,
        y_val=y_val,
    )


def load_test(config: DataConfig, dtype: str) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Load the test split, preprocessed with the mean of the training split.

    Returns:
        X (N, D) and y (N,).

    Raises:
        DataError: the dataset is unknown, missing, unreadable or damaged.
    """
    kind = find_kind(config.name)
    mean = training_mean(kind.read(config).train, kind.largest)
    return preprocess(kind.read_test(config), kind.largest, mean, dtype)
