"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): grey images of 28 × 28 pixels in IDX files.

The training files hold 60,000 images: 50,000 train and 10,000 validate, the same number of each
class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.download import data_folder, require_files
from pipeline.data.files import damaged
from pipeline.data.idx import read_idx
from pipeline.data.raw import RawDataset, Rows, Split
from pipeline.data.splits import deal
from pipeline.errors import DataError

TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
Bytes = NDArray[np.uint8]
PARTS = 6  # five sixths of the training files train, one validates


def read(config: DataConfig) -> RawDataset:
    """Read the training files.

    Raises:
        DataError: a file is missing or damaged.
    """
    pixels, labels = _read_files(config, TRAIN)
    if len(labels) < PARTS:
        raise DataError(f"{TRAIN[0]} has {len(labels)} images; splitting it needs at least {PARTS}")
    images, part = Split(Rows.of(pixels), labels), deal(labels, PARTS)
    return RawDataset(
        classes=tuple(CLASSES.split(",")),
        train=images.select(part < PARTS - 1),
        val=images.select(part == PARTS - 1),
        read_test=lambda: _read_test(config),
        image_shape=(28, 28, 1),
    )


def _read_test(config: DataConfig) -> Split:
    pixels, labels = _read_files(config, TEST)
    return Split(Rows.of(pixels), labels)


def _read_files(config: DataConfig, names: tuple[str, str]) -> tuple[Bytes, Bytes]:
    files = TRAIN + TEST
    folder = data_folder(config, files, names)
    require_files(folder, names, ", ".join(files))
    images_path, labels_path = (folder / name for name in names)
    pixels, labels = read_idx(images_path, 28, 28), read_idx(labels_path)
    if len(pixels) != len(labels):
        raise damaged(labels_path, f"{len(labels)} labels for {len(pixels)} images")
    if labels.max() > 9:
        raise damaged(labels_path, f"label {labels.max()} is outside 0 to 9")
    return pixels.reshape(len(pixels), -1), labels
