"""Labels: whole numbers, truth values or text, and the classes they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

MAX_CLASSES = 1000


def check_labels(y: NDArray[Any], name: str) -> NDArray[Any]:
    """Return labels (N,) as whole numbers, truth values or text.

    Args:
        y: labels of any dtype; objects must be text.
        name: of the labels, for messages.

    Raises:
        DataError: a label is missing, or is not of these types.
    """
    if y.ndim != 1:
        raise DataError(f"{name} has shape {y.shape}, but needs one label per row: shape (N,)")
    if y.dtype.kind == "O":
        for row, label in enumerate(y):
            if not isinstance(label, str):
                raise DataError(
                    f"{name} contains {label!r} in row {row}, which is not text: fill in missing "
                    "labels or remove their rows, and convert y to one type"
                )
        return y.astype(str)
    if y.dtype.kind == "f":
        bad = np.flatnonzero(~(np.isfinite(y) & (y % 1 == 0)))
        if len(bad):
            raise DataError(
                f"{name} contains {y[bad[0]]} in row {bad[0]}: labels must be whole numbers or "
                "text, one for each class (this project does not train regression)"
            )
        return y.astype(np.int64)
    if y.dtype.kind not in "biuU":
        raise DataError(f"{name} has the type {y.dtype}: labels must be whole numbers or text")
    return y


def class_values(y: NDArray[Any], name: str) -> NDArray[Any]:
    """Return the distinct labels (C,) in ascending order.

    Raises:
        DataError: there is one class only, or so many that the target is probably numeric.
    """
    values = np.unique(y)
    if len(values) < 2:
        raise DataError(
            f"{name} contains one class only ({values[0]}): classification needs at least two"
        )
    if len(values) > MAX_CLASSES or 2 * len(values) > len(y):
        raise DataError(
            f"{name} has {len(values)} distinct values in {len(y)} rows, which looks like a "
            "regression target or an identifier: choose a column of classes, or put the values "
            f"into at most {min(MAX_CLASSES, len(y) // 2)} classes"
        )
    return values


def class_indices(y: NDArray[Any], values: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return the index of each label in the ascending class values (C,).

    Raises:
        DataError: a label is none of the values.
    """
    unknown = np.flatnonzero(~np.isin(y, values))
    if len(unknown):
        raise DataError(
            f"{name} contains the class {str(y[unknown[0]])!r} in row {unknown[0]}, which is not "
            "among the training labels: move such a row to the training split, or remove the class"
        )
    return np.searchsorted(values, y).astype(np.int64)


def check_all_classes(
    labels: NDArray[np.int64], classes: Sequence[str], split: str, remedy: str
) -> None:
    """Check that a split contains each class.

    Raises:
        DataError: a class is missing.
    """
    missing = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(missing):
        names = ", ".join(repr(classes[i]) for i in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(f"the {split} split has no row of class {names}{more}: {remedy}")
