"""The IDX format of MNIST (http://yann.lecun.com/exdb/mnist/).

A file starts with the bytes 0, 0, 8 (unsigned bytes) and the number of dimensions. The size of each
dimension follows as a big-endian 32-bit number, then the items.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.files import damaged, read_file

MAX_ITEMS = 60_000


def read_idx(path: Path, *shape: int, max_items: int = MAX_ITEMS) -> NDArray[np.uint8]:
    """Read items of the given shape.

    Returns:
        An array of bytes (N, *shape) with 1 ≤ N ≤ `max_items`.

    Raises:
        DataError: the file cannot be read, or is not such a file.
    """
    items = read_any_idx(path, 1 + len(shape), max_items * prod(shape))
    if items.shape[1:] != shape:
        raise damaged(path, f"items of shape {items.shape[1:]} instead of {shape}")
    return items


def read_any_idx(path: Path, dimensions: int, max_bytes: int) -> NDArray[np.uint8]:
    """Read items of the shape that the header states.

    Args:
        path: the file.
        dimensions: of the array that it must hold.
        max_bytes: of the array.

    Returns:
        An array of bytes with this number of dimensions, none of which is 0.

    Raises:
        DataError: the file cannot be read, or is not such a file.
    """
    header = 4 + 4 * dimensions
    content = read_file(path, header + max_bytes)
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise damaged(path, f"no IDX header for bytes in {dimensions} dimensions")
    shape = tuple(np.frombuffer(content, ">u4", dimensions, offset=4).tolist())
    if 0 in shape or len(content) != header + prod(shape):
        stated = f"{shape[0]} items of shape {shape[1:]}" if shape[1:] else f"{shape[0]} items"
        raise damaged(path, f"{len(content) - header} bytes, but the header states {stated}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
