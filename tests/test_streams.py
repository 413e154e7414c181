"""A dead or narrow output stream costs its characters and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import report_of, store_of

SWEEP = f"{sys.executable} -m pipeline -m hidden_size=4,8 num_epochs=1"


@pytest.mark.parametrize(
    "command",
    [
        f"{SWEEP} | head -1",
        f"{SWEEP} > /dev/full",
        f"{SWEEP} 2>&-",
        f"{SWEEP} >&- 2>&-",
        f"PYTHONIOENCODING=latin-1 {SWEEP}",
    ],
    ids=["head", "full", "no stderr", "no streams", "latin-1"],
)
def test_sweep_ends_with_its_report_and_closed_runs(tmp_path: Path, command: str) -> None:
    outputs = tmp_path / "outputs"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr
    assert len(report_of(outputs)["runs"]) == 2
    client = store_of(outputs).client
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    runs = client.search_runs([experiment.experiment_id])
    assert [each.info.status for each in runs] == ["FINISHED"] * 3
