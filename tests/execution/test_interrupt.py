"""Ctrl-C of a real sweep: a terminal sends it to every process of the group."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np

from tests.torture.command import Command
from tests.torture.results import jobs_of, read_runs

SWEEP = ("-m", "hidden_size=8,12,16,20", "hydra.launcher.shards=2", "num_epochs=20000")


def test_ctrl_c_to_the_process_group_leaves_a_checkpoint_of_every_job(tmp_path: Path) -> None:
    """Checkpoints are due every 5 minutes: only the reaction to the signal can write them."""
    outputs = tmp_path / "outputs"
    database = outputs / "mlflow.db"
    command = Command(outputs, *SWEEP, "learning_rate=0.1")
    give_up = time.monotonic() + 100
    while not (database.exists() and any(run.metrics for run in jobs_of(read_runs(database)))):
        assert command.runs_for(0)
        assert time.monotonic() < give_up
        time.sleep(0.1)
    command.signal(signal.SIGINT, group=True)
    ended = command.end()
    assert (ended.code, "Traceback" in ended.said) == (130, False), ended.said
    files = list((outputs / "checkpoints").glob("*.npz"))
    assert len(files) == 4
    assert min(len(np.load(path)["curve"]) for path in files) > 0
    assert [run.status for run in jobs_of(read_runs(database))] == ["KILLED"] * 4
