"""Temporary folders that do not outlive their process by long."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "population-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder, and delete those of processes that were killed.

    A process holds a lock on ``population-ID.lock`` as long as it uses the folder ``population-ID``
    beside it. The system releases the lock when the process dies, in any container. So a folder
    whose lock is free belongs to nobody.

    Raises:
        OSError: the folder cannot be created.
    """
    parent = Path(tempfile.gettempdir())
    _delete_abandoned(parent)
    folder = parent / f"{PREFIX}{uuid.uuid4().hex}"
    lock = FileLock(_lock_path(folder), thread_local=False)
    with lock.acquire():
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            _lock_path(folder).unlink(missing_ok=True)


def _delete_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*.lock"):
        with suppress(Timeout, OSError), FileLock(path, blocking=False):
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink()


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
