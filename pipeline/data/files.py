"""Reading of untrusted files with a bound on memory."""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from pathlib import Path

from pipeline.config import DataConfig
from pipeline.errors import DataError

HEADER_BYTES = 1 << 20  # more than the headers of any file or archive that is read here


def read_file(path: Path, limit: int) -> bytes:
    """Read a file, and decompress it if its name ends in .gz.

    A decompression bomb is read up to one byte past the limit.

    Args:
        path: the file.
        limit: the largest valid size of the decompressed content in bytes.

    Raises:
        DataError: the file cannot be read, is damaged, or is larger than the limit.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not path.is_dir():  # a pipe could block for ever
            raise OSError("it is not a file")
        # Compression never adds more than its own headers.
        large = status.st_size > limit + HEADER_BYTES
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content: bytes = b"" if large else file.read(limit + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}): put the published file there"
        ) from error
    if large or len(content) > limit:
        raise damaged(path, f"it has more than the {limit:,} bytes of the published file")
    return content


def damaged(path: Path, problem: str) -> DataError:
    """Return the error for a file that does not have its published content."""
    return DataError(f"{path} is damaged ({problem}): replace it with the published file")


def own_file(config: DataConfig, what: str) -> Path:
    """Return the path of data.file after checking that it is a readable file.

    Args:
        config: the group `data`.
        what: a description of the file, for messages.

    Raises:
        DataError: data.file is not set, or is not a readable file.
    """
    if not config.file:
        raise DataError(f"data={config.kind} needs {what}: set data.file=FILE")
    try:
        path = Path(os.path.expanduser(config.file)).absolute()  # noqa: PTH111 (can raise)
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is not a file")
        path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"data.file={config.file} cannot be read ({reason}): set it to {what}"
        ) from error
    return path
