"""Which versions, commit and process created a run, and whether that process is alive."""

from __future__ import annotations

import functools
import math
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version

import psutil

from pipeline.paths import IN_CHECKOUT, ROOT

HEARTBEAT_SECONDS = 60  # between two heartbeats of a sweep
CLOCK_SECONDS = 10  # by which a correction of the clock may move the start time of a process
SILENCE_SECONDS = 3600  # without a heartbeat, after which a process on another machine is dead


@functools.cache
def provenance() -> Mapping[str, str]:
    """Tags with the versions, the commit and the process that create a run."""
    packages = ("hydra-core", "mlflow", "numpy", "pandas")
    tags = {f"version.{package}": version(package) for package in packages}
    tags |= {"version.python": platform.python_version(), "host": platform.node()}
    pid, started = process_identity()
    tags |= {"pid": pid, "pid_started": started}
    tags |= {"mlflow.source.name": "pipeline", "mlflow.source.type": "LOCAL"}
    commit = _commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit() -> str | None:
    """The commit of the checkout; None for an installed package or if git fails."""
    if not IN_CHECKOUT:  # an installed package can be inside the checkout of another project
        return None
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return None


def heartbeat_tags() -> Mapping[str, str]:
    """The tag `heartbeat` of a process that is alive now: seconds since 1970."""
    return {"heartbeat": f"{time.time():.0f}"}


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that created a run is dead; False if that is unknown.

    A process on this machine is identified by its number and its start time. A process on another
    machine is dead if its last heartbeat is more than `SILENCE_SECONDS` ago.

    Args:
        tags: of the run, which any program may have written.
    """
    if tags.get("host") != platform.node():
        heartbeat = _number(tags.get("heartbeat"))
        return heartbeat is not None and time.time() - heartbeat > SILENCE_SECONDS
    return not is_alive(tags.get("pid", ""), tags.get("pid_started", ""))


def process_identity() -> tuple[str, str]:
    """The number of this process and the second of its start, unique on this machine."""
    process = psutil.Process()
    return str(process.pid), f"{process.create_time():.0f}"


def is_alive(pid: str, started: str) -> bool:
    """Whether a process of this machine is alive; True if that is unknown.

    Args:
        pid: its number.
        started: its start time in seconds since 1970.
    """
    number, start = _number(pid), _number(started)
    if number is None or start is None:
        return True
    try:
        return abs(psutil.Process(int(number)).create_time() - start) < CLOCK_SECONDS
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except psutil.AccessDenied:  # the process of another user
        return True


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
