"""The files of the published datasets: found or downloaded, and read without trusting them."""

from __future__ import annotations

import gzip
import os
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import DataConfig
from pipeline.errors import PipelineError

FASHION_MNIST_TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
FASHION_MNIST_TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
IDX_MAX_ITEMS = 60_000

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_ROW = 1 + 3 * 32 * 32  # a byte of label, then the pixels
CIFAR10_BATCH_BYTES = 10_000 * CIFAR10_ROW
HEADERS_BYTES = 1 << 20  # more than those of any file or archive here
CIFAR10_ARCHIVE_BYTES = 6 * CIFAR10_BATCH_BYTES + HEADERS_BYTES  # with two texts


class DataError(PipelineError):
    """A dataset is unknown, missing, unreadable or damaged."""

    def __init__(self, sentence: str) -> None:
        """Take a sentence that names files, which may have any letters, to one printable line."""
        super().__init__("".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence))


class Images(NamedTuple):
    """Images as they are stored."""

    pixels: NDArray[np.uint8]  # (N, D)
    labels: NDArray[np.uint8]  # (N,)

    def where(self, chosen: NDArray[np.bool_]) -> Images:
        return Images(self.pixels[chosen], self.labels[chosen])


def read_fashion_mnist(config: DataConfig, *names: str) -> Images:
    files = FASHION_MNIST_TRAIN + FASHION_MNIST_TEST
    folder = _folder(config, files, names)
    _require(folder, names, ", ".join(files))
    images_path, labels_path = (folder / name for name in names)
    pixels, labels = _read_idx(images_path, 28, 28), _read_idx(labels_path)
    if len(pixels) != len(labels):
        raise _damaged(labels_path, f"{len(labels)} labels of {len(pixels)} images")
    return _checked(Images(pixels.reshape(len(pixels), -1), labels), labels_path)


def _read_idx(path: Path, *shape: int) -> NDArray[np.uint8]:
    """Read (N, *shape) bytes in the IDX format of MNIST (http://yann.lecun.com/exdb/mnist/).

    A header of 0, 0, 8 (unsigned bytes), the number of dimensions and, as big-endian 32-bit
    numbers, the dimensions.
    """
    dimensions = 1 + len(shape)
    header = 4 + 4 * dimensions
    content = _read(path, header + IDX_MAX_ITEMS * prod(shape))
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise _damaged(path, f"no IDX header of bytes in {dimensions} dimensions")
    count, *stored = np.frombuffer(content, ">u4", dimensions, offset=4).tolist()
    if tuple(stored) != shape:
        raise _damaged(path, f"items of shape {tuple(stored)} in place of {shape}")
    if count == 0 or len(content) != header + count * prod(shape):
        raise _damaged(path, f"{len(content) - header} bytes of {count} promised items")
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, *shape)


def read_cifar10(config: DataConfig, names: Sequence[str]) -> list[Images]:
    """Read batches of the binary version (https://www.cs.toronto.edu/~kriz/cifar.html)."""
    folder = _folder(config, [CIFAR10_ARCHIVE], [CIFAR10_ARCHIVE])
    if not _missing(folder, [CIFAR10_ARCHIVE]):
        return _read_cifar10_archive(folder / CIFAR10_ARCHIVE, names)
    unpacked = folder / "cifar-10-batches-bin"
    place = unpacked if _missing(folder, names) and os.access(unpacked, os.R_OK) else folder
    _require(place, names, f"{', '.join(CIFAR10_TRAIN + CIFAR10_TEST)} or {CIFAR10_ARCHIVE}")
    paths = [place / name for name in names]
    return [_parse_cifar10(_read(path, CIFAR10_BATCH_BYTES), path) for path in paths]


