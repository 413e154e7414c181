"""The folder of a published dataset: set by data.dir, or a cache that a download fills."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import DataConfig
from pipeline.errors import DataError

TIMEOUTS = (10, 30)  # seconds to connect, and between two packets


def data_folder(config: DataConfig, files: Sequence[str], needed: Sequence[str]) -> Path:
    """Return the folder of a dataset's files. Download into the cache folder if data.dir is null.

    The test files are downloaded together with the others, so that evaluating a model later needs
    no network. They are not opened.

    Args:
        config: the group `data`.
        files: all files of the dataset.
        needed: the files that the caller will open.

    Raises:
        DataError: data.dir is not a path, or a download failed.
    """
    if config.dir is not None:
        if "\0" in config.dir:
            raise DataError(f"data.dir={config.dir!r} is not a folder: a path has no NUL byte")
        return Path(os.path.expanduser(config.dir))  # noqa: PTH111 (Path.expanduser can raise)
    import pooch

    folder = Path(pooch.os_cache("population-sweep"), config.name)
    for name in files:
        if name in needed or not os.access(folder / name, os.F_OK):
            _download(config, name, folder, files)
    return folder


def missing_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the files that are not in the folder or cannot be read."""
    return [name for name in names if not os.access(folder / name, os.R_OK)]


def require_files(folder: Path, names: Sequence[str], wanted: str) -> None:
    """Check that a folder has these files.

    Raises:
        DataError: the folder or a file is missing or unreadable; the message asks for `wanted`.
    """
    # Path.is_dir raises if the name is too long.
    if not os.path.isdir(folder) or not os.access(folder, os.R_OK):  # noqa: PTH112
        raise DataError(
            f"{folder} does not exist or cannot be read: create this folder with {wanted}"
        )
    if missing := missing_files(folder, names):
        raise DataError(f"{folder} has no readable {', '.join(missing)}: put {wanted} there")


def _download(config: DataConfig, name: str, folder: Path, files: Sequence[str]) -> None:
    """Download a file into the cache folder, unless it is there with the right checksum."""
    import pooch

    if not (checksum := config.files.get(name)):  # pooch would accept any content
        raise DataError(f"data.files has no checksum for {name}: add it, or set data.dir")
    pooch.get_logger().setLevel("WARNING")
    progress = sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=TIMEOUTS)
    url = f"{(config.url or '').rstrip('/')}/{name}"
    try:
        pooch.retrieve(url, checksum, name, folder, downloader=downloader)
    except (OSError, ValueError) as error:
        reason = "data.url is null" if config.url is None else _root_cause(error)
        raise DataError(
            f"{name} could not be downloaded ({reason}): put {', '.join(files)} into a folder DIR "
            f"and set data.dir=DIR, or into {folder}"
        ) from error


def _root_cause(error: BaseException) -> str:
    """Return the first error's text. The errors that wrap it print objects instead of reasons."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).split(". ")[0]
