"""Shapes of the published datasets, for runs that were made before runs recorded them."""

from __future__ import annotations

from pipeline.data.dataset import ImageShape

IMAGE_SHAPES: dict[str, ImageShape] = {
    "digits": (8, 8, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
}
NUM_CLASSES = 10  # of each of them
