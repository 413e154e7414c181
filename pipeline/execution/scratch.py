"""Temporary folders and semaphores that are removed even if their process is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

PREFIX = "population-"
SHARED_MEMORY = Path("/dev/shm")  # where Linux keeps the semaphores of loky's workers


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a temporary folder, and remove the files of killed processes.

    A process holds a lock on ``population-ID.lock`` as long as it uses the folder
    ``population-ID``. The system releases the lock when the process dies, in whichever container it
    ran. So a folder whose lock is free is abandoned.

    Raises:
        OSError: the folder cannot be created.
    """
    parent = Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    folder = parent / f"{PREFIX}{uuid.uuid4().hex}"
    with FileLock(f"{folder}.lock", thread_local=False):
        folder.mkdir(mode=0o700)
        try:
            (folder / "pid").write_text(str(os.getpid()), encoding="ascii")
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(f"{folder}.lock").unlink(missing_ok=True)


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"{PREFIX}*.lock"):
        with suppress(Timeout, OSError), FileLock(lock, blocking=False):
            folder = lock.with_suffix("")
            _remove_shared_memory(folder / "pid")
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _remove_shared_memory(pid_file: Path) -> None:
    """Remove the shared memory of joblib and loky whose process was killed."""
    try:
        pid = int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if psutil.pid_exists(pid):  # a new process with this number
        return
    for path in SHARED_MEMORY.glob(f"sem.loky-{pid}-*"):
        path.unlink(missing_ok=True)
    for path in SHARED_MEMORY.glob(f"joblib_memmapping_folder_{pid}_*"):
        shutil.rmtree(path, ignore_errors=True)
