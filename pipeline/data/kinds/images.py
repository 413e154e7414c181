"""A folder of images: one folder per class, with PNG or JPEG files of equal size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.arrays import Arrays, Labelled, split_arrays
from pipeline.data.download import data_folder
from pipeline.data.raw import RawDataset, Rows
from pipeline.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
MODES = {"L": 1, "RGB": 3}  # channels of the images after conversion


def read(config: DataConfig) -> RawDataset:
    """Read all images.

    Raises:
        DataError: the folder has no such images, or they differ in size.
    """
    if config.dir is None:
        raise DataError("data=images needs a folder with one folder per class: set data.dir=DIR")
    folder = data_folder(config, [], [])
    paths = _find(folder)
    images = _read_images(paths)
    _, height, width, channels = images.shape
    labels = np.array([path.parent.name for path in paths])
    return split_arrays(
        Arrays(
            data=Labelled(Rows.of(images, channels_last=True), labels, ("images", "folders")),
            image_shape=(height, width, channels),
        ),
        config,
    )


def _find(folder: Path) -> list[Path]:
    """Find the images in the folders of the classes, in alphabetical order."""
    try:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        files = [path for one in classes for path in sorted(one.iterdir()) if path.is_file()]
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} cannot be read ({error}): set data.dir to a folder with one folder per class"
        ) from error
    paths = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise DataError(
            f"{folder} has no folders with .png or .jpg files: make one folder per class"
        )
    return paths


def _read_images(paths: list[Path]) -> NDArray[np.uint8]:
    """Read images of equal size into one array (N, height, width, channels)."""
    first, mode = paths[0], "L"
    with _opened(first) as image:
        size = image.size
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    shape = (len(paths), size[1], size[0], MODES[mode])
    if int(np.prod(shape, dtype=object)) > psutil.virtual_memory().available:
        raise DataError(f"{len(paths)} images of {size[0]} × {size[1]} pixels exceed the memory")
    images = np.empty(shape, np.uint8)
    for number, path in enumerate(paths):
        with _opened(path) as image:
            if image.size != size:
                raise DataError(
                    f"{path} has {image.size[0]} × {image.size[1]} pixels, but {first} has "
                    f"{size[0]} × {size[1]}: scale all images to one size"
                )
            try:
                images[number] = np.asarray(image.convert(mode)).reshape(shape[1:])
            except Exception as error:  # the decoders of Pillow raise many types
                raise _unreadable(path, error) from error
    return images


def _opened(path: Path) -> Any:
    """Open an image without decoding its pixels."""
    from PIL import Image  # imported for data=images only

    try:
        return Image.open(path, formats=["PNG", "JPEG"])
    except Exception as error:  # includes the error for images that are larger than Pillow allows
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path} cannot be read as PNG or JPEG ({reason}): replace or remove the file")
