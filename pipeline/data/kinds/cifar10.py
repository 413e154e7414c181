"""CIFAR-10 (Krizhevsky, 2009): 60,000 colour images of 32 × 32 pixels, the binary version.

The splits follow the EECS 498 assignment: batches 1 to 4 train (40,000), batch 5 validates
(10,000), and the test batch tests (10,000).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from pipeline.config import DataConfig
from pipeline.data.cifar import Layout, parse_batch, read_archive
from pipeline.data.download import data_folder, missing_files, require_files
from pipeline.data.files import read_file
from pipeline.data.raw import Kind, RawDataset, Split
from pipeline.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"  # in the archive
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
LAYOUT = Layout(label_bytes=1, num_classes=10, max_rows=10_000, num_files=6)


def _read(config: DataConfig) -> RawDataset:
    batches = _read_batches(config, TRAIN)
    sizes = [len(batch.labels) for batch in batches]
    # A batch that was cut between two rows looks valid.
    if len(set(sizes)) > 1:
        raise DataError(
            f"the five training batches of CIFAR-10 have different numbers of images ({sizes}): "
            "replace them with the published files"
        )
    pixels, labels = zip(*batches[:4], strict=True)
    return RawDataset(Split(np.concatenate(pixels), np.concatenate(labels)), batches[4])


def _read_test(config: DataConfig) -> Split:
    return _read_batches(config, TEST)[0]


def _read_batches(config: DataConfig, names: Sequence[str]) -> list[Split]:
    """Read batches from the archive, or from the folder of unpacked files."""
    folder = data_folder(config, [ARCHIVE], [ARCHIVE])
    if not missing_files(folder, [ARCHIVE]):
        return read_archive(folder / ARCHIVE, names, LAYOUT)
    unpacked = folder / FOLDER
    if missing_files(folder, names) and os.access(unpacked, os.R_OK):
        folder = unpacked
    require_files(folder, names, f"{', '.join(TRAIN + TEST)} or {ARCHIVE}")
    paths = [folder / name for name in names]
    return [parse_batch(read_file(path, LAYOUT.batch_bytes), path, LAYOUT) for path in paths]


KIND = Kind(
    classes=tuple(CLASSES.split(",")),
    image_shape=(32, 32, 3),
    largest=255,
    read=_read,
    read_test=_read_test,
)
