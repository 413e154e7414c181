"""Datasets in the four IDX files of the MNIST family: MNIST, KMNIST, EMNIST and others.

The files are named …train-images-idx3-ubyte, …train-labels-idx1-ubyte, …t10k-images-idx3-ubyte and
…t10k-labels-idx1-ubyte, compressed as .gz or not. EMNIST writes test instead of t10k. The
validation split is split off from the training files.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.config import DataConfig
from pipeline.data.arrays import Arrays, Labelled, split_arrays
from pipeline.data.download import data_folder
from pipeline.data.files import damaged
from pipeline.data.idx import read_any_idx
from pipeline.data.raw import RawDataset, Rows
from pipeline.errors import DataError

TRAIN = r"(.*)train-images[.-]idx3-ubyte(\.gz)?"
MAX_BYTES = 1 << 30  # EMNIST ByClass, the largest of the family, has 0.6 GB


def read(config: DataConfig) -> RawDataset:
    """Read the training files.

    Raises:
        DataError: a file is missing or damaged, or the folder holds several datasets.
    """
    if config.dir is None:
        raise DataError("data=idx needs a folder of IDX files: set data.dir=DIR")
    images = _training_images(data_folder(config, [], []), config.file)
    data = _read_files(images)
    height, width, channels = data.X.shape[1:]
    return split_arrays(
        Arrays(
            data=data,
            read_test=lambda: _read_files(_test_images(images)),
            image_shape=(height, width, channels),
        ),
        config,
    )


def _training_images(folder: Path, name: str | None) -> Path:
    """Find the file of training images; `name` selects one of several."""
    try:
        found = sorted(path.name for path in folder.iterdir() if re.fullmatch(TRAIN, path.name))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} cannot be read ({error}): set data.dir to a folder of IDX files"
        ) from error
    # A command makes data.file an absolute path.
    chosen = found if name is None else [other for other in found if other == Path(name).name]
    if len(chosen) != 1:
        has = ", ".join(found) or "no such file"
        raise DataError(
            f"data=idx needs one file …train-images-idx3-ubyte or .gz in {folder}, which has "
            f"{has}: choose one with data.file=NAME, or put the published files there"
        )
    return folder / chosen[0]


def _test_images(images: Path) -> Path:
    """Return the file of test images that belongs to a file of training images."""
    t10k, test = (
        images.with_name(images.name.replace("train-images", f"{word}-images"))
        for word in ("t10k", "test")
    )
    return test if test.exists() else t10k


def _read_files(images: Path) -> Labelled:
    """Read a file of images and the file of their labels."""
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    X, y = read_any_idx(images, 3, MAX_BYTES), read_any_idx(labels, 1, MAX_BYTES)
    if len(X) != len(y):
        raise damaged(labels, f"{len(y)} labels for {len(X)} images")
    return Labelled(Rows.of(X[..., None], channels_last=True), y, (images.name, labels.name))
