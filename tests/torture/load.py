"""The server of a champion under load: requests, slow clients and oversized bodies at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pipeline.paths import ROOT
from pipeline.serving.champion import TwoLayerNet
from tests.serving.server import Server, serving
from tests.torture.command import run
from tests.torture.lab import Lab, not_well
from tests.torture.trials import Kind, Outcome, Spot

MEMORY = 500_000_000  # bytes that the server may need at most


def load(lab: Lab, spot: Spot) -> Outcome:
    """Promote the best model of a finished sweep, serve it, and send everything at once."""
    outputs = spot.folder / "outputs"
    shutil.copytree(lab.finished, outputs, symlinks=True)
    found = [*not_well(run(outputs, module="pipeline.promote"))]
    _write_expected(outputs, spot.folder)
    log = spot.folder / "log"
    uri = f"sqlite:///{outputs}/mlflow.db"
    with serving("--tracking-uri", uri, log=log) as server:
        script = ROOT / "tests" / "serving" / "load.py"
        done = subprocess.run(
            [sys.executable, str(script), server.url, str(spot.folder)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"NO_PROXY": "*"},
        )
        if done.returncode:
            found.append(f"{done.stdout} {done.stderr[-300:]}")
        memory = _peak_memory(server)
        if memory > MEMORY:
            found.append(f"the server needed {memory / 1e6:.0f} MB")
    if "Traceback" in log.read_text():
        found.append("a traceback in the log of the server")
    return Outcome(f"{memory / 1e6:.0f} MB", found, ["servers"])


def _write_expected(outputs: Path, folder: Path) -> None:
    """Write images and their classes for the load script."""
    images = load_digits().images[..., None].astype(np.uint8)
    (path,) = outputs.rglob("model/artifacts/model.npz")
    with np.load(path, allow_pickle=False) as file:
        model = TwoLayerNet()
        model.use({name: file[name] for name in file})
    np.save(folder / "images.npy", images)
    np.save(folder / "classes.npy", model.predict(None, images)["class"])  # type: ignore[no-untyped-call]


def _peak_memory(server: Server) -> int:
    """The most memory that the process has needed so far, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


KINDS = [
    Kind("load", "1,000 requests, 50 slow clients and 20 bodies of 64 MiB at the same time from "
         "another process", "every answer is right; slow clients are dropped; large bodies are "
         "refused; the server needs less than 500 MB and prints no traceback", load, 2, 0),
]  # fmt: skip
