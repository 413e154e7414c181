"""Datasets on disk → training, validation and test splits.

A row of X is one image as channel planes, each plane row by row: the order of CIFAR-10's binary
files. `as_images` folds rows back.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.files import (
    CIFAR10_TEST,
    CIFAR10_TRAIN,
    FASHION_MNIST_TEST,
    FASHION_MNIST_TRAIN,
    DataError,
    Images,
    read_cifar10,
    read_fashion_mnist,
)

PREPROCESSING = "divided by the largest pixel value, minus the training mean of each feature"


@dataclass(frozen=True, eq=False)
class Dataset:
    """The training and validation splits; the test split comes from `load_test` alone."""

    name: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (height, width, channels)
    digest: str  # of the raw training and validation images, the classes and the preprocessing
    X_train: NDArray[np.floating]  # (N, D), C-contiguous
    y_train: NDArray[np.int64]  # (N,), places in `classes`
    X_val: NDArray[np.floating]
    y_val: NDArray[np.int64]


class Source(NamedTuple):
    """What a dataset is, and how to read it."""

    classes: str  # separated by commas
    image_shape: tuple[int, int, int]
    largest: int  # the value of the brightest pixel
    read_train: Callable[[DataConfig], tuple[Images, Images]]  # training and validation
    read_test: Callable[[DataConfig], Images]


def load(config: DataConfig, dtype: str) -> Dataset:
    """Read the training and validation splits, and no test image.

    Raises:
        DataError: the dataset is unknown, missing, unreadable or damaged.
    """
    source = _source(config)
    train, val = source.read_train(config)
    digest, mean = _digest(source, train, val), training_mean(train, source)
    X_train, y_train = _preprocess(train, source, mean, dtype)
    del train  # makes room for X_val: the peak is the size of X and of the raw validation images
    X_val, y_val = _preprocess(val, source, mean, dtype)
    return Dataset(
        name=config.name,
        classes=tuple(source.classes.split(",")),
        image_shape=source.image_shape,
        digest=digest,
        X_train=X_train,
        y_train=y_train,
        X_val=X_val,
        y_val=y_val,
    )


def load_test(config: DataConfig, dtype: str) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Read the test split, preprocessed like the others with the mean of the training images.

    Returns:
        X (N, D) and y (N,).

    Raises:
        DataError: the dataset is unknown, missing, unreadable or damaged.
    """
    source = _source(config)
    mean = training_mean(source.read_train(config)[0], source)
    return _preprocess(source.read_test(config), source, mean, dtype)


def as_images(rows: NDArray[Any], image_shape: tuple[int, int, int]) -> NDArray[Any]:
    """Fold rows of X (n, D), or of a model's W1.T, into images (n, height, width, channels)."""
    height, width, channels = image_shape
    return rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def _source(config: DataConfig) -> Source:
    if config.name not in SOURCES:
        raise DataError(f"data.name must be one of {', '.join(SOURCES)}, not {config.name!r}")
    return SOURCES[config.name]


def training_mean(train: Images, source: Source) -> NDArray[np.float64]:
    """The mean of each feature over the training images, scaled to 0…1, (D,)."""
    # float64 holds the sum of the whole numbers exactly: the mean is the same on every machine.
    mean: NDArray[np.float64] = train.pixels.mean(axis=0, dtype=np.float64)
    return mean / source.largest


def _preprocess(
    images: Images, source: Source, mean: NDArray[np.float64], dtype: str
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    X: NDArray[np.floating] = images.pixels.astype(dtype, order="C")
    X /= source.largest
    X -= mean.astype(dtype)
    return X, images.labels.astype(np.int64)


def _digest(source: Source, *splits: Images) -> str:
    shapes = [split.pixels.shape for split in splits]
    text = repr((PREPROCESSING, source.classes, source.image_shape, source.largest, shapes))
    digest = hashlib.sha256(text.encode())
    for split in splits:
        digest.update(np.ascontiguousarray(split.pixels).data)
        digest.update(np.ascontiguousarray(split.labels).data)
    return digest.hexdigest()[:32]  # MLflow keeps at most 36 characters


def _deal(labels: NDArray[np.uint8], parts: int) -> NDArray[np.int64]:
    """Deal images like cards to equal parts: class after class, each in the order of the file.

    Each part gets its share of every class, without a random generator whose stream could change.

    Returns:
        The part of each image (N,), 0 … parts − 1.
    """
    part = np.empty(len(labels), np.int64)
    part[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % parts
    return part


def _digits(*fifths: int) -> Images:
    """The images of scikit-learn's 1,797 that are dealt to these fifths."""
    images = _all_digits()
    return images.where(np.isin(_deal(images.labels, 5), fifths))


@functools.cache
def _all_digits() -> Images:
    """What sklearn.datasets.load_digits returns, without the second that importing it takes."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(path, np.uint8, delimiter=",")
    return Images(rows[:, :-1], rows[:, -1])


def _fashion_mnist_train(config: DataConfig) -> tuple[Images, Images]:
    """Five sixths of the training files train (50,000), one sixth validates (10,000)."""
    images = read_fashion_mnist(config, *FASHION_MNIST_TRAIN)
    sixth = _deal(images.labels, 6)
    if len(sixth) < 6:
        raise DataError(
            f"{FASHION_MNIST_TRAIN[0]} needs at least 6 images to split, not {len(sixth)}"
        )
    return images.where(sixth < 5), images.where(sixth == 5)


def _cifar10_train(config: DataConfig) -> tuple[Images, Images]:
    """Batches 1 to 4 train (40,000), batch 5 validates (10,000), as in the EECS 498 assignment."""
    batches = read_cifar10(config, CIFAR10_TRAIN)
    sizes = [len(batch.labels) for batch in batches]
    # A batch that was cut between two rows looks whole by itself.
    if len(set(sizes)) > 1:
        raise DataError(
            f"CIFAR-10's five training batches hold {sizes} images, which should be equal: "
            "replace them with the published files"
        )
    pixels, labels = zip(*batches[:4], strict=True)
    return Images(np.concatenate(pixels), np.concatenate(labels)), batches[4]


SOURCES = {
    "digits": Source(
        classes="0,1,2,3,4,5,6,7,8,9",
        image_shape=(8, 8, 1),
        largest=16,
        read_train=lambda config: (_digits(0, 1, 2), _digits(3)),
        read_test=lambda config: _digits(4),
    ),
    "fashion_mnist": Source(
        classes="T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
        image_shape=(28, 28, 1),
        largest=255,
        read_train=_fashion_mnist_train,
        read_test=lambda config: read_fashion_mnist(config, *FASHION_MNIST_TEST),
    ),
    "cifar10": Source(
        classes="airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck",
        image_shape=(32, 32, 3),
        largest=255,
        read_train=_cifar10_train,
        read_test=lambda config: read_cifar10(config, CIFAR10_TEST)[0],
    ),
}
