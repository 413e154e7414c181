"""Who made a run: versions, the commit, the process; and whether that process still lives."""

from __future__ import annotations

import functools
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version

import psutil

from pipeline.paths import IN_CHECKOUT, ROOT

HEARTBEAT_SECONDS = 60  # between two signs of life in a run's tags
CLOCK_SECONDS = 10  # by which a clock that is set may move the start of a process
SILENCE_SECONDS = 3600  # after which a process on another machine is taken for dead


@functools.cache
def provenance() -> Mapping[str, str]:
    """Tags that say what was run and by which process."""
    packages = ("hydra-core", "mlflow", "numpy", "pandas")
    tags = {f"version.{package}": version(package) for package in packages}
    tags |= {"version.python": platform.python_version(), "host": platform.node()}
    pid, started = this_process()
    tags |= {"pid": pid, "pid_started": started}
    tags |= {"mlflow.source.name": "pipeline", "mlflow.source.type": "LOCAL"}
    commit = _commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit() -> str | None:
    """The commit of the checkout; None for an installed package and where git cannot tell."""
    if not IN_CHECKOUT:  # the folder of an installed package may lie in another project's checkout
        return None
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return None


def heartbeat_tags() -> Mapping[str, str]:
    """The tag of a process that lives: seconds since 1970."""
    return {"heartbeat": f"{time.time():.0f}"}


def is_gone(tags: Mapping[str, str]) -> bool:
    """Whether the process that made a run is known to live no more.

    On this machine the process itself tells, by its number and the time of its start; one on
    another machine is gone when its heartbeat has been silent for `SILENCE_SECONDS`.
    """
    if tags.get("host") != platform.node():
        return "heartbeat" in tags and time.time() - float(tags["heartbeat"]) > SILENCE_SECONDS
    return "pid" in tags and not lives(tags["pid"], tags["pid_started"])


def this_process() -> tuple[str, str]:
    """What names this process on this machine: its number, and the second of its start."""
    process = psutil.Process()
    return str(process.pid), f"{process.create_time():.0f}"


def lives(pid: str, started: str) -> bool:
    """Whether a process of this machine still lives."""
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's: it may be
        return True
