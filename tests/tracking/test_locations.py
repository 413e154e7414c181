"""Artifacts stay next to the database after a move, and under any name of the folder."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from pipeline.tracking import queries
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.locations import folder_name, relocate
from pipeline.tracking.store import Store
from pipeline.uris import redact, sqlite_uri


def write_run(store: Store, experiment: str, folder: Path, text: str = "weights") -> str:
    """Log a run with one artifact; returns its ID."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    (source / "file.txt").write_text(text)
    experiment_id = store.ensure_experiment(experiment)
    sweep = store.start_sweep(experiment_id, "s", "…")
    run_id = store.start_run(experiment_id, "job", {"job": "0"}, sweep)
    store.artifacts.upload(run_id, source)
    store.end_run(run_id, "FINISHED")
    return run_id


def read(store: Store, run_id: str, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return store.artifacts.download(run_id, "file.txt", folder).read_text()


ODD = ["a b", "a'b\"c", "a\\b", "a%20b", "a#b", "a?b", "a+b", "aé日", "${x}", "mlartifacts"]


@pytest.mark.parametrize("name", ODD)
def test_store_in_a_folder_with_an_odd_name_keeps_everything_there(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "root" / name
    store = Store(sqlite_uri(folder / "mlflow.db"))
    run_id = write_run(store, name, tmp_path)
    assert read(Store(store.uri), run_id, tmp_path / "copy") == "weights"
    assert list((tmp_path / "root").iterdir()) == [folder]
    default = store.client.get_experiment("0").artifact_location
    assert default.startswith((folder / "mlartifacts").as_uri())
    assert {path.name for path in folder.iterdir()} >= {"mlflow.db", "mlartifacts"}


@pytest.mark.parametrize("name", ["my experiment", "..", ".", "a/../../b", "100%", "é", "x" * 300])
def test_experiment_folder_has_a_safe_name_inside_mlartifacts(tmp_path: Path, name: str) -> None:
    store = Store(sqlite_uri(tmp_path / "out" / "mlflow.db"))
    run_id = write_run(store, name, tmp_path)
    (folder,) = (tmp_path / "out" / "mlartifacts").iterdir()
    assert folder.name == folder_name(name)
    assert "%" not in folder.name and not folder.name.startswith(".")
    assert read(store, run_id, tmp_path / "copy") == "weights"


def test_experiment_folder_keeps_a_name_that_is_safe() -> None:
    assert folder_name("digits") == "digits"
    assert len({folder_name(name) for name in ("a b", "a_b", "a/b", "a%b")}) == 4


def test_moved_store_finds_its_artifacts_and_never_recreates_the_old_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_id = write_run(Store(sqlite_uri(old / "mlflow.db")), "digits", tmp_path)
    old.rename(new)
    store = Store(sqlite_uri(new / "mlflow.db"))
    assert read(store, run_id, tmp_path / "copy") == "weights"
    second = write_run(store, "digits", tmp_path, "new weights")
    assert read(store, second, tmp_path / "copy2") == "new weights"
    assert not old.exists()
    # MLflow's UI and registry read the location from the database.
    assert store.client.get_run(run_id).info.artifact_uri.startswith(new.as_uri())
    assert store.client.get_experiment_by_name("digits").artifact_location.startswith(new.as_uri())


def test_copied_store_writes_to_its_own_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_id = write_run(Store(sqlite_uri(old / "mlflow.db")), "digits", tmp_path)
    shutil.copytree(old, new)
    before = sorted(old.rglob("*.txt"))
    store = Store(sqlite_uri(new / "mlflow.db"))
    write_run(store, "digits", tmp_path, "new weights")
    assert sorted(old.rglob("*.txt")) == before
    assert store.client.get_run(run_id).info.artifact_uri.startswith(new.as_uri())


def test_copied_database_reads_artifacts_that_stayed_behind(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    run_id = write_run(Store(sqlite_uri(old / "mlflow.db")), "digits", tmp_path)
    new.mkdir()
    with sqlite3.connect(old / "mlflow.db") as source, sqlite3.connect(new / "mlflow.db") as copy:
        source.backup(copy)
    store = Store(sqlite_uri(new / "mlflow.db"))
    assert read(store, run_id, tmp_path / "copy") == "weights"
    assert list(queries.sweep_runs(store, queries.find_sweep(store))["run_id"]) == [run_id]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("file:///old/mlartifacts/x/1/artifacts", "file:///new/mlartifacts/x/1/artifacts"),
        ("/old/mlartifacts/0", "file:///new/mlartifacts/0"),
        (
            "file:///new/mlartifacts/my%2520experiment/1",
            "file:///new/mlartifacts/my%2520experiment/1",
        ),
        ("s3://bucket/mlartifacts/x", "s3://bucket/mlartifacts/x"),
        ("mlflow-artifacts:/mlartifacts/x", "mlflow-artifacts:/mlartifacts/x"),
        ("file:///elsewhere/x", "file:///elsewhere/x"),
    ],
)
def test_only_local_locations_in_mlartifacts_are_relocated(location: str, expected: str) -> None:
    assert relocate(location, Path("/new/mlartifacts")) == expected


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_database_in_memory_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"in memory.*name a file"):
        Store(uri)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:secret@db:5432/x", "postgresql://***@db:5432/x"),
        ("at https://token@host/ and ftp://a:b@c", "at https://***@host/ and ftp://***@c"),
        ("tracking.uri='http://u:p@ss@host'", "tracking.uri='http://***@host'"),
        ("sqlite:////home/ann/a@b/mlflow.db", "sqlite:////home/ann/a@b/mlflow.db"),
        ("http://host/path@x ann@example.org", "http://host/path@x ann@example.org"),
        ("postgresql://ann:se/c@db/x", "postgresql://***@db/x"),
        ("mysql://ann:it's@db/x", "mysql://***@db/x"),
        ("mysql://db/x?user=ann&password=secret", "mysql://db/x?user=ann&password=***"),
        ("http://${oc.env:U}:${oc.env:P}@host", "http://${oc.env:U}:${oc.env:P}@host"),
        ("http://ann:${oc.env:P}@host", "http://***:${oc.env:P}@host"),
    ],
)
def test_redact_replaces_user_and_password_only(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_password_is_neither_in_errors_nor_in_the_command_of_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(TrackingError) as caught:
        Store("http://ann:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)
    store = Store(sqlite_uri(tmp_path / "mlflow.db"))
    command = "python -m pipeline -m tracking.uri=http://ann:secret@127.0.0.1:9"
    sweep = store.start_sweep(store.ensure_experiment("x"), "s", command)
    assert "secret" not in sweep.command
    assert b"secret" not in (tmp_path / "mlflow.db-wal").read_bytes()


def test_deleted_experiment_is_named_with_the_command_that_restores_it(tmp_path: Path) -> None:
    store = Store(sqlite_uri(tmp_path / "mlflow.db"))
    experiment_id = store.ensure_experiment("digits")
    store.client.delete_experiment(experiment_id)
    with pytest.raises(TrackingError) as caught:
        store.ensure_experiment("digits")
    restore = f"MLFLOW_TRACKING_URI={store.uri} mlflow experiments restore -x {experiment_id}"
    assert "'digits' has been deleted" in str(caught.value)
    assert restore in str(caught.value)
    store.client.restore_experiment(experiment_id)
    assert store.ensure_experiment("digits") == experiment_id
