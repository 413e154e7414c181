"""The identity of a process, valid for all machines and containers that share a folder or a store.

A host name and a process number are not enough: containers can share a host name, and each PID
namespace has its own numbers. The identity therefore includes the boot of the machine and the PID
namespace. A process can only examine processes of its own boot and namespace; whether another one
is alive stays unknown.
"""

from __future__ import annotations

import hashlib
import platform
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil

INITIAL_NAMESPACE = "4026531836"  # the PID namespace of every Linux machine outside containers
CLOCK_SECONDS = 10  # by which a correction of the clock may move the start time of a process


class ProcessIdentity(NamedTuple):
    """What identifies a process."""

    boot: str  # 8 hexadecimal digits of the kernel's boot ID, or the host name
    namespace: str  # the inode number of the PID namespace, or 0
    pid: str
    started: str  # the second of its start, since 1970

    def __str__(self) -> str:
        """The identity as a part of a file name."""
        return "-".join(self)


def this_process() -> ProcessIdentity:
    """The identity of this process."""
    process = psutil.Process()
    return ProcessIdentity(
        boot_id(), pid_namespace(), str(process.pid), f"{process.create_time():.0f}"
    )


def parse_identity(text: str) -> ProcessIdentity | None:
    """Read an identity from a part of a file name; None if it is not one."""
    parts = text.split("-")
    return ProcessIdentity(*parts) if len(parts) == len(ProcessIdentity._fields) else None


def is_dead(process: ProcessIdentity) -> bool | None:
    """Whether a process has ended; None if this process cannot know."""
    if (process.boot, process.namespace) != (boot_id(), pid_namespace()):
        return None
    try:
        started = psutil.Process(int(process.pid)).create_time()
        return abs(started - float(process.started)) > CLOCK_SECONDS
    except (psutil.NoSuchProcess, OverflowError):
        return True
    except (psutil.AccessDenied, ValueError):  # a process of another user, or no number
        return None


@cache
def boot_id() -> str:
    """Identifies the time since the machine has started; the host name on systems without it."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        text = platform.node()
    return re.sub(r"\W", "", text)[:8]


@cache
def pid_namespace() -> str:
    """The inode number of the PID namespace; 0 on systems without them."""
    try:
        return re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return "0"


@cache
def machine_id() -> str:
    """Identifies a machine, also after it has started again; "" in a container.

    A container may have the machine ID of its image, which other machines have, too.
    """
    if pid_namespace() != INITIAL_NAMESPACE:
        return ""
    try:
        text = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    # The ID itself is confidential, see machine-id(5).
    return hashlib.sha256(f"pipeline {text}".encode()).hexdigest()[:16] if text else ""


def temporary_name(path: Path) -> Path:
    """The path of a temporary file next to a path. Its name contains this process's identity."""
    return path.with_name(f"{path.name}.{this_process()}.tmp")


def is_abandoned(path: Path) -> bool:
    """Whether the process that `temporary_name` has put into a path has ended."""
    process = parse_identity(path.name.removesuffix(".tmp").rpartition(".")[2])
    return process is not None and is_dead(process) is True
