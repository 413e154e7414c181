"""Opens and creates sqlite stores."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

from pipeline.files import lock_file
from pipeline.tracking import mlflow_compat
from pipeline.tracking.errors import LOCK_SECONDS

PREFIX = "sqlite:///"


def database_path(uri: str) -> Path:
    """The database file of a sqlite URI."""
    return Path(uri.removeprefix(PREFIX)).resolve()


def open_database(uri: str) -> Path:
    """Open a sqlite store, which is created if necessary, in write-ahead mode.

    Processes that create a store at the same time take turns.

    Returns:
        The folder of the artifacts, next to the database.

    Raises:
        OSError: the folder cannot be written, or another process holds the lock for too long.
        sqlite3.Error: the file is not a database.
    """
    path = database_path(uri)
    with lock_file(path.with_name(path.name + ".lock")):
        if not path.exists():
            _create(path)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            database.execute("PRAGMA journal_mode=wal")
    return path.parent / "mlartifacts"


def flush_to_disk(uri: str) -> None:
    """Wait until the disk holds every committed transaction."""
    path = database_path(uri)
    with suppress(FileNotFoundError), path.with_name(path.name + "-wal").open("rb") as file:
        os.fsync(file.fileno())


def _create(path: Path) -> None:
    """Create a store in memory and write it to the disk in one step.

    MLflow runs many migrations. On the disk each of them would be flushed, and a process that died
    between two of them would leave an incomplete store.
    """
    made = path.with_name(path.name + ".new")
    made.unlink(missing_ok=True)  # left by a process that died here
    try:
        with (
            mlflow_compat.empty_store(str(path.parent / "mlartifacts")) as memory,
            closing(sqlite3.connect(made)) as database,
        ):
            memory.backup(database)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


@event.listens_for(Engine, "connect")
def _skip_flush_per_commit(connection: object, _: object) -> None:
    """Let a commit return before the disk holds it; `flush_to_disk` waits for many at once.

    This is safe in write-ahead mode: a power failure can lose the latest transactions, but never a
    part of one, nor one before another.
    """
    if isinstance(connection, sqlite3.Connection):
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=normal")
