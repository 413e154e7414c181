"""What the parts share: the machine, commands timed from start to end, interleaved repeats."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import psutil
from threadpoolctl import threadpool_info

from pipeline.paths import ROOT, outputs_dir

CORES = joblib.cpu_count()
PACKAGES = ("numpy", "scipy", "scikit-learn", "hydra-core", "mlflow", "pandas", "joblib")
PACKAGES += ("torch", "optuna", "ray")
LOCAL = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its servers then listen on 127.0.0.1, on any system
}


def arguments(text: str | None, repeats: int) -> argparse.ArgumentParser:
    """The options that every part takes."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--repeats", type=int, default=repeats, help="of each measurement")
    return parser


def results_dir(quick: bool) -> Path:
    """Where the parts leave their numbers; those of --quick stay apart."""
    return outputs_dir() / "bench" / "quick" if quick else outputs_dir() / "bench"


def save(part: str, quick: bool, results: Mapping[str, Any]) -> None:
    """Write the numbers of a part, with the machine they were measured on."""
    path = results_dir(quick) / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1, ensure_ascii=False))


def machine() -> dict[str, Any]:
    """What the numbers were measured on and with."""
    blas = next(pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return {
        "cpu": _cpu_field("model name") or platform.processor(),
        "vector units": [
            unit for unit in ("avx2", "avx512f") if unit in _cpu_field("flags").split()
        ],
        "cores": CORES,
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "blas": f"{blas['internal_api']} {blas['version']} ({blas['architecture']})",
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "commit": _git("rev-parse", "--short", "HEAD") + _git("diff", "--quiet", "HEAD"),
    }


def _cpu_field(name: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    values = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(values, "")


def _git(*command: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else " with changes"


@dataclass
class Samples:
    """What one contender took, repeat after repeat."""

    command: str = ""
    seconds: list[float] = field(default_factory=list)
    failures: int = 0  # repeats that ended with an error
    notes: dict[str, Any] = field(default_factory=dict)


def interleave(
    contenders: Sequence[Callable[[], None]], repeats: int, after: Callable[[], None]
) -> None:
    """Let every contender run once a repeat: what else the machine does meets all of them.

    Args:
        contenders: each runs once and notes its time.
        repeats: how often.
        after: called after each repeat, to save what there is.
    """
    for repeat in range(repeats):
        for contender in contenders[:: 1 if repeat % 2 == 0 else -1]:
            contender()
        after()


def show(command: Sequence[str]) -> str:
    """A command as a reader would type it."""
    return " ".join(command)


def start(command: Sequence[str], folder: Path, **extra: str) -> subprocess.Popen[bytes]:
    """Start a command in its own folder, its output in a file `log` there.

    "python" becomes this interpreter, and $NAME the variable of the environment.
    """
    outputs = {"PIPELINE_OUTPUTS": str(folder / "outputs")}
    parts = [sys.executable if part == "python" else os.path.expandvars(part) for part in command]
    os.sync()  # what the previous command wrote is on disk, and not this one's burden
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            parts, cwd=folder, env=os.environ | LOCAL | outputs | extra, stdout=log, stderr=log
        )


def run(command: Sequence[str], folder: Path, samples: Samples, **extra: str) -> bool:
    """Time a command from its start to its end; returns whether it succeeded."""
    began = time.perf_counter()
    code = start(command, folder, **extra).wait()
    samples.seconds.append(time.perf_counter() - began)
    samples.command = show(command)
    return check(code, command, folder, samples)


def check(code: int, command: Sequence[str], folder: Path, samples: Samples) -> bool:
    """Note a failure, and show how its log ends; returns whether there was none."""
    seconds = samples.seconds[-1]
    print(f"{seconds:8.1f} s  {show(command)[:150]}", flush=True)
    if code != 0:
        samples.failures += 1
        end = (folder / "log").read_text(errors="replace").splitlines()[-5:]
        print(f"exit code {code}", *end, sep="\n    ", file=sys.stderr, flush=True)
    return code == 0


def note_phases(folder: Path, samples: Samples) -> None:
    """Keep what `benchmarks.phases` has left in a folder."""
    path = folder / "phases.json"
    if path.exists():
        samples.notes.setdefault("phases", []).append(json.loads(path.read_text()))


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """A folder for one command, gone after it."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
