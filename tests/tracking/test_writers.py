"""Both ways of writing to a sqlite store leave the same rows, and refuse the same values."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking.entities import DatasetInfo, Point
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.sqlite_writer import REVISION, SqliteWriter
from pipeline.tracking.store import Store
from pipeline.tracking.writer import ClientWriter

DIGITS = DatasetInfo("digits", "d" * 32, "scikit-learn", '{"num_train": 5}')
WAYS = ("client", "transaction")
# Columns whose values depend on the time or on chance. Each value becomes its rank in its store.
TIMES = ("start_time", "end_time", "creation_time", "last_update_time")
IDS = ("run_uuid", "destination_id", "source_id", "dataset_uuid", "input_uuid")


def store_of(way: str, folder: Path) -> Store:
    """A new store that is written in one of the two ways."""
    store = Store(f"sqlite:///{folder / way}/mlflow.db")
    assert isinstance(store._writer, SqliteWriter)
    if way == "client":
        store._writer = ClientWriter(store.client)
    return store


@pytest.fixture(params=WAYS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return store_of(request.param, tmp_path)


def rows(store: Store, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, with times and random IDs replaced."""
    names: dict[str, str] = {}
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database:
        database.row_factory = sqlite3.Row
        for run_id, name in database.execute("SELECT run_uuid, name FROM runs").fetchall():
            names[run_id] = f"run {name}"
        for (id_,) in database.execute("SELECT dataset_uuid FROM datasets").fetchall():
            names[id_] = "dataset"
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(
                (
                    _normalised(dict(row), names, folder)
                    for row in database.execute(f'SELECT * FROM "{name}"')
                ),
                key=repr,
            )
            for (name,) in tables
        }


def _normalised(row: dict[str, Any], names: dict[str, str], folder: Path) -> dict[str, Any]:
    for column, value in row.items():
        if column in TIMES and value is not None:
            row[column] = "a time"
        elif column == "input_uuid" or (row.get("key") == "heartbeat" and column == "value"):
            row[column] = "any"
        elif isinstance(value, str):
            for id_, name in names.items():
                value = value.replace(id_, name)
            row[column] = value.replace(str(folder), "folder")
    return row


def write_everything(store: Store) -> None:
    """Write all kinds of rows: new, repeated, changed, not finite, and more than one batch."""
    experiment = store.ensure_experiment("compare")
    sweep = store.start_sweep(experiment, "s1", "python -m pipeline -m x=1,2", 3, ["seed"])
    sweep = store.log_search_space(sweep, {"seed": {"low": 1, "high": 2, "log": False}})
    curves = [
        Point(epoch, 1000 + epoch, {"val_acc": epoch / 700, "val_loss": 2.0})
        for epoch in range(1, 701)
    ]
    first = store.start_run(experiment, "first", {"job": "1"}, sweep)
    store.log(first, curves, {"lr": 0.1, "long": "ü" * 7000}, {"outcome": "x"}, dataset=DIGITS)
    store.log(first, curves[-2:], {"lr": 0.1}, {"outcome": "finished"}, dataset=DIGITS)
    store.log(first, [Point(700, 1700, {"val_acc": 0.5}), Point(3, 9, {"val_acc": 1.0})])
    store.log(first, status="FINISHED")

    second = store.start_run(experiment, "second", {}, sweep)
    odd = {"nan": math.nan, "up": math.inf, "down": -math.inf, "zero": 0.0, "whole": 3}
    store.log(second, [Point(0, 5, odd), Point(0, 5, odd)], dataset=DIGITS)
    later = [Point(0, 5, {"nan": 0.0, "zero": math.nan, "up": 1.0, "down": 1.0})]
    store.log(second, later, status="FAILED")

    alone = store.start_run(experiment, "alone", {}, None)
    store.log(alone, dataset=DatasetInfo("digits", "e" * 32, "here", "{}"))
    store.heartbeat(alone)
    store.end_run(alone, "KILLED")
    store.link_reused_runs(sweep, {number: f"{number:032x}" for number in range(200)})
    store.log_summary(sweep, "# Report", first)
    store.end_run(sweep.run_id, "FINISHED")


