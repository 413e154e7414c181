"""Opens and creates sqlite stores."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.files import lock_file
from pipeline.tracking import locations, mlflow_compat, template
from pipeline.tracking.errors import LOCK_SECONDS, TrackingError, reason

log = logging.getLogger("pipeline")


def database_path(uri: str) -> Path:
    """The database file of a sqlite URI.

    Raises:
        TrackingError: the URI is malformed, or names a database in memory.
    """
    try:
        path = make_url(uri).database
    except ArgumentError as error:
        raise TrackingError(
            f"tracking.uri={uri} is not a URI of a database: write it as in "
            "sqlite:////home/ann/mlflow.db"
        ) from error
    if not path or path == ":memory:":
        raise TrackingError(
            f"tracking.uri={uri} is a database in memory, which ends with the command: name a "
            "file, as in sqlite:////home/ann/mlflow.db"
        )
    return Path(path).resolve()


def open_database(uri: str) -> Path:
    """Open a sqlite store, which is created if necessary, in write-ahead mode.

    Processes that create a store at the same time take turns. If the folder has been moved since
    the last time, the recorded locations of the artifacts are corrected.

    Returns:
        The folder of the artifacts, next to the database.

    Raises:
        OSError: the folder cannot be written, or another process holds the lock for too long.
        sqlite3.Error: the file is not a database.
        TrackingError: another version of MLflow has written the store, and it cannot be upgraded.
    """
    path = database_path(uri)
    root = path.parent / locations.FOLDER
    mlflow_compat.keep_folders()
    with lock_file(path.with_name(path.name + ".lock")):
        if path.exists():
            _upgrade_if_outdated(path)
        else:
            _create(path)
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
            database.execute("PRAGMA journal_mode=wal")
            with database:
                _relocate_artifacts(database, root)
    return root


def schema_revision(uri: str) -> str | None:
    """The revision of MLflow's schema in a sqlite store; None if the database has none."""
    with closing(sqlite3.connect(database_path(uri), timeout=LOCK_SECONDS)) as database:
        return _revision(database)


def flush_to_disk(uri: str) -> None:
    """Wait until the disk holds every committed transaction."""
    path = database_path(uri)
    with suppress(FileNotFoundError), path.with_name(path.name + "-wal").open("rb") as file:
        os.fsync(file.fileno())


def _relocate_artifacts(database: sqlite3.Connection, root: Path) -> None:
    """Correct recorded locations after a move, so that MLflow's UI and registry find the files.

    A location stays as it is if only the recorded one exists. New runs of an experiment always
    write to `root`.
    """
    right = f"{root.as_uri()}/"
    for table, column in mlflow_compat.artifact_columns(database):
        query = (
            f"SELECT DISTINCT {column} FROM {table} "
            f"WHERE {column} LIKE ? AND substr({column}, 1, ?) != ?"
        )
        moved = [f"%/{locations.FOLDER}/%", len(right), right]
        for (old,) in database.execute(query, moved).fetchall():
            new = locations.relocate(old, root)
            is_moved = table == "experiments" or locations.exists(new) or not locations.exists(old)
            if new != old and is_moved:
                update = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
                database.execute(update, [new, old])


def _create(path: Path) -> None:
    """Create a store in one step: a process that dies here leaves no incomplete store."""
    made = path.with_name(path.name + ".new")
    made.unlink(missing_ok=True)  # left by a process that died here
    try:
        template.create_store(made)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _revision(database: sqlite3.Connection) -> str | None:
    try:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.OperationalError, TypeError):
        return None
    return str(revision)


def _upgrade_if_outdated(path: Path) -> None:
    """Migrate a store that an earlier MLflow has written, after a backup next to it.

    MLflow itself would migrate some stores without a backup and refuse the others.
    """
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database:
        revision = _revision(database)
        if revision is None:
            return  # not a store of MLflow, whose own error explains the problem
        if revision == template.current_revision():
            return
        status = mlflow_compat.schema_status(revision)
        if status == "current":
            return
        installed = f"mlflow {version('mlflow')}"
        if status == "unknown":
            raise TrackingError(
                f"the store at {path} has the schema {revision}, which {installed} does not know: "
                "install the MLflow version that wrote it"
            )
        backup = path.with_name(f"{path.name}.{revision}.backup")
        with closing(sqlite3.connect(backup)) as copy:
            database.backup(copy)
    try:
        mlflow_compat.upgrade_schema(f"sqlite:///{path}")
    except SQLAlchemyError as error:
        raise TrackingError(
            f"the store at {path} cannot be upgraded to {installed} ({reason(error)}): restore "
            f"its earlier content from {backup} and install the MLflow version that wrote it"
        ) from error
    log.warning("upgraded %s to %s; its earlier content is in %s", path, installed, backup)


@event.listens_for(Engine, "connect")
def _skip_flush_per_commit(connection: object, _: object) -> None:
    """Let a commit return before the disk holds it; `flush_to_disk` waits for many at once.

    This is safe in write-ahead mode: a power failure can lose the latest transactions, but the
    transactions before them stay complete.
    """
    if isinstance(connection, sqlite3.Connection):
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            connection.execute("PRAGMA synchronous=normal")