def _read_cifar10_archive(path: Path, names: Sequence[str]) -> list[Images]:
    batches = {}
    try:
        for member, content in _members(_read(path, CIFAR10_ARCHIVE_BYTES)):
            place = PurePosixPath(member.name)
            if place.is_absolute() or ".." in place.parts:
                raise _damaged(path, f"member {member.name!r} lies outside of it")
            if place.name in names and member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
                batches[place.name] = _parse_cifar10(bytes(content), path / place.name)
    except (tarfile.TarError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if lost := [name for name in names if name not in batches]:
        raise _damaged(path, f"no {', '.join(lost)}")
    return [batches[name] for name in names]


def _members(archive: bytes) -> Iterator[tuple[tarfile.TarInfo, memoryview]]:
    """The members of a tar archive, one header after the other, and nothing on the disk.

    A TarFile would follow extended headers too, and with a hostile one go in circles, recurse
    without end or search for hours.
    """
    start = 0
    while (header := archive[start : start + tarfile.BLOCKSIZE]).strip(b"\0"):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
        if member.size < 0:
            raise ValueError(f"member {member.name!r} has the size {member.size}")
        start += tarfile.BLOCKSIZE
        yield member, memoryview(archive)[start : start + member.size]
        start += -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _parse_cifar10(content: bytes, path: Path) -> Images:
    if not 0 < len(content) <= CIFAR10_BATCH_BYTES or len(content) % CIFAR10_ROW:
        raise _damaged(path, f"{len(content):,} bytes are not up to 10,000 rows of {CIFAR10_ROW:,}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_ROW)
    return _checked(Images(rows[:, 1:], rows[:, 0]), path)


def _checked(images: Images, path: Path) -> Images:
    if images.labels.max() > 9:
        raise _damaged(path, f"the label {images.labels.max()}, where 0 to 9 are known")
    return images


def _read(path: Path, limit: int) -> bytes:
    """Read a file, decompressed if its name ends in .gz.

    A decompression bomb stops one byte past the limit.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not path.is_dir():  # a pipe could wait for ever
            raise OSError("it is not a file")
        # What is compressed at all is no longer than before, but for the headers.
        large = status.st_size > limit + HEADERS_BYTES
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content: bytes = b"" if large else file.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put the published file there"
        ) from error
    if large or len(content) > limit:
        raise _damaged(path, f"more than the {limit:,} bytes of the published file")
    return content


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(f"{path} is damaged ({problem}): replace it with the published file")


def _missing(folder: Path, names: Sequence[str]) -> list[str]:
    return [name for name in names if not os.access(folder / name, os.R_OK)]


def _require(folder: Path, names: Sequence[str], files: str) -> None:
    # (Path's own fails for a name that is too long.)
    if not os.path.isdir(folder) or not os.access(folder, os.R_OK):  # noqa: PTH112
        raise DataError(f"{folder} does not exist or cannot be read: make it a folder with {files}")
    if missing := _missing(folder, names):
        raise DataError(f"{folder} has no readable {', '.join(missing)}: put {files} there")


def _folder(config: DataConfig, files: Sequence[str], needed: Sequence[str]) -> Path:
    """The folder that should hold the needed ones of a dataset's files, downloaded if need be."""
    if config.dir is not None:
        if "\0" in config.dir:
            raise DataError(f"data.dir={config.dir!r} is no folder: no name holds a NUL byte")
        return Path(os.path.expanduser(config.dir))  # noqa: PTH111 (Path's own can fail)
    import pooch

    folder = Path(pooch.os_cache("population-sweep"), config.name)
    # The test files come with the others, so that judging needs no network, but stay unopened.
    for name in files:
        if name in needed or not os.access(folder / name, os.F_OK):
            _retrieve(config, name, folder, files)
    return folder


def _retrieve(config: DataConfig, name: str, folder: Path, files: Sequence[str]) -> None:
    """Download a file into the cache folder, unless it is there with the right checksum."""
    import pooch

    if not (checksum := config.files.get(name)):  # pooch would accept any content
        raise DataError(f"data.files has no checksum of {name}: add it, or set data.dir")
    pooch.get_logger().setLevel("WARNING")
    show = sys.stderr.isatty()
    download = pooch.HTTPDownloader(progressbar=show, chunk_size=1 << 16, timeout=(10, 30))
    url = f"{(config.url or '').rstrip('/')}/{name}"
    try:
        pooch.retrieve(url, checksum, name, folder, downloader=download)
    except (OSError, ValueError) as error:
        # The errors that network libraries wrap around the first one print objects, not reasons.
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        reason = "data.url is null" if config.url is None else str(cause).split(". ")[0]
        raise DataError(
            f"{name} could not be downloaded ({reason}): put {', '.join(files)} into a folder DIR "
            f"and set data.dir=DIR, or into {folder}"
        ) from error
