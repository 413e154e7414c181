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
    dimensions = 1 + len(shape)
    header = 4 + 4 * dimensions
    content = read_file(path, header + max_items * prod(shape))
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise damaged(path, f"no IDX header for bytes in {dimensions} dimensions")
    count, *stored = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if tuple(stored) != shape:
        raise damaged(path, f"items of shape {tuple(stored)} instead of {shape}")
    if count == 0 or len(content) != header + count * prod(shape):
        raise damaged(path, f"{len(content) - header} bytes, but the header states {count} items")
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, *shape)
