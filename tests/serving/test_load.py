"""The server under load: many requests, slow clients and oversized bodies at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.serving.server import Server

MEMORY = 500_000_000  # bytes


def test_server_answers_correctly_under_load(
    server: Server, model: Any, images: np.ndarray, tmp_path: Path
) -> None:
    """`python tests/serving/load.py` with other numbers repeats this on a server by hand."""
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "classes.npy", model.predict(images)["class"].astype(str))
    script = Path(__file__).with_name("load.py")
    command = [sys.executable, str(script), server.url, str(tmp_path)]
    done = subprocess.run(
        [*command, "--requests", "200", "--slow", "20", "--oversized", "5"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_PROXY": "*"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 of 200 answers are right" in done.stdout
    assert server.memory() < MEMORY
    assert "Traceback" not in server.log.read_text()
