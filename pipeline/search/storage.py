"""The database in which Optuna keeps a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.files import lock_file

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

LOCK_SECONDS = 60  # of waiting for another process that writes to a sqlite storage


def open_storage(url: str | None) -> RDBStorage | None:
    """Open or create a database.

    A sqlite file keeps a log of writes (WAL), as the MLflow store does: a trial writes its score
    after each epoch, and would otherwise wait for the disk as often.

    Args:
        url: of the database; None: the study is in memory, and there is no storage.

    Raises:
        optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError: it cannot be opened.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy import event

    if url is None:
        return None
    if not _is_sqlite(url):
        return RDBStorage(url)
    storage = RDBStorage(url, {"connect_args": {"timeout": LOCK_SECONDS}})
    event.listen(storage.engine, "connect", _use_log)
    storage.engine.dispose()  # of connections without the log
    return storage


def _use_log(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def lock_creation(url: str | None) -> Iterator[None]:
    """Exclude other processes while a study is created in a sqlite file.

    Two processes that create the tables of one file at the same time fail.

    Raises:
        OSError: the lock cannot be acquired.
    """
    if url is None or not _is_sqlite(url):
        yield
        return
    from sqlalchemy.engine import make_url

    path = Path(make_url(url).database or "")
    with lock_file(path.with_name(path.name + ".lock")):
        yield


def _is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:///")
