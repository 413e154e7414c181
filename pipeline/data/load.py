"""Load a dataset: read its files, split them, scale the rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset, Scaler
from pipeline.data.kinds import read_raw
from pipeline.data.preprocessing import digest, digest_of_test, fit_scaler, scaled


def load(config: DataConfig, dtype: str) -> Dataset:
    """Load the training and validation splits. Test rows are hashed, and not scaled or returned.

    Raises:
        DataError: the dataset is unknown, missing, unreadable, damaged or unsuitable.
    """
    raw = read_raw(config)
    fingerprint, scaler = digest(raw), fit_scaler(raw)
    X_train = scaled(raw.train.rows, scaler, dtype, raw.features)
    y_train = raw.train.labels.astype(np.int64)
    test_digest = digest_of_test(raw)
    raw = replace(raw, train=raw.val)  # frees the raw training rows before X_val is allocated
    return Dataset(
        name=config.name,
        classes=raw.classes,
        image_shape=raw.image_shape,
        digest=fingerprint,
        X_train=X_train,
        y_train=y_train,
        X_val=scaled(raw.val.rows, scaler, dtype, raw.features),
        y_val=raw.val.labels.astype(np.int64),
        scaler=scaler,
        features=raw.features,
        encoder=raw.encoder,
        choices=raw.choices,
        test_digest=test_digest,
    )


def load_test(
    config: DataConfig, dtype: str, scaler: Scaler | None = None
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Load the test split, scaled like the training split.

    Args:
        config: the dataset.
        dtype: of X.
        scaler: of the loaded training split; None: it is fitted again.

    Returns:
        X (N, D) and y (N,).

    Raises:
        DataError: the dataset is unknown, missing, unreadable, damaged or unsuitable.
    """
    raw = read_raw(config)
    test, features = raw.read_test(), raw.features
    if scaler is None:
        scaler = fit_scaler(raw)
    del raw  # frees the training rows before X is allocated
    return scaled(test.rows, scaler, dtype, features), test.labels.astype(np.int64)
