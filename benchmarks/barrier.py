"""How busy a search keeps two cores whose trials have unequal numbers of epochs.

    python -m benchmarks.barrier [--data-dir FOLDER]

It runs the same search in batches and continuously (`hydra.sweeper.continuous`), on Fashion-MNIST
with 2, 4, 8, 16 or 32 epochs per trial. For the worker processes it prints, relative to two cores
during the training:

- the share of CPU time, which other programs on the machine reduce;
- the share of the time in which they computed or waited for a core, which other programs do not
  reduce (/proc/PID/schedstat of Linux).
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import psutil

CORES = 2
SEARCH = [
    "data=fashion_mnist",
    "hydra/sweeper=optuna",
    "hydra.sweeper.n_trials=24",
    "hydra.sweeper.batch_size=8",
    f"hydra.launcher.shards={CORES}",
    "hidden_size=128",
    "num_epochs=2,4,8,16,32",
    "learning_rate=tag(log, interval(0.01, 1))",
]


def measure(arguments: Sequence[str], outputs: Path) -> tuple[float, float, float]:
    """Run a search.

    Returns:
        The seconds of training, and the two shares.
    """
    environment = os.environ | {"PIPELINE_OUTPUTS": str(outputs)}
    command = [sys.executable, "-m", "pipeline", "-m", *SEARCH, *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    workers: dict[int, tuple[float, float]] = {}  # seconds on a core, and of waiting for one
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(OSError, psutil.NoSuchProcess):
                    if "popen_loky" in " ".join(child.cmdline()):
                        workers[child.pid] = _schedule(child.pid)
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    with closing(sqlite3.connect(outputs / "mlflow.db")) as store:
        query = (
            "SELECT max(end_time) - min(start_time) FROM runs JOIN tags USING (run_uuid) "
            "WHERE key = 'kind' AND value = 'job'"
        )
        seconds = store.execute(query).fetchone()[0] / 1000
    computed, waited = (sum(times) for times in zip(*workers.values(), strict=True))
    total = CORES * seconds
    return seconds, computed / total, (computed + waited) / total


def _schedule(pid: int) -> tuple[float, float]:
    running, waiting = 0, 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        fields = path.read_text(encoding="ascii").split()
        running, waiting = running + int(fields[0]), waiting + int(fields[1])
    return running / 1e9, waiting / 1e9


def main() -> None:
    """Print a line for each kind of search."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.barrier", description=__doc__)
    parser.add_argument("--data-dir", metavar="FOLDER", help="with the files of Fashion-MNIST")
    data = parser.parse_args().data_dir
    more = [f"data.dir={data}"] if data else []
    for name, value in (("batches", "false"), ("continuous", "true")):
        with tempfile.TemporaryDirectory() as folder:
            options = [*more, f"hydra.sweeper.continuous={value}"]
            seconds, computed, busy = measure(options, Path(folder))
        print(f"{name:10} {seconds:6.1f} s, CPU {computed:.1%}, busy {busy:.1%}", flush=True)


if __name__ == "__main__":
    main()
