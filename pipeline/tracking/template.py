"""An empty store in the user's cache folder. New stores are copies of it.

MLflow creates a store by running all of its migrations, which takes most of a second. The template
is made once per version of MLflow and set of migrations. Its schema is therefore the one that the
installed MLflow expects, and a store with the same schema need not be compared with the migrations.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path

from pipeline.process import temporary_name
from pipeline.tracking import locations, mlflow_compat


def current_revision() -> str | None:
    """The schema of the installed MLflow; None before a template has been made."""
    return _revision(_path())


def create_store(path: Path) -> None:
    """Write an empty store to a new file. Its artifacts are in `/mlartifacts`.

    Raises:
        OSError: the file cannot be written.
        sqlite3.Error: the file cannot be written.
    """
    template = _path()
    if _revision(template) is None:
        try:
            _make_template(template)
        except (OSError, sqlite3.Error):  # the cache folder cannot be written
            _migrate(path)
            return
    shutil.copyfile(template, path)
    now = time.time_ns() // 1_000_000
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "UPDATE experiments SET creation_time = ?, last_update_time = ?", [now] * 2
        )


def _path() -> Path:
    """The template of the installed MLflow, which may not exist."""
    import pooch

    migrations = "\n".join(mlflow_compat.migrations())
    digest = hashlib.sha256(migrations.encode()).hexdigest()[:12]
    return Path(pooch.os_cache("population-sweep"), f"mlflow-{version('mlflow')}-{digest}.db")


def _revision(template: Path) -> str | None:
    """The schema of a template; None if it is missing or damaged."""
    if not template.is_file():
        return None
    with suppress(sqlite3.Error, TypeError), closing(sqlite3.connect(template)) as database:
        (state,) = database.execute("PRAGMA quick_check").fetchone()
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        (count,) = database.execute("SELECT count(*) FROM experiments").fetchone()
        if (state, count) == ("ok", 1):
            return str(revision)
    return None


def _make_template(template: Path) -> None:
    template.parent.mkdir(parents=True, exist_ok=True)
    made = temporary_name(template)
    try:
        _migrate(made)
        made.replace(template)
    finally:
        made.unlink(missing_ok=True)


def _migrate(path: Path) -> None:
    """Let MLflow create a store in memory, and write it to a file.

    On the disk, each of the migrations would be flushed. MLflow does not escape quotes in the root
    of the artifacts, so the root has a neutral name until `sqlite` corrects it.
    """
    with (
        mlflow_compat.empty_store(f"/{locations.FOLDER}") as memory,
        closing(sqlite3.connect(path)) as database,
    ):
        memory.backup(database)
