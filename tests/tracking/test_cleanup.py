"""Runs that crashed processes have left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.tracking import cleanup
from pipeline.tracking.store import Store


def test_only_runs_of_dead_processes_are_ended(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store = Store(uri)
    experiment = store.ensure_experiment("x")
    code = (
        "import os, sys; from pipeline.tracking.store import Store; s = Store(sys.argv[1]);"
        "s.start_run(sys.argv[2], 'dead', {}, None); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, uri, experiment], check=False)
    mine = store.start_run(experiment, "live", {}, None)
    silent, elsewhere = (
        store.start_run(experiment, name, {}, None) for name in ("silent", "elsewhere")
    )
    for run_id, beat in ((silent, "1700000000"), (elsewhere, "9e12")):
        store.log(run_id, tags={"host": "another machine", "heartbeat": beat})
    foreign = store.client.create_run(experiment, run_name="foreign").info.run_id
    cleanup.kill_orphaned_runs(store)
    runs = store.client.search_runs([experiment])
    status = {run.info.run_name: run.info.status for run in runs}
    assert status.pop("dead") == status.pop("silent") == "KILLED"
    assert status == dict.fromkeys(("live", "elsewhere", "foreign"), "RUNNING")
    assert {mine, silent, elsewhere, foreign} < {run.info.run_id for run in runs}
