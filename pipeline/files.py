"""Atomic writes, temporary folders and file locks."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.process import is_abandoned, temporary_name, this_process

NOTICE_SECONDS = 5  # of waiting for a lock before a warning
LOCK_SECONDS = 60  # of waiting for a lock before an error
MAX_AGE = 7 * 24 * 3600  # seconds after which a temporary file of an unknown process is deleted

log = logging.getLogger("pipeline")


def atomic_write(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file that is seen complete or not at all, even if the power fails.

    Raises:
        OSError: the file cannot be written; an earlier file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_link(source: Path, path: Path) -> None:
    """Let `path` name the same file as `source`. An earlier file is replaced in one step.

    Where the file system has no hard links, the content is copied.

    Raises:
        OSError: the file cannot be written; an earlier file is untouched.
    """
    temporary = temporary_name(path)
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:
        atomic_write(path, lambda file: file.write(source.read_bytes()))
    else:
        temporary.replace(path)
        temporary.unlink(missing_ok=True)  # stays if both paths named the same file before


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in `parent`, and remove it at the end of the block.

    If the process is killed, `delete_abandoned` removes the folder.

    Raises:
        OSError: the folder cannot be created.
    """
    suffix = f".{this_process()}.tmp"
    with tempfile.TemporaryDirectory(prefix=".", suffix=suffix, dir=parent) as folder:
        yield Path(folder)


def delete_abandoned(parent: Path) -> None:
    """Delete the temporary files and folders of processes that were killed."""
    for path in parent.glob("*.tmp"):
        with suppress(OSError):  # another process may have deleted it
            if not is_abandoned(path) and time.time() - path.lstat().st_mtime < MAX_AGE:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, which is created if necessary and never truncated.

    Raises:
        TimeoutError: another process has held the lock for `LOCK_SECONDS`.
        OSError: the file cannot be opened, or is a symbolic link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=NOTICE_SECONDS)
    except Timeout:
        log.warning("waiting for %s, which another process has locked", path)
        try:
            lock.acquire(timeout=LOCK_SECONDS - NOTICE_SECONDS)
        except Timeout:
            raise TimeoutError(
                f"another process has locked {path} for {LOCK_SECONDS} seconds"
            ) from None
    try:
        yield
    finally:
        lock.release()
