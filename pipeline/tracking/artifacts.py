"""The completeness of a run's artifacts, and their durability on a local disk.

Each run has a tag with the size and the checksum of its artifacts. A run without its artifacts
cannot replace a job of another sweep.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.outcomes import Outcome
from pipeline.tracking.entities import FinishedRun
from pipeline.tracking.errors import TrackingError, translate_errors
from pipeline.tracking.store import Store

TAG = "artifacts"
# The artifacts of runs of earlier versions, which have no such tag. A model that diverged in its
# first epoch has no weights.
UNTAGGED = ("config.yaml", "weights.npz")
FSYNC_FOLDERS = 8  # from which on one call for all file systems is faster than five per folder


def manifest(folder: Path) -> str:
    """The value of the tag for the files of a folder: {name: [size in bytes, SHA-256]} as JSON."""
    files = {path.name: [path.stat().st_size, _checksum(path)] for path in sorted(folder.iterdir())}
    return json.dumps(files)


@translate_errors("check the artifacts of a run")
def are_complete(store: Store, run: FinishedRun) -> bool:
    """Whether the artifacts of a run exist with their recorded sizes and checksums.

    A server only reports sizes, so checksums are compared only if the artifacts are on this
    machine. For runs of earlier versions, the existence of the files is checked.
    """
    expected = _expected(run)
    folder = store.artifacts.local_folder(run.run_id)
    if folder is None:
        sizes = {file.path: file.file_size for file in store.client.list_artifacts(run.run_id)}
        return all(
            name in sizes and size in (None, sizes[name]) for name, (size, _) in expected.items()
        )
    return all(_is_complete(folder / name, *facts) for name, facts in expected.items())


def flush_artifacts(store: Store, run_ids: Iterable[str]) -> None:
    """Wait until the disk holds the artifacts of runs, if they are on this machine.

    Raises:
        TrackingError: an artifact cannot be read.
    """
    try:
        folders = [folder for run_id in run_ids if (folder := store.artifacts.local_folder(run_id))]
        if len(folders) > FSYNC_FOLDERS and sys.platform == "linux":
            os.sync()  # waits for the disk on Linux; on other systems it may return earlier
            return
        for folder in folders:
            for path in (*_files(folder), folder, folder.parent):
                _fsync(path)
    except OSError as error:
        raise TrackingError(f"the artifacts of a run cannot be written ({error})") from error


def _expected(run: FinishedRun) -> Mapping[str, tuple[Any, Any]]:
    with suppress(ValueError, TypeError, AttributeError):
        files = json.loads(run.artifacts)
        return {Path(name).name: (size, checksum) for name, (size, checksum) in files.items()}
    names = UNTAGGED[:1] if run.outcome == Outcome.DIVERGED else UNTAGGED
    return dict.fromkeys(names, (None, None))


def _is_complete(path: Path, size: Any, checksum: Any) -> bool:
    try:
        if size is None:
            return path.is_file()
        return bool(path.stat().st_size == size and _checksum(path) == checksum)
    except OSError:
        return False


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_symlink())


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
