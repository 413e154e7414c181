"""Where a sqlite store keeps artifacts: in the folder `mlartifacts` next to the database.

MLflow records absolute locations. They are wrong after the folder has been moved or copied, or if
another machine mounts it elsewhere. The parts after `mlartifacts/` stay right.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import unquote

FOLDER = "mlartifacts"
NAME_LENGTH = 40  # of the readable part of an experiment's folder


def folder_name(experiment: str) -> str:
    """The name of an experiment's folder: letters, digits, `-`, `_` and `.` only.

    A name that had to be changed ends in a digest, so that two experiments differ.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", experiment)[:NAME_LENGTH].lstrip(".")
    if safe == experiment and safe != FOLDER:
        return safe
    return f"{safe or '_'}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"


def relocate(location: str, root: Path) -> str:
    """The location of artifacts in `root`, wherever the store was when it was recorded.

    Args:
        location: a URI or a path, as MLflow has recorded it.
        root: the folder of the artifacts, next to the database.

    Returns:
        A `file:` URI in `root`, or the location itself if it is not in a folder `mlartifacts` of a
        file system.
    """
    before, found, after = location.rpartition(f"/{FOLDER}/")
    is_local = location.startswith(("file:", "/"))
    if not found or not is_local or before in (root.parent.as_uri(), str(root.parent)):
        return location
    return f"{root.as_uri()}/{after}"


def exists(location: str) -> bool:
    """Whether a local location exists."""
    return Path(unquote(location.removeprefix("file://"))).exists()
