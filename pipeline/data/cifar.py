"""The binary layout of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html).

A row is one or two label bytes, then 3,072 pixel bytes: the red plane, the green, the blue.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.download import missing_files, require_files
from pipeline.data.files import HEADER_BYTES, damaged, read_file
from pipeline.data.raw import Rows, Split
from pipeline.errors import DataError

IMAGE_SHAPE = (32, 32, 3)
PIXELS = 3 * 32 * 32
PICKLES = ("data_batch_1", "test_batch", "train", "test")  # files of the Python version


class Batch(NamedTuple):
    """The content of one file."""

    pixels: NDArray[np.uint8]  # (N, PIXELS)
    labels: NDArray[np.uint8]  # (N,)


class Layout(NamedTuple):
    """The layout of one of the two datasets."""

    label_bytes: int  # the last one is the class
    num_classes: int
    max_rows: int  # in one file
    num_files: int  # in the archive

    @property
    def row_bytes(self) -> int:
        return self.label_bytes + PIXELS

    @property
    def batch_bytes(self) -> int:
        return self.max_rows * self.row_bytes

    @property
    def archive_bytes(self) -> int:
        """Upper bound of the unpacked archive, which also holds small text files."""
        return self.num_files * self.batch_bytes + HEADER_BYTES


def parse_batch(content: bytes, path: Path, layout: Layout) -> Batch:
    """Parse the content of one file.

    Raises:
        DataError: the content does not have the published layout.
    """
    row = layout.row_bytes
    if not 0 < len(content) <= layout.batch_bytes or len(content) % row:
        limit = f"{layout.max_rows:,} rows of {row:,} bytes"
        raise damaged(path, f"{len(content):,} bytes are not 1 to {limit}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    labels = rows[:, layout.label_bytes - 1]
    if labels.max() >= layout.num_classes:
        raise damaged(path, f"label {labels.max()} is outside 0 to {layout.num_classes - 1}")
    return Batch(rows[:, layout.label_bytes :], labels)


def as_split(*batches: Batch) -> Split:
    """Join batches into one split."""
    pixels, labels = zip(*batches, strict=True)
    if len(batches) == 1:
        return Split(Rows.of(pixels[0]), labels[0])
    return Split(Rows.of(np.concatenate(pixels)), np.concatenate(labels))


def read_archive(path: Path, names: Sequence[str], layout: Layout) -> list[Batch]:
    """Read files of the published .tar.gz archive without unpacking it to the disk.

    Raises:
        DataError: the archive is damaged, or a file is missing in it.
    """
    batches = {}
    try:
        for member, content in _members(read_file(path, layout.archive_bytes)):
            inner = PurePosixPath(member.name)
            if inner.is_absolute() or ".." in inner.parts:
                raise damaged(path, f"member {member.name!r} is outside the archive")
            if inner.name in names and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                batches[inner.name] = parse_batch(bytes(content), path / inner.name, layout)
    except (tarfile.TarError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if lost := [name for name in names if name not in batches]:
        raise damaged(path, f"it contains no {', '.join(lost)}")
    return [batches[name] for name in names]


def find_files(
    folder: Path, unpacked: str, archive: str, names: Sequence[str], wanted: str
) -> Path:
    """Return the folder, or the unpacked folder in it, that contains the files.

    Args:
        folder: set by the user.
        unpacked: the name of the folder in the archive.
        archive: the name of the archive.
        names: of the files.
        wanted: all files of the dataset, for messages.

    Raises:
        DataError: a file is missing. If the folder contains the Python version, which consists of
            pickles, the message says which files are needed instead.
    """
    inner = folder / unpacked
    if missing_files(folder, names) and os.access(inner, os.R_OK):
        folder = inner
    pickles = [archive.replace("binary", "python"), unpacked.replace("bin", "py"), *PICKLES]
    pickles += [unpacked.replace("binary", "python")]
    if missing_files(folder, names):
        for name in set(pickles) - {unpacked}:
            if os.access(folder / name, os.F_OK):
                raise DataError(
                    f"{folder / name} belongs to the Python version of the dataset, which consists "
                    f"of pickles and is not read: put {archive} of the binary version there"
                )
    require_files(folder, names, wanted)
    return folder


def _members(archive: bytes) -> Iterator[tuple[tarfile.TarInfo, memoryview]]:
    """Yield the members of a tar archive by reading one plain header after the other.

    `tarfile.TarFile` also follows extended headers. A hostile archive can make it loop, recurse
    without end, or search for hours.
    """
    start = 0
    while (header := archive[start : start + tarfile.BLOCKSIZE]).strip(b"\0"):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
        if member.size < 0:
            raise ValueError(f"member {member.name!r} has the size {member.size}")
        start += tarfile.BLOCKSIZE
        yield member, memoryview(archive)[start : start + member.size]
        start += -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
