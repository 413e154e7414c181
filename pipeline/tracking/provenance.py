"""Which versions, commit and process created a run, and whether that process is alive."""

from __future__ import annotations

import functools
import math
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version

from pipeline import process
from pipeline.paths import IN_CHECKOUT, ROOT
from pipeline.process import ProcessIdentity, boot_id, machine_id, pid_namespace, this_process

HEARTBEAT_SECONDS = 60  # between two heartbeats of a sweep
SILENCE_SECONDS = 3600  # without a heartbeat, after which a process on another machine is dead


@functools.cache
def provenance() -> Mapping[str, str]:
    """Tags with the versions, the commit and the process that create a run."""
    packages = ("hydra-core", "mlflow", "numpy", "pandas")
    tags = {f"version.{package}": version(package) for package in packages}
    tags |= {"version.python": platform.python_version(), "host": platform.node()}
    boot, namespace, pid, started = this_process()
    tags |= {"boot_id": boot, "pid_namespace": namespace, "pid": pid, "pid_started": started}
    tags |= {"mlflow.source.name": "pipeline", "mlflow.source.type": "LOCAL"}
    commit, machine = _commit(), machine_id()
    tags |= {"machine_id": machine} if machine else {}
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

    A process of this machine, boot and PID namespace is identified by its number and its start
    time. A process of this machine is dead if the machine has started again since then. Any other
    process is dead if its last heartbeat is more than `SILENCE_SECONDS` ago.

    Args:
        tags: of the run, which any program may have written. Runs of earlier versions have neither
            boot ID nor PID namespace.
    """
    machine = {"machine_id": machine_id(), "host": platform.node()}
    is_here = machine_id() != "" and all(tags.get(key) == value for key, value in machine.items())
    if is_here and tags.get("boot_id", boot_id()) != boot_id():
        return True
    here = {"boot_id": boot_id(), "pid_namespace": pid_namespace()}
    near = all(tags.get(key, value) == value for key, value in here.items())
    if tags.get("host") != platform.node() or not near:
        heartbeat = _number(tags.get("heartbeat"))
        return heartbeat is not None and time.time() - heartbeat > SILENCE_SECONDS
    pid, started = tags.get("pid", ""), tags.get("pid_started", "")
    return process.is_dead(ProcessIdentity(boot_id(), pid_namespace(), pid, started)) is True


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
