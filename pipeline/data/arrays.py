"""Own data: arrays of rows and labels become splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.dataset import ImageShape
from pipeline.data.labels import check_all_classes, check_labels, class_indices, class_values
from pipeline.data.raw import RawDataset, Rows, Split, no_test_split
from pipeline.data.splits import grouped, stratified
from pipeline.errors import DataError

TRAIN, VAL, TEST = 0, 1, 2


class Labelled(NamedTuple):
    """Rows and their labels, as a file contains them."""

    X: Rows
    y: NDArray[Any]  # (N,)
    names: tuple[str, str] = ("X", "y")  # for messages


class Target(NamedTuple):
    """Labels, and the classes they name."""

    values: NDArray[Any]  # (C,) the distinct labels, in ascending order
    labels: NDArray[np.int64]  # (N,) indices into `values`

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(str(value) for value in self.values)


@dataclass(frozen=True, eq=False)
class Arrays:
    """Labelled rows, and the splits that their source defines."""

    data: Labelled
    val: Labelled | None = None  # None: split off from `data`
    read_test: Callable[[], Labelled] | None = None  # None: split off from `data`
    groups: NDArray[Any] | None = None  # (N,)
    image_shape: ImageShape | None = None  # None: the rows are no images
    features: tuple[str, ...] = ()  # names of the columns; (): they have none


def split_arrays(arrays: Arrays, config: DataConfig) -> RawDataset:
    """Check arrays, and split off the validation and test rows that they do not define.

    Raises:
        DataError: the arrays are not suitable for classification.
    """
    X = arrays.data.X
    check_rows(arrays.data)
    target = parse_target(arrays.data.y, arrays.data.names[1])
    own_splits = arrays.val is None, arrays.read_test is None
    part = assign_rows(target, config, arrays.groups, *own_splits)
    train, val, test = (Split(X, target.labels).select(part == number) for number in range(3))
    if arrays.val is not None:
        val = _given_split(arrays.val, X, target)
        check_all_classes(val.labels, target.classes, "validation", "add rows or remove the class")
    if config.scaling == "pixels" and X.dtype != np.uint8:
        raise DataError(
            f"data.scaling=pixels needs {arrays.data.names[0]} of type uint8, not {X.dtype}: use "
            "data.scaling=standard"
        )

    def read_test() -> Split:
        if arrays.read_test is not None:
            return _given_split(arrays.read_test(), X, target)
        return test if len(test.labels) else no_test_split()

    return RawDataset(
        classes=target.classes,
        train=train,
        val=val,
        read_test=read_test,
        scaling=config.scaling,
        image_shape=arrays.image_shape,
        features=arrays.features,
        choices=describe_choices(config, *own_splits),
    )


def check_rows(data: Labelled) -> None:
    """Check the shape and the type of rows before their values are read.

    Raises:
        DataError: they cannot be features.
    """
    (X, y, (name, labels)), shape = data, data.X.shape
    if len(shape) < 2 or not data.X.num_features:
        raise DataError(
            f"{name} has shape {shape}, but needs one row of features per label: shape (N, D)"
        )
    if X.dtype.kind not in "biuf":
        kinds = {"O": "Python objects", "U": "text", "S": "text", "c": "complex numbers"}
        what = kinds.get(X.dtype.kind, str(X.dtype))
        raise DataError(
            f"{name} contains {what}, but features must be numbers: convert it with "
            f"{name}.astype('float32'), or use data=table, which encodes text"
        )
    if len(X) != len(y):
        raise DataError(
            f"{name} has {len(X)} rows, but {labels} has {len(y)} labels: give one label per row"
        )


def parse_target(y: NDArray[Any], name: str) -> Target:
    """Find the classes in labels.

    Raises:
        DataError: the labels do not define at least two classes.
    """
    y = check_labels(y, name)
    values = class_values(y, name)
    return Target(values, class_indices(y, values, name))


def assign_rows(
    target: Target,
    config: DataConfig,
    groups: NDArray[Any] | None = None,
    split_val: bool = True,
    split_test: bool = True,
) -> NDArray[np.int64]:
    """Assign each row to the training, the validation or the test split.

    Args:
        target: the labels.
        config: fractions and seed of the split.
        groups: (N,) groups that must not be divided; None: the split is stratified.
        split_val: whether to split off a validation split.
        split_test: whether to split off a test split.

    Returns:
        `TRAIN`, `VAL` or `TEST` for each row (N,).

    Raises:
        DataError: a split would lack a class.
    """
    wanted = {}
    if split_val:
        wanted[VAL] = config.val_fraction
    if split_test and config.test_fraction:
        wanted[TEST] = config.test_fraction
    names, fractions = np.array([TRAIN, *wanted]), list(wanted.values())
    if groups is None:
        part = stratified(target.labels, fractions, config.split_seed, target.classes)
    else:
        if len(groups) != len(target.labels):
            raise DataError(f"{config.group} has {len(groups)} values: give one group per row")
        part = grouped(target.labels, groups, fractions, config.split_seed)
    part = names[part]
    remedy = "choose another data.split_seed or other fractions, or remove the class"
    for number, split in ((TRAIN, "training"), (VAL, "validation"), (TEST, "test")):
        if number in names:
            check_all_classes(target.labels[part == number], target.classes, split, remedy)
    return part


def describe_choices(config: DataConfig, split_val: bool, split_test: bool) -> dict[str, str]:
    """Return the choices of preprocessing, as parameters of a run."""
    parts = []
    if split_val:
        parts.append(f"val_fraction={config.val_fraction:g}")
    if split_test:
        parts.append(f"test_fraction={config.test_fraction:g}")
    if parts:
        how = f"grouped by {config.group}" if config.group else "stratified"
        parts = [how, *parts, f"split_seed={config.split_seed}"]
    return {"data.scaling": config.scaling, "data.split": ", ".join(parts) or "given by the file"}


def _given_split(data: Labelled, X: Rows, target: Target) -> Split:
    """Check a split that the source defines against the training rows."""
    check_rows(data)
    if data.X.shape[1:] != X.shape[1:]:
        raise DataError(
            f"{data.names[0]} has items of shape {data.X.shape[1:]}, but the training rows have "
            f"{X.shape[1:]}: give all splits the same features"
        )
    y = check_labels(data.y, data.names[1])
    return Split(data.X, class_indices(y, target.values, data.names[1]))
