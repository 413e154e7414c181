"""The notebook in examples/: its cells run from the first to the last."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pipeline.paths import ROOT


def test_cells_of_the_quickstart_notebook_run(outputs: Path, tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Validation accuracy: ") == 2
    assert (outputs / "reports" / "latest" / "report.html").exists()
    assert all(not cell.get("outputs") for cell in notebook["cells"])  # stored without outputs
