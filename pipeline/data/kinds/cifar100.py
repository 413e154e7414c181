"""CIFAR-100 (Krizhevsky, 2009): 60,000 colour images of 32 × 32 pixels in 100 classes, binary.

A row has two label bytes: the coarse one of 20 superclasses, and the fine one of 100 classes, which
is used here. Four fifths of the training file train (40,000), one fifth validates (10,000).
"""

from __future__ import annotations

from pipeline.config import DataConfig
from pipeline.data.cifar import IMAGE_SHAPE, Batch, Layout, find_files, parse_batch, read_archive
from pipeline.data.download import data_folder, missing_files
from pipeline.data.files import read_file
from pipeline.data.raw import RawDataset, Rows, Split
from pipeline.data.splits import deal
from pipeline.errors import DataError

ARCHIVE = "cifar-100-binary.tar.gz"
FOLDER = "cifar-100-binary"  # in the archive
TRAIN, TEST = "train.bin", "test.bin"
LAYOUT = Layout(label_bytes=2, num_classes=100, max_rows=50_000, num_files=2)
PARTS = 5
# The names in fine_label_names.txt of the archive, in the order of the labels.
CLASSES = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout
tulip turtle wardrobe whale willow_tree wolf woman worm"""


def read(config: DataConfig) -> RawDataset:
    """Read the training file.

    Raises:
        DataError: the file is missing or damaged.
    """
    pixels, labels = _read_file(config, TRAIN)
    if len(labels) < PARTS:
        raise DataError(f"{TRAIN} has {len(labels)} images; splitting it needs at least {PARTS}")
    images, part = Split(Rows.of(pixels), labels), deal(labels, PARTS)
    return RawDataset(
        classes=tuple(CLASSES.split()),
        train=images.select(part < PARTS - 1),
        val=images.select(part == PARTS - 1),
        read_test=lambda: _read_test(config),
        image_shape=IMAGE_SHAPE,
    )


def _read_test(config: DataConfig) -> Split:
    pixels, labels = _read_file(config, TEST)
    return Split(Rows.of(pixels), labels)


def _read_file(config: DataConfig, name: str) -> Batch:
    """Read a file from the archive, or from the folder of unpacked files."""
    folder = data_folder(config, [ARCHIVE], [ARCHIVE])
    if not missing_files(folder, [ARCHIVE]):
        return read_archive(folder / ARCHIVE, [name], LAYOUT)[0]
    folder = find_files(folder, FOLDER, ARCHIVE, [name], f"{TRAIN} and {TEST}, or {ARCHIVE}")
    return parse_batch(read_file(folder / name, LAYOUT.batch_bytes), folder / name, LAYOUT)
