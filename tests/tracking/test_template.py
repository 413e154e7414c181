"""A new store is a copy of a template, which equals a store that MLflow's migrations create."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.tracking import mlflow_compat, template
from pipeline.tracking.store import Store


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the user."""
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cache")
    return tmp_path / "cache"


def content(path: Path) -> list[str]:
    """The columns and the rows of a store, without times.

    The order of indexes, and of the allowed values of a column, changes from one store to the next.
    """
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE experiments SET creation_time = 0, last_update_time = 0")
        parts = sorted(database.execute("SELECT name, type, tbl_name FROM sqlite_master"))
        columns = [
            str(column)
            for name, _, _ in parts
            for column in database.execute(f'PRAGMA table_info("{name}")')
        ]
        rows = [line for line in database.iterdump() if line.startswith("INSERT")]
        return [*map(str, parts), *columns, *rows]


def open_new(folder: Path) -> Path:
    folder.mkdir()
    Store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


def test_a_copy_of_the_template_equals_a_store_of_the_migrations(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(template, "_make_template", lambda path: path.touch())  # no such folder
        migrated = open_new(tmp_path / "a")
    open_new(tmp_path / "b")
    assert len(list(cache.iterdir())) == 1
    monkeypatch.delattr(mlflow_compat, "empty_store")
    copied = open_new(tmp_path / "c")
    assert content(copied) == [line.replace("/a/", "/c/") for line in content(migrated)]


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_a_damaged_template_is_made_again(cache: Path, tmp_path: Path, damage: str) -> None:
    first = open_new(tmp_path / "a")
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "truncated": whole[:50_000], "text": b"text"}[damage])
    second = open_new(tmp_path / "b")
    assert path.stat().st_size == len(whole)
    assert content(second) == [line.replace("/a/", "/b/") for line in content(first)]


def test_a_store_is_created_without_a_cache_folder(cache: Path, tmp_path: Path) -> None:
    cache.write_text("a file, where a folder should be")
    assert content(open_new(tmp_path / "a"))


def test_the_default_experiment_of_a_copy_is_as_old_as_the_copy(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_new(tmp_path / "a")
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    store = Store(f"sqlite:///{tmp_path}/later.db")
    assert store.client.get_experiment("0").creation_time == 10**12
