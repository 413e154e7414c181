"""A dead or narrow output stream costs its characters and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import report_of, store_of, succeed

REPORT = f"{sys.executable} -m pipeline.report"
SWEEP = f"{sys.executable} -m pipeline -m hidden_size=4 num_epochs=1"


def succeed_in_shell(command: str, outputs: Path) -> None:
    """Run a command in a shell, which fails if any part of a pipe fails."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        cwd=outputs.parent,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        f"{SWEEP} | head -1",
        f"{SWEEP} > /dev/full",
        f"{SWEEP} 2>&-",
        f"{SWEEP} >&- 2>&-",
        f"LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=latin-1 {SWEEP}",
    ],
    ids=["head", "full", "no stderr", "no streams", "latin-1"],
)
def test_sweep_ends_with_its_report_and_closed_runs(tmp_path: Path, command: str) -> None:
    outputs = tmp_path / "outputs"
    succeed_in_shell(command, outputs)
    assert len(report_of(outputs)["runs"]) == 1
    client = store_of(outputs).client
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    runs = client.search_runs([experiment.experiment_id])
    assert [each.info.status for each in runs] == ["FINISHED"] * 2


def test_report_and_promotion_end_well_with_dead_and_narrow_streams(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    succeed(outputs, "-m", "hidden_size=4", "num_epochs=1")
    succeed_in_shell(f"{REPORT} >&- 2>&-", outputs)
    promote = f"{sys.executable} -m pipeline.promote"
    succeed_in_shell(f"PYTHONIOENCODING=ascii {promote} | head -c 1", outputs)
