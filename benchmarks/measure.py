"""Shared by all parts: options, results, the machine, timed commands and interleaved repeats."""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import joblib
import psutil
from threadpoolctl import threadpool_info

from pipeline.paths import ROOT, outputs_dir

CORES = joblib.cpu_count()
PACKAGES = ("numpy", "scipy", "scikit-learn", "hydra-core", "mlflow", "pandas", "joblib")
OPTIONAL_PACKAGES = ("torch", "jax", "optuna", "ray")  # only in the environment of `make bench`
LOCAL = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # its servers then listen on 127.0.0.1, on any system
}


class Mode(StrEnum):
    """How much to measure."""

    FULL = "full"  # all rows of docs/benchmarks.md, for hours
    QUICK = "quick"  # the ratios of the targets in 5 minutes, without the packages of `make bench`
    SMOKE = "smoke"  # tiny sizes, to check that the code runs


def arguments(text: str | None, repeats: int) -> argparse.ArgumentParser:
    """Create a parser with the options of every part."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n")[0])
    parser.add_argument("--mode", type=Mode, choices=list(Mode), default=Mode.FULL)
    parser.add_argument("--repeats", type=int, default=repeats, help="repeats of each measurement")
    return parser


def results_dir(mode: Mode) -> Path:
    """The folder for the results of a mode."""
    folder = outputs_dir() / "bench"
    return folder if mode is Mode.FULL else folder / mode


def save(part: str, mode: Mode, results: Mapping[str, Any]) -> None:
    """Write the results of a part, with a description of the machine."""
    path = results_dir(mode) / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1, ensure_ascii=False))


def machine() -> dict[str, Any]:
    """Describe the hardware and the versions of the software."""
    return {
        "cpu": _cpu_field("model name") or platform.processor(),
        "vector units": [
            unit for unit in ("avx2", "avx512f") if unit in _cpu_field("flags").split()
        ],
        "cores": CORES,
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "blas": blas_kernel(),
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": _git("rev-parse", "--short", "HEAD") + _git("diff", "--quiet", "HEAD"),
    }


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in PACKAGES}
    for name in OPTIONAL_PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def blas_kernel() -> str:
    """The name, the version and the kernel of NumPy's BLAS."""
    blas = next(pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return f"{blas['internal_api']} {blas['version']} ({blas['architecture']})"


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
    """The measurements of one contender."""

    command: str = ""
    seconds: list[float] = field(default_factory=list)  # one per repeat
    failures: int = 0  # repeats that ended with an error
    notes: dict[str, Any] = field(default_factory=dict)


def interleave(
    contenders: Sequence[Callable[[], None]], repeats: int, after: Callable[[], None]
) -> None:
    """Run every contender once per repeat, so that other load on the machine affects all equally.

    Args:
        contenders: each runs once and records its time.
        repeats: the number of repeats. Every second one has the reverse order.
        after: called after each repeat, to save the results so far.
    """
    for repeat in range(repeats):
        for contender in contenders[:: 1 if repeat % 2 == 0 else -1]:
            contender()
        after()


def show(command: Sequence[str]) -> str:
    """Format a command as a user would type it."""
    return " ".join(command)


def start(command: Sequence[str], folder: Path, **extra: str) -> subprocess.Popen[bytes]:
    """Start a command in a folder, with its output in the file `log` there.

    "python" stands for this interpreter, and $NAME for an environment variable.
    """
    outputs = {"PIPELINE_OUTPUTS": str(folder / "outputs")}
    parts = [sys.executable if part == "python" else os.path.expandvars(part) for part in command]
    os.sync()  # otherwise this command would pay for writes of the previous one
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            parts, cwd=folder, env=os.environ | LOCAL | outputs | extra, stdout=log, stderr=log
        )


def run(command: Sequence[str], folder: Path, samples: Samples, **extra: str) -> bool:
    """Measure the wall time of a command. Return whether it succeeded."""
    began = time.perf_counter()
    code = start(command, folder, **extra).wait()
    samples.seconds.append(time.perf_counter() - began)
    samples.command = show(command)
    return check(code, command, folder, samples)


def check(code: int, command: Sequence[str], folder: Path, samples: Samples) -> bool:
    """Record a failure and show the end of the log. Return whether the command succeeded."""
    seconds = samples.seconds[-1]
    print(f"{seconds:8.1f} s  {show(command)[:150]}", flush=True)
    if code != 0:
        samples.failures += 1
        end = (folder / "log").read_text(errors="replace").splitlines()[-5:]
        print(f"exit code {code}", *end, sep="\n    ", file=sys.stderr, flush=True)
    return code == 0


def note_phases(folder: Path, samples: Samples) -> None:
    """Record the phases that `benchmarks.phases` has written to a folder."""
    path = folder / "phases.json"
    if path.exists():
        samples.notes.setdefault("phases", []).append(json.loads(path.read_text()))


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """Create a folder for one command, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
