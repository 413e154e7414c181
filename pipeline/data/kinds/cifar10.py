"""CIFAR-10 (Krizhevsky, 2009): 60,000 colour images of 32 × 32 pixels, the binary version.

The splits follow the EECS 498 assignment: batches 1 to 4 train (40,000), batch 5 validates
(10,000), and the test batch tests (10,000).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import DataConfig
from pipeline.data.cifar import (
    IMAGE_SHAPE,
    Batch,
    Layout,
    as_split,
    find_files,
    parse_batch,
    read_archive,
)
from pipeline.data.download import data_folder, missing_files
from pipeline.data.files import read_file
from pipeline.data.raw import RawDataset
from pipeline.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"  # in the archive
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
LAYOUT = Layout(label_bytes=1, num_classes=10, max_rows=10_000, num_files=6)


def read(config: DataConfig) -> RawDataset:
    """Read the five training batches.

    Raises:
        DataError: a file is missing or damaged.
    """
    batches = _read_batches(config, TRAIN)
    sizes = [len(batch.labels) for batch in batches]
    # A batch that was cut between two rows looks valid.
    if len(set(sizes)) > 1:
        raise DataError(
            f"the five training batches of CIFAR-10 have different numbers of images ({sizes}): "
            "replace them with the published files"
        )
    return RawDataset(
        classes=tuple(CLASSES.split(",")),
        train=as_split(*batches[:4]),
        val=as_split(batches[4]),
        read_test=lambda: as_split(*_read_batches(config, TEST)),
        image_shape=IMAGE_SHAPE,
    )


def _read_batches(config: DataConfig, names: Sequence[str]) -> list[Batch]:
    """Read batches from the archive, or from the folder of unpacked files."""
    folder = data_folder(config, [ARCHIVE], [ARCHIVE])
    if not missing_files(folder, [ARCHIVE]):
        return read_archive(folder / ARCHIVE, names, LAYOUT)
    wanted = f"{', '.join(TRAIN + TEST)} or {ARCHIVE}"
    folder = find_files(folder, FOLDER, ARCHIVE, names, wanted)
    paths = [folder / name for name in names]
    return [parse_batch(read_file(path, LAYOUT.batch_bytes), path, LAYOUT) for path in paths]
