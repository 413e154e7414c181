"""The type `Dataset`: training and validation data of a model, and how its rows were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.blas import one_thread

ImageShape = tuple[int, int, int]  # (height, width, channels)


@dataclass(frozen=True, eq=False)
class Scaler:
    """How raw rows become rows of X. It is fitted on the training split.

    `pixels`: x / largest − mean, computed in the dtype of X. `standard` and `none`:
    (x − mean) / scale, computed in float64; for `none` the mean is 0 and the scale 1. The matrix
    `whitening` then multiplies the rows, in the dtype of X.
    """

    name: str
    mean: NDArray[np.float64]  # (D,)
    scale: NDArray[np.float64]  # (D,); all 1 for `pixels`
    largest: int = 1  # the value of the brightest pixel
    whitening: NDArray[np.float64] | None = None  # (D, D), see `pipeline.data.whitening`

    def apply(self, rows: NDArray[Any], dtype: str) -> NDArray[np.floating]:
        """Return X (n, D) of the given dtype for raw rows (n, D)."""
        X = self._scale(rows, dtype)
        if self.whitening is None:
            return X
        with one_thread():  # the same bits with any number of cores
            return np.asarray(X @ self.whitening.astype(dtype))

    def _scale(self, rows: NDArray[Any], dtype: str) -> NDArray[np.floating]:
        if self.name == "pixels":
            X: NDArray[np.floating] = rows.astype(dtype, order="C")
            X /= self.largest
            X -= self.mean.astype(dtype)
            return X
        standardised = (rows.astype(np.float64) - self.mean) / self.scale
        return standardised.astype(dtype)


def preprocessing_arrays(
    scaler: Scaler, encoder: Encoder | None, classes: Sequence[str], dtype: DTypeLike
) -> dict[str, NDArray[Any]]:
    """The preprocessing as arrays, which a registered model applies to raw rows.

    Returns:
        `classes` (C,), `mean` (D,), `largest` for pixels or else `scale` (D,), and for a table
        `columns`, the JSON text of its encoder. Whitening is not among them: it is part of the
        weights of a registered model.
    """
    if scaler.name == "pixels":
        arrays = {"mean": scaler.mean.astype(dtype), "largest": np.array(scaler.largest, dtype)}
    else:
        arrays = {"mean": scaler.mean, "scale": scaler.scale}
        if encoder is not None:
            arrays["columns"] = np.array(encoder.to_json())
    return {**arrays, "classes": np.array(classes)}


class Encoder(Protocol):
    """From the columns of a table to rows of numbers."""

    @property
    def examples(self) -> Any:
        """Some rows, as a DataFrame with the original columns."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The original column of each encoded column (D,)."""

    def to_json(self) -> str:
        """Return the columns and their encoding as JSON text, for the registered model."""


def fold_whitening(W1: NDArray[Any], scaler: Scaler) -> NDArray[Any]:
    """Return Z W1: with it, a network takes rows that are scaled and not whitened.

    (X Z) W1 = X (Z W1), so whitening costs a registered model nothing.

    Args:
        W1: weights (…, D, H).
        scaler: holds the matrix Z (D, D).
    """
    if scaler.whitening is None:
        return W1
    return np.asarray(scaler.whitening @ W1).astype(W1.dtype)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training and validation splits. Only `pipeline.data.load.load_test` returns test rows.

    A row of X that is an image holds channel planes, each plane row by row, which is the order of
    CIFAR-10's binary files. `as_images` folds rows back into images.
    """

    name: str
    classes: tuple[str, ...]
    image_shape: ImageShape | None  # None: the rows are no images
    digest: str  # of the raw training and validation rows, the classes and the preprocessing
    X_train: NDArray[np.floating]  # (N, D), C-contiguous
    y_train: NDArray[np.int64]  # (N,), indices into `classes`
    X_val: NDArray[np.floating]
    y_val: NDArray[np.int64]
    scaler: Scaler
    features: tuple[str, ...] = ()  # names of the columns of X; (): they have none
    encoder: Encoder | None = None  # None: the dataset is no table
    choices: Mapping[str, str] = field(default_factory=dict)  # parameters of the run
    test_digest: str = ""  # of the raw test rows; "": there are none, or they cannot be read

    @cached_property
    def preprocessing(self) -> Mapping[str, NDArray[Any]]:
        """The arrays that are stored with the weights of each model."""
        dtype = self.X_train.dtype
        return preprocessing_arrays(self.scaler, self.encoder, self.classes, dtype)


def as_images(rows: NDArray[Any], image_shape: ImageShape) -> NDArray[Any]:
    """Fold rows of X (n, D), or of a model's W1.T, into images (n, height, width, channels)."""
    height, width, channels = image_shape
    return rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
