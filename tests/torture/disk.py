"""A full file system, and a limit on the size of files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.command import Command, Ended, run
from tests.torture.lab import Lab, no_traceback, not_well
from tests.torture.results import problems
from tests.torture.trials import Kind, Outcome, Spot

LARGE = 256 << 20  # bytes: room for everything


def full(lab: Lab, spot: Spot) -> Outcome:
    """Run on a file system that is too small; then enlarge it and rerun the same command."""
    least, most = _size(lab.root / "template") + 16384, _size(lab.finished)
    size = int(spot.rng.uniform(least, most + least / 2)) // 4096 * 4096
    outputs = spot.folder / "outputs"
    outputs.mkdir()
    try:
        with _mounted(outputs, size):
            shutil.copytree(lab.root / "template", outputs, dirs_exist_ok=True)
            ended = run(outputs, *lab.sweep)
            subprocess.run(["mount", "-o", f"remount,size={LARGE}", outputs], check=True)
            return _afterwards(lab, outputs, ended, f"{size // 1024:,} KB of disk")
    except PermissionError:  # no right to mount
        return limited(lab, spot)


def limited(lab: Lab, spot: Spot) -> Outcome:
    """Limit the size of each file; then rerun the same command without the limit."""
    outputs = lab.outputs(spot.folder)
    size = int(2 ** spot.rng.uniform(10, 22))
    command = Command(outputs, *lab.sweep)
    command.limit_files(size)
    return _afterwards(lab, outputs, command.end(), f"{size:,} bytes a file")


def _afterwards(lab: Lab, outputs: Path, ended: Ended, point: str) -> Outcome:
    found = list(no_traceback(ended))
    if ended.code == 0:
        return Outcome(point, [*found, *problems(outputs, lab.reference)], ["enough space"])
    if not ended.said.strip():
        found.append("it ended without a message")
    again = run(outputs, *lab.sweep)
    found += [*not_well(again), *problems(outputs, lab.reference)]
    return Outcome(point, found, ["not enough space"])


@contextmanager
def _mounted(place: Path, size: int) -> Iterator[None]:
    options = f"size={size},mode=700"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False
    )
    if made.returncode != 0:
        raise PermissionError(made.stderr.decode(errors="replace"))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


KINDS = [
    Kind("full", "a file system (tmpfs) of a random size that is too small for the outputs; then "
         "more space, and the same command", "no traceback; the results equal an undisturbed sweep",
         full, 7, 1),
    Kind("limit", "a random limit on the size of each file (RLIMIT_FSIZE); then the same command",
         "no traceback; the results equal an undisturbed sweep", limited, 3, 0),
]  # fmt: skip
