"""Runs of other programs, and runs with odd tags, neither block a sweep nor are changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.tracking import cleanup, queries
from pipeline.tracking.errors import TrackingError
from pipeline.tracking.provenance import provenance
from pipeline.tracking.store import Store
from pipeline.uris import sqlite_uri
from tests.commands import report_of, succeed

OWN = {"mlflow.source.name": "pipeline"}
ODD_TAGS = [
    {"kind": "sweep"},
    {"kind": "sweep", "sweep": "x"},
    {"kind": "sweep", "sweep": "z", "command": "c", "searched": "[1]", "reused.0": "[[["},
    {"kind": "sweep", "sweep": "y", "command": "c", "searched": '{"a": 1}', "reused.x": '{"a": 1}'},
    {"kind": "job", "job": "x", "pid": "1"},
    {"kind": "job", "job": "1", "heartbeat": "soon", "host": "another machine", "pid": "1"},
    {"kind": "job", "job": "²", "pid": "x", "pid_started": "y"},
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(sqlite_uri(tmp_path / "outputs" / "mlflow.db"))
    experiment_id = store.ensure_experiment("digits")
    for tags in ODD_TAGS:
        for own in ({}, OWN):
            store.client.create_run(experiment_id, tags=tags | own)
    return store


def test_odd_runs_are_neither_sweeps_nor_jobs_and_keep_their_status(store: Store) -> None:
    experiment_id = store.ensure_experiment("digits")
    sweep = store.start_sweep(experiment_id, "mine", "…")
    for job in ("0", "x", "-1", "²", "9" * 30):
        store.start_run(experiment_id, "job", {"job": job}, sweep)
    before = {r.info.run_id: r.info.status for r in store.client.search_runs([experiment_id])}
    cleanup.kill_orphaned_runs(store)
    after = {r.info.run_id: r.info.status for r in store.client.search_runs([experiment_id])}
    assert after == before
    assert queries.find_sweep(store) == sweep
    assert list(queries.sweep_runs(store, sweep)["tags.job"]) == ["0"]
    with pytest.raises(TrackingError, match="there is no sweep 'x'"):
        queries.find_sweep(store, "x")  # its run has no command
    for name in ("y", "z"):
        odd = queries.find_sweep(store, name)
        assert odd.searched == {}
        assert queries.sweep_runs(store, odd).empty
        assert not queries.has_jobs(store, odd)


def test_sweep_and_report_work_in_a_store_with_odd_runs(store: Store, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    dead = {"pid": "999999999", "pid_started": "1", "host": os.uname().nodename}
    silent = provenance() | {"pid_namespace": "1", "heartbeat": "1700000000"}
    expected = {}
    for tags, status in ((dead, "RUNNING"), (dead | OWN, "KILLED"), (silent | OWN, "KILLED")):
        expected[store.client.create_run("0", tags=tags).info.run_id] = status
    succeed(outputs, "-m", "hidden_size=4,8", "num_epochs=1", "hydra.launcher.shards=1")
    # The sweep has ended the runs of dead processes of this project, and of no other program.
    found = {run_id: store.client.get_run(run_id).info.status for run_id in expected}
    assert found == expected
    sweep = queries.find_sweep(store)
    child = {"mlflow.parentRunId": sweep.run_id, "kind": "job", "outcome": "finished"}
    for job, value in (("5", "1e400"), ("6", "x" * 50), ("x", "nan")):
        tags = OWN | child | {"job": job, "num_train": "many", "halted_epoch": "²"}
        run_id = store.client.create_run(sweep.experiment_id, tags=tags).info.run_id
        store.client.log_param(run_id, "learning_rate", value)
        store.client.log_metric(run_id, "best_val_acc", float("nan"))
        store.client.set_terminated(run_id, "FINISHED")
    succeed(outputs, module="pipeline.report")
    assert len(report_of(outputs)["runs"]) == 4
