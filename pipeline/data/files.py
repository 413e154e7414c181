"""Reading of untrusted files with a bound on memory."""

from __future__ import annotations

import gzip
import stat
import zlib
from pathlib import Path

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
