"""The store is created once, opened again, and returns the runs that were written to it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from pipeline.execution.spec import RunContext
from pipeline.tracking import cleanup, queries
from pipeline.tracking.entities import DatasetInfo, Point
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.store import Store


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def store(uri: str) -> Store:
    return Store(uri)


def test_sweep_and_its_runs_are_read_back_as_written(store: Store, tmp_path: Path) -> None:
    experiment = store.ensure_experiment("a/b 'quoted'")
    assert store.ensure_experiment("a/b 'quoted'") == experiment
    sweep = store.start_sweep(experiment, "s1", "python -m pipeline -m x=1,2")
    assert queries.find_sweep(store, "s1") == sweep
    assert queries.find_sweep(store) == sweep
    ids = {n: store.start_run(experiment, f"n{n}", {"job": str(n)}, sweep) for n in (10, 9)}
    dataset = DatasetInfo("digits", "d" * 32, "scikit-learn", json.dumps({"num_train": 5}))
    points = [Point(e, 1000 + e, {"val_acc": e / 1000, "val_loss": 2.0}) for e in range(1, 701)]
    store.log(ids[9], points, {"hidden_size": 8}, {"outcome": "finished"}, dataset=dataset)
    np.savez(tmp_path / "weights.npz", W1=np.eye(2))
    store.artifacts.upload(ids[9], tmp_path)
    store.end_run(ids[9], "FINISHED")

    runs = queries.sweep_runs(store, sweep)
    assert list(runs["tags.job"]) == ["9", "10"]
    assert list(runs["status"]) == ["FINISHED", "RUNNING"]
    first = runs.iloc[0]
    assert first["params.hidden_size"] == "8"
    assert first["metrics.val_acc"] == 0.7
    assert first["tags.mlflow.parentRunId"] == sweep.run_id
    assert first["tags.version.python"] == sys.version.split()[0]
    curves = queries.curves(store, ids[9], ["val_acc", "val_loss"])
    assert list(curves.index) == list(range(1, 701))
    assert curves["val_acc"].iloc[-1] == 0.7
    (tmp_path / "copy").mkdir()
    with np.load(store.artifacts.download(ids[9], "weights.npz", tmp_path / "copy")) as file:
        assert (file["W1"] == np.eye(2)).all()
    with pytest.raises(TrackingError, match="has no artifact"):
        store.artifacts.download(ids[10], "weights.npz", tmp_path / "copy")
    dataset = store.client.get_run(ids[9]).inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("digits", "d" * 32)


def test_ui_opens_an_experiment_as_model_training(store: Store) -> None:
    tags = store.client.get_experiment(store.ensure_experiment("kind")).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"


def test_runs_on_several_pages_are_all_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = store.ensure_experiment("pages")
    sweep = store.start_sweep(experiment, "many", "…")
    for n in range(7):
        store.start_run(experiment, f"n{n}", {"job": str(n)}, sweep)
    whole = list(store.search("tags.sweep = 'many'", page=1000))
    paged = list(store.search("tags.sweep = 'many'", page=2))
    assert [run.info.run_id for run in paged] == [run.info.run_id for run in whole]
    assert len(queries.sweep_runs(store, sweep)) == 7


@pytest.mark.parametrize("name", ["nowhere", "it's", 'say "x"', "' OR tags.kind = 'sweep"])
def test_unknown_sweep_is_an_error_that_lists_the_latest_sweeps(store: Store, name: str) -> None:
    store.start_sweep(store.ensure_experiment("known"), "here", "…")
    with pytest.raises(TrackingError, match=r"the latest are .*here") as caught:
        queries.find_sweep(store, name)
    assert "\n" not in str(caught.value)


def test_store_without_sweeps_explains_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="there is no sweep yet"):
        queries.find_sweep(Store(f"sqlite:///{tmp_path}/new.db"))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/none/x.db", "ftp://x/y"])
def test_store_that_cannot_be_opened_is_named_in_one_sentence(uri: str) -> None:
    with pytest.raises(TrackingError, match="cannot be opened") as caught:
        Store(uri)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_a_store_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("these are my notes, not a database; the text is longer than a header\n" * 9)
    before = path.read_bytes()
    with pytest.raises(TrackingError, match="cannot be opened"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_processes_that_create_a_store_at_the_same_time_all_open_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mlflow.db.new").write_bytes(b"of a killed process")
    code = (
        "import sys; from pipeline.tracking.store import Store; "
        "Store(sys.argv[1]).ensure_experiment('x')"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, uri]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert not (tmp_path / "new" / "mlflow.db.new").exists()
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_runs_that_a_server_created_twice_are_deleted(
    place: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's client repeats a request whose answer was lost."""
    store, sweep = place.store, place.sweep
    assert sweep is not None
    store.start_sweep(place.experiment_id, sweep.name, "…")
    twins = [
        store.start_run(place.experiment_id, "job", {"job": str(job)}, sweep) for job in (0, 0, 1)
    ]
    store.end_run(twins[1], "FINISHED")
    cleanup.delete_duplicate_runs(store, sweep)
    jobs = list(store.search("tags.kind = 'job'", place.experiment_id))
    assert len(jobs) == 3  # sqlite loses no answers, so no run is deleted
    monkeypatch.setattr(store, "uri", "http://127.0.0.1")
    cleanup.delete_duplicate_runs(store, sweep)
    assert list(queries.sweep_runs(store, sweep)["run_id"]) == twins[1:]
    parents = list(store.search("tags.kind = 'sweep'", place.experiment_id))
    assert [run.info.run_id for run in parents] == [sweep.run_id]


def test_experiment_that_another_process_creates_meanwhile_is_used(
    store: Store, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, created = store.client.create_experiment, []

    def create_second(name: str, *arguments: Any) -> str:
        created.append(Store(uri).ensure_experiment(name))
        return str(create(name, *arguments))

    monkeypatch.setattr(store.client, "create_experiment", create_second)
    assert store.ensure_experiment("contested") == created[0]


def test_store_that_cannot_be_flushed_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    store.ensure_experiment("written")
    store.flush_to_disk()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TrackingError, match=r"could not flush the written runs in .*error"):
        store.flush_to_disk()


def test_commits_to_a_store_do_not_wait_for_the_disk(store: Store, uri: str) -> None:
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1  # normal
    finally:
        engine.dispose()
