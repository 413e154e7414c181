"""Checks that loading a registered model runs no code other than this project's.

MLflow executes the code file of a model when it loads the model. Every user with write access to
the registry can register a model with other code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import PipelineError
from pipeline.tracking.registry import CODE

EARLIER = (  # SHA-256 of champion.py in earlier versions of this project
    "c8a95bbd8084703aa45fa082047e1c0e744cb04d8c8d15fe630c547359056dba",
    "798f30a8d79781db2ea9b2ea5baa5739fcaf02645a2b60567c3e0e037d4930be",
    "92c0730c2156d34294eb81b25a1d8143733e5b3603b765b4c78bce3d7163998f",
    "9b7ee206a391d25c81199343dfdc8c79b984b77ba7c9344d98edd428821ef4a4",
    "82c08deb56967c06c43abe3eabca4b04b51b53dc9f766e687040c813a3da7ffa",
    "bb8c5e9cf4fe91ca68c2b010f6d77e21b47ac1e2a3c8bccc27ad74bf61308098",
)
LOADER = "mlflow.pyfunc.loaders.code_model"
MAX_CODE_BYTES = 1 << 20


class UntrustedModelError(PipelineError):
    """A registered model would run code that is not part of this project."""


def check_code(folder: Path) -> None:
    """Check the files of a registered model before MLflow loads them.

    Args:
        folder: the downloaded model.

    Raises:
        UntrustedModelError: loading the model would run code other than `champion.py`.
    """
    flavor = _python_function(folder)
    name = flavor.get("model_code_path")
    if flavor.get("loader_module") != LOADER or flavor.get("code") or not isinstance(name, str):
        raise UntrustedModelError("it was not logged by this project's promote command")
    # MLflow executes the file with this name in the folder of the model.
    code = folder / Path(name).name
    if code.is_symlink() or not code.is_file() or code.stat().st_size > MAX_CODE_BYTES:
        raise UntrustedModelError(f"its code file {code.name} is missing or too large")
    if _digest(code) not in (_digest(CODE), *EARLIER):
        raise UntrustedModelError(f"its code file {code.name} differs from that of this project")


def _python_function(folder: Path) -> dict[str, Any]:
    try:
        flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UntrustedModelError("its file MLmodel cannot be read") from error
    flavor = flavors.get("python_function") if isinstance(flavors, dict) else None
    if not isinstance(flavor, dict):
        raise UntrustedModelError("its file MLmodel describes no Python model")
    return flavor


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
