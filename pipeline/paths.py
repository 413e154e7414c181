"""The folders that a command reads and writes."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def outputs_dir() -> Path:
    """The folder of everything that a run writes: $PIPELINE_OUTPUTS, or outputs/ beside conf/."""
    return Path(os.environ.get("PIPELINE_OUTPUTS") or ROOT / "outputs").resolve()


def checkpoints_dir() -> Path:
    """The folder of what is trained and not yet in MLflow."""
    return outputs_dir() / "checkpoints"


def default_tracking_uri() -> str:
    """The sqlite store in `outputs_dir()`, the same from any working directory."""
    return f"sqlite:///{outputs_dir()}/mlflow.db"
