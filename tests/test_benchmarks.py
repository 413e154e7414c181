"""The benchmarks find the functions that they time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.paths import ROOT


def test_phases_of_a_sweep_are_timed(tmp_path: Path) -> None:
    more = {"PYTHONPATH": str(ROOT), "PIPELINE_OUTPUTS": str(tmp_path / "outputs")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.phases", "-m", "hidden_size=4,8", "num_epochs=1"],
        cwd=tmp_path,
        env=os.environ | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds = json.loads((tmp_path / "phases.json").read_text())
    names = ("composing", "folders and logs", "data", "training", "tracking", "report")
    assert all(0 < seconds[name] < seconds["whole"] for name in names)