def test_one_transaction_leaves_the_rows_that_the_client_leaves(tmp_path: Path) -> None:
    found = []
    for way in WAYS:
        store = store_of(way, tmp_path)
        write_everything(store)
        found.append(rows(store, tmp_path / way))
    client, transaction = found
    assert client.keys() == transaction.keys()
    for table in client:
        assert transaction[table] == client[table], table
    filled = {table for table in client if client[table]}
    assert filled >= {"runs", "tags", "params", "metrics", "latest_metrics"}
    assert filled >= {"datasets", "inputs", "input_tags", "experiments"}


def test_a_run_is_read_back_through_the_client(store: Store) -> None:
    run_id = store.start_run(store.ensure_experiment("e"), "", {"a": "b"}, None)
    values = {"nan": math.nan, "up": math.inf}
    store.log(run_id, [Point(1, 2, values)], {"p": None}, dataset=DIGITS, status="FINISHED")
    run = store.client.get_run(run_id)
    assert run.info.run_name and run.data.tags["mlflow.runName"] == run.info.run_name
    assert run.info.status == "FINISHED" and run.info.end_time >= run.info.start_time
    assert math.isnan(run.data.metrics["nan"]) and run.data.metrics["up"] > 1e308
    assert run.data.params == {"p": "None"} and run.data.tags["a"] == "b"
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "digits" and used.tags[0].value == "training"


@pytest.mark.parametrize(
    "arguments",
    [
        {"params": {"lr": 0.2}},
        {"points": [Point(1, 1, {"bad\nname": 1.0})]},
        {"tags": {"": "empty"}},
        {"dataset": DatasetInfo("x" * 600, "d", "here", "{}")},
    ],
)
def test_a_refused_update_writes_nothing(
    store: Store, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    run_id = store.start_run(store.ensure_experiment("e"), "n", {}, None)
    store.log(run_id, params={"lr": 0.1})
    before = rows(store, tmp_path)
    with pytest.raises(TrackingError):
        store.log(run_id, **{"tags": {"new": "tag"}, **arguments})
    after = rows(store, tmp_path)
    assert isinstance(store._writer, ClientWriter) or after == before


@pytest.mark.parametrize("run_id", ["0" * 32, "deleted"])
def test_a_missing_or_deleted_run_is_not_written(store: Store, run_id: str) -> None:
    if run_id == "deleted":
        run_id = store.start_run(store.ensure_experiment("e"), "n", {}, None)
        store.client.delete_run(run_id)
    with pytest.raises(TrackingError, match=run_id):
        store.log(run_id, tags={"a": "b"})


def test_no_run_is_created_in_a_deleted_experiment(store: Store) -> None:
    experiment = store.ensure_experiment("gone")
    store.client.delete_experiment(experiment)
    with pytest.raises(TrackingError):
        store.start_run(experiment, "n", {}, None)


def test_a_store_with_another_schema_is_written_through_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.sqlite_writer.REVISION", f"not {REVISION}")
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    assert isinstance(store._writer, ClientWriter)


@pytest.fixture
def locked(store: Store) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_locked_store_is_reported_after_the_retries(
    store: Store, locked: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tracking.errors.LOCK_SECONDS", 0)
    if isinstance(store._writer, ClientWriter):
        pytest.skip("MLflow waits for 20 seconds, whatever the setting")
    monkeypatch.setattr("pipeline.tracking.sqlite_writer.BUSY_SECONDS", 0.1)
    store._writer = SqliteWriter(store.uri)
    with pytest.raises(TrackingError, match="database is locked"):
        store.log("0" * 32, tags={"a": "b"})
    locked.rollback()
