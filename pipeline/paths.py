"""The folders that a command reads and writes, in a checkout and in an installed package."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.uris import sqlite_uri

START_DIR = Path.cwd()  # with hydra.job.chdir=true, a job has another working directory

PACKAGE = Path(__file__).resolve().parent

# The build puts conf/ inside the package; in a checkout it is next to the package.
IN_CHECKOUT = not (PACKAGE / "conf").is_dir()

ROOT = PACKAGE.parent if IN_CHECKOUT else PACKAGE  # the folder that holds conf/
CONF = ROOT / "conf"


def outputs_dir() -> Path:
    """The folder of everything that a command writes.

    It is $PIPELINE_OUTPUTS if that is set, else outputs/ in the checkout, else outputs/ in the
    current directory.

    Raises:
        ConfigError: the path contains "${", which Hydra would replace.
    """
    default = ROOT / "outputs" if IN_CHECKOUT else Path("outputs")
    path = Path(os.environ.get("PIPELINE_OUTPUTS") or default).resolve()
    if "${" in str(path):
        raise ConfigError(
            f"PIPELINE_OUTPUTS={path} contains ${{, which Hydra replaces: choose another folder"
        )
    return path


def checkpoints_dir() -> Path:
    """The folder of the checkpoints: training results that MLflow does not hold yet."""
    return outputs_dir() / "checkpoints"


def default_tracking_uri() -> str:
    """The MLflow store: $MLFLOW_TRACKING_URI if that is set, else a database in `outputs_dir()`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(outputs_dir() / "mlflow.db")
