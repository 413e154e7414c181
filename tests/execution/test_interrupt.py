"""Ctrl-C of a real sweep: a terminal sends it to every process of the group."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.commands import run_code
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


# The import of a module is interrupted, and its library makes another error of that.
INTERRUPTED_IMPORT = """
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, *_):
        if name == module:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt as error:
                raise ImportError("cannot import its C extension") from error
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["mlflow", "alembic"])
def test_signal_that_a_library_turns_into_another_error_is_no_traceback(
    tmp_path: Path, module: str
) -> None:
    done = run_code(tmp_path, INTERRUPTED_IMPORT, module, "-m", "hidden_size=8,16")
    assert (done.returncode, "Traceback" in done.stderr) == (143, False), done.stderr
    assert "stopped; to resume: " in done.stderr
    assert not (tmp_path / "mlflow.db").exists()
