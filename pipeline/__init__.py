"""Two-layer neural networks in NumPy, swept with Hydra, tracked with MLflow."""

from __future__ import annotations

import sys
from typing import Any

if sys.platform == "win32":
    sys.exit(
        "the pipeline does not run on Windows, because it needs POSIX signals and file locks: "
        "install it in the Windows Subsystem for Linux (WSL)"
    )


def __getattr__(name: str) -> Any:
    """Import `sweep` when it is used, because its libraries take seconds to load."""
    if name == "sweep":
        from pipeline.api import sweep

        return sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
