"""The notebook in examples/ runs in a real Jupyter kernel, from the first cell to the last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.paths import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
RUN = """
import sys
import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, kernel_name="python3").execute(cwd=sys.argv[2])
nbformat.write(notebook, sys.argv[3])
"""


def cells(path: Path) -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict[str, Any]) -> str:
    """What a cell printed, and its value."""
    texts = [output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]]
    return "".join("".join(lines) for lines in texts)


def test_quickstart_notebook_runs_in_a_jupyter_kernel(outputs: Path, tmp_path: Path) -> None:
    own = {name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    environment = {**os.environ, **own, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, NOTEBOOK, tmp_path, tmp_path / "executed.ipynb"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    executed = cells(tmp_path / "executed.ipynb")
    assert [cell["execution_count"] for cell in executed] == list(range(1, len(executed) + 1))
    shown = [printed(cell) for cell in executed]
    assert sum("Validation accuracy: " in text for text in shown) == 2  # the sweep, and its repeat
    assert "'data.name': 'wine'" in shown[2]
    assert float(shown[4].strip("np.float64()")) > 0.9
    assert (outputs / "reports" / "latest" / "report.html").exists()
    assert all(not cell["outputs"] for cell in cells(NOTEBOOK))  # stored without outputs
