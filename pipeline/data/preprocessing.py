"""Scaling of raw rows, fitted on the training split, and the digest of a dataset."""

from __future__ import annotations

import hashlib

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.data.dataset import Scaler
from pipeline.data.raw import RawDataset, Rows
from pipeline.errors import DataError

# These texts enter the digests: a new text would invalidate all saved results.
SCALINGS = {
    "pixels": "divided by the largest pixel value, minus the training mean of each feature",
    "standard": "minus the training mean, divided by the training standard deviation",
    "none": "unscaled",
}


def fit_scaler(raw: RawDataset) -> Scaler:
    """Compute the statistics of the training split that its scaling needs.

    Sums are computed in float64, where the sum of whole-numbered pixels is exact, so their mean is
    the same on every machine. A feature that is constant in the training split gets the scale 1.
    """
    D = raw.train.rows.num_features
    mean, scale = np.zeros(D), np.ones(D)
    with np.errstate(all="ignore"):  # `scaled` refuses values that are not finite
        if raw.scaling != "none":
            for piece in raw.train.rows.pieces():
                mean += piece.sum(axis=0, dtype=np.float64)
            mean /= len(raw.train.rows)
        if raw.scaling == "pixels":
            return Scaler("pixels", mean / raw.largest, scale, raw.largest)
        if raw.scaling == "standard":
            variance = np.zeros(D)
            for piece in raw.train.rows.pieces():
                variance += ((piece - mean) ** 2).sum(axis=0)
            deviation = np.sqrt(variance / len(raw.train.rows))
            scale = np.where(deviation > 0, deviation, 1.0)
    return Scaler(raw.scaling, mean, scale)


def scaled(
    rows: Rows, scaler: Scaler, dtype: str, features: tuple[str, ...] = ()
) -> NDArray[np.floating]:
    """Return X (N, D) of the rows of one split.

    Raises:
        DataError: a value is not finite, or X is larger than the memory.
    """
    shape = (len(rows), rows.num_features)
    need, total = int(np.prod(shape)) * np.dtype(dtype).itemsize, psutil.virtual_memory().total
    if need > total:
        raise DataError(
            f"X of shape {shape} needs {need / 1e9:.3g} GB as {dtype}, and this machine has "
            f"{total / 1e9:.3g} GB: use fewer rows or features"
        )
    X = np.empty(shape, dtype)
    start = 0
    for piece in rows.pieces():
        with np.errstate(all="ignore"):
            part = X[start : start + len(piece)] = scaler.apply(piece, dtype)
        if not np.isfinite(part).all():
            row, column = (int(axis[0]) for axis in np.nonzero(~np.isfinite(part)))
            name = f"column {features[column]!r}" if features else f"feature {column}"
            raise _not_finite(rows.position(start + row), name, piece[row, column], dtype)
        start += len(piece)
    return X


def _not_finite(row: int, name: str, value: object, dtype: str) -> DataError:
    return DataError(
        f"the value in row {row}, {name}, is {value}, which is not a finite {dtype}: remove or "
        "impute such values (rows and features are counted from 0)"
    )


def digest(raw: RawDataset) -> str:
    """Return a hexadecimal digest of the raw splits, the classes and the preprocessing.

    The digest is part of the fingerprint of each finished run.
    """
    splits = (raw.train, raw.val)
    shapes = [(len(split.rows), split.rows.num_features) for split in splits]
    classes = ",".join(name.replace(",", "\\,") for name in raw.classes)
    facts: tuple[object, ...] = SCALINGS[raw.scaling], classes, raw.image_shape, raw.largest, shapes
    if raw.train.rows.dtype != np.uint8 or raw.image_shape is None:
        facts += (raw.features, [split.rows.dtype.str for split in splits])
    sha256 = hashlib.sha256(repr(facts).encode())
    for split in splits:
        for piece in split.rows.pieces():
            sha256.update(np.ascontiguousarray(piece).data)
        sha256.update(np.ascontiguousarray(split.labels).data)
    return sha256.hexdigest()[:32]  # MLflow stores at most 36 characters
