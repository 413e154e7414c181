"""scikit-learn's handwritten digits: 1,797 grey images of 8 × 8 pixels, split 60/20/20."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np

from pipeline.config import DataConfig
from pipeline.data.raw import RawDataset, Rows, Split
from pipeline.data.splits import deal

PARTS = 5  # three fifths train, one validates, one tests


def read(_: DataConfig) -> RawDataset:
    """Read the images and split them."""
    return RawDataset(
        classes=tuple("0123456789"),
        train=_parts(0, 1, 2),
        val=_parts(3),
        read_test=lambda: _parts(4),
        image_shape=(8, 8, 1),
        largest=16,
    )


def _parts(*numbers: int) -> Split:
    images = _all_images()
    return images.select(np.isin(deal(images.labels, PARTS), numbers))


@functools.cache
def _all_images() -> Split:
    """Read the file behind sklearn.datasets.load_digits; importing scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(path, np.uint8, delimiter=",")
    return Split(Rows.of(rows[:, :-1]), rows[:, -1])
