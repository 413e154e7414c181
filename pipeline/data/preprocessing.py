"""Scaling of raw rows, fitted on the training split, and the digest of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.data.dataset import Scaler
from pipeline.data.raw import RawDataset, Rows, Split
from pipeline.data.whitening import describe, fit_whitening
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

    Raises:
        DataError: a value is not finite, or whitening needs more than the memory.
    """
    scaler = _fit_scale(raw)
    if raw.whiten is None:
        return scaler
    rows = raw.train.rows
    pieces = (scaler.apply(piece, "float64") for _, piece in _finite_pieces(rows, raw.features))
    return replace(
        scaler, whitening=fit_whitening(pieces, rows.num_features, len(rows), raw.whiten)
    )


def _fit_scale(raw: RawDataset) -> Scaler:
    D = raw.train.rows.num_features
    mean, scale = np.zeros(D), np.ones(D)
    with np.errstate(all="ignore"):
        if raw.scaling != "none":
            for _, piece in _finite_pieces(raw.train.rows, raw.features):
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
    for start, piece in _finite_pieces(rows, features):
        with np.errstate(all="ignore"):
            part = X[start : start + len(piece)] = scaler.apply(piece, dtype)
        _check_finite(part, piece, rows, start, features)
    return X


def _finite_pieces(rows: Rows, features: tuple[str, ...]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the pieces of the rows with the number of the first row; refuse NaN and infinity."""
    start = 0
    for piece in rows.pieces():
        if piece.dtype.kind == "f":
            _check_finite(piece, piece, rows, start, features)
        yield start, piece
        start += len(piece)


def _check_finite(
    values: NDArray[Any], piece: NDArray[Any], rows: Rows, start: int, features: tuple[str, ...]
) -> None:
    """Check values (n, D) that were computed from a piece whose first row has the number `start`.

    Raises:
        DataError: a value is not finite; the message names the place of the first one.
    """
    if np.isfinite(values).all():
        return
    row, column = (int(axis[0]) for axis in np.nonzero(~np.isfinite(values)))
    name = f"column {features[column]!r}" if features else f"feature {column}"
    raise DataError(
        f"the value in row {rows.position(start + row)}, {name}, is {piece[row, column]}, which is "
        f"not a finite {values.dtype}: remove or impute such values (counted from 0)"
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
    if raw.whiten is not None:
        facts += (describe(raw.whiten),)
    return _hash(repr(facts), splits)


def digest_of_test(raw: RawDataset) -> str:
    """Return a hexadecimal digest of the raw test split; "" if there is none or it is unreadable.

    It shows whether the split has changed before a model is evaluated on it.
    """
    try:
        test = raw.read_test()
        return _hash(repr(test.rows.dtype.str), [test])
    except DataError:
        return ""


def _hash(text: str, splits: Sequence[Split]) -> str:
    sha256 = hashlib.sha256(text.encode())
    for split in splits:
        for piece in split.rows.pieces():
            sha256.update(np.ascontiguousarray(piece).data)
        sha256.update(np.ascontiguousarray(split.labels).data)
    return sha256.hexdigest()[:32]  # MLflow stores at most 36 characters
