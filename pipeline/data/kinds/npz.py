"""Arrays in an .npz file: X, y and optionally X_val, y_val, X_test, y_test and groups.

Arrays that were saved uncompressed (numpy.savez) are mapped, so that X is never in memory twice.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.data.arrays import Arrays, Labelled, split_arrays
from pipeline.data.dataset import ImageShape
from pipeline.data.files import own_file
from pipeline.data.raw import RawDataset, Rows
from pipeline.errors import DataError

SPLITS = ("X", "y", "X_val", "y_val", "X_test", "y_test")
# Errors of zipfile and NumPy for files that are damaged.
DAMAGE: tuple[type[Exception], ...] = (
    *(ValueError, SyntaxError, EOFError, OSError, RuntimeError, KeyError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip entry: signature, lengths of name and extra


@dataclass(frozen=True)
class Entry:
    """An array of the file: its type and its place."""

    path: Path
    name: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int | None  # of the first value in the file; None: it is compressed

    def read(self) -> NDArray[Any]:
        """Read the whole array into memory."""
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as file:
            return np.asarray(npy.read_array(file, allow_pickle=False))

    def rows(self) -> Rows:
        """Return the rows of the array: mapped, or read into memory if it is compressed."""
        images = image_shape(self.shape) is not None
        if self.offset is None:
            return Rows.of(self.read(), channels_last=images)
        return Rows(self._map, self.shape, self.dtype, channels_last=images)

    def _map(self) -> NDArray[Any]:
        order: Literal["C", "F"] = "F" if self.fortran else "C"
        return np.memmap(self.path, self.dtype, "r", self.offset or 0, self.shape, order)


def read(config: DataConfig) -> RawDataset:
    """Read the labels, and find the rows.

    Raises:
        DataError: the file is damaged, or its arrays are not suitable.
    """
    path = own_file(config, "an .npz file with the arrays X and y")
    try:
        return _read(path, config)
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is damaged ({reason}): write it again with numpy.savez(FILE, X=X, y=y)"
        ) from error


def image_shape(shape: tuple[int, ...]) -> ImageShape | None:
    """Return (height, width, channels) if arrays of this shape are images with channels last."""
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 and shape[3] in (1, 3) else None


def _read(path: Path, config: DataConfig) -> RawDataset:
    entries = _entries(path)
    if missing := [name for name in ("X", "y") if name not in entries]:
        raise DataError(
            f"{path} has no array {' and '.join(missing)}, but {', '.join(entries) or 'none'}: "
            "write it with numpy.savez(FILE, X=X, y=y)"
        )
    for part in ("val", "test"):
        if (f"X_{part}" in entries) != (f"y_{part}" in entries):
            raise DataError(f"{path} has only one of X_{part} and y_{part}: add the other one")
    if config.group and config.group not in entries:
        raise DataError(
            f"{path} has no array {config.group!r} for data.group, but {', '.join(entries)}"
        )

    def labelled(X: str, y: str) -> Labelled:
        return Labelled(entries[X].rows(), entries[y].read(), (X, y))

    return split_arrays(
        Arrays(
            data=labelled("X", "y"),
            val=labelled("X_val", "y_val") if "X_val" in entries else None,
            read_test=(lambda: labelled("X_test", "y_test")) if "X_test" in entries else None,
            groups=entries[config.group].read() if config.group else None,
            image_shape=image_shape(entries["X"].shape),
        ),
        config,
    )


def _entries(path: Path) -> dict[str, Entry]:
    """Read the headers of all arrays."""
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        total = sum(member.file_size for member in archive.infolist() if member.compress_type)
        if total > psutil.virtual_memory().available:
            raise DataError(
                f"{path} unpacks to {total / 1e9:.3g} GB, more than the free memory: write it "
                "uncompressed with numpy.savez"
            )
        for member in archive.infolist():
            name, suffix = member.filename[:-4], member.filename[-4:]
            if suffix != ".npy":
                continue
            with archive.open(member) as content:
                head = io.BytesIO(content.read(1 << 16))
            shape, fortran, dtype = _header(head)
            if dtype.hasobject:
                if name in SPLITS:
                    raise DataError(
                        f"{name} in {path} contains Python objects, which only a pickle can hold: "
                        f"convert it before saving, as {name}.astype(str) or .astype('float32')"
                    )
                continue
            size = dtype.itemsize * int(np.prod(shape, dtype=object))
            if min(shape, default=1) < 0 or head.tell() + size != member.file_size:
                raise ValueError(f"{name} of shape {shape} does not fill its entry")
            offset = None
            if member.compress_type == zipfile.ZIP_STORED:
                offset = _content_start(file, member) + head.tell()
                if offset + size > path.stat().st_size:
                    raise ValueError(f"{name} is larger than the file")
            found[name] = Entry(path, name, shape, fortran, dtype, offset)
    return found


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = read_header[version](file)
    return shape, bool(fortran), np.dtype(dtype)


def _content_start(file: Any, member: zipfile.ZipInfo) -> int:
    """Return the offset of the content of an uncompressed entry."""
    file.seek(member.header_offset)
    signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != b"PK\x03\x04":
        raise ValueError(f"no local header of {member.filename}")
    return int(member.header_offset + LOCAL_HEADER.size + name + extra)
