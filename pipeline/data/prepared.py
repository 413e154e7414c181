"""Arrays that a user's own code gives: they are saved once, and then read like any .npz file.

`data=callable` names a function. Only the command line that names it imports it (`Session.run`).
Its arrays are saved under a name that depends on their content, and the configuration of the jobs
holds the path of that file. Commands that read a store, such as report and promote, therefore
import no code that the store names.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.files import atomic_write
from pipeline.paths import START_DIR, outputs_dir

KIND, TARGET, FILE = "data=callable", "data.target=", "data.file="  # words of a command line
# With these flags, Hydra shows something and runs nothing.
INFORMATION = ("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i")


def file_override(words: Sequence[str]) -> str | None:
    """Call the function that a command line names, and return an override with its saved arrays.

    Args:
        words: the command line.

    Returns:
        The override of data.file; None if the command line names no function.

    Raises:
        DataError: the function cannot be imported or fails, or its result is no set of arrays.
    """
    targets = [word.removeprefix(TARGET) for word in words if word.startswith(TARGET)]
    if KIND not in words or not targets or set(words) & set(INFORMATION):
        return None
    if any(word.startswith(FILE) for word in words):
        raise DataError("data=callable sets data.file itself: remove data.file from the command")
    path = save_arrays(_call(targets[-1].strip("'\"")))
    return f'{FILE}"{path}"'


def save_arrays(arrays: Mapping[str, Any]) -> Path:
    """Save arrays as an uncompressed .npz file, under a name that depends on their content.

    Args:
        arrays: X, y and other arrays of data=npz, by name. Lists and Series of text become arrays.

    Raises:
        DataError: a value is no array of numbers or text, or the file cannot be written.
    """
    converted: dict[str, NDArray[Any]] = {}
    sha256 = hashlib.sha256()
    for key, value in arrays.items():
        array = _labels(value) if key.startswith("y") else np.asarray(value)
        if array.dtype.hasobject:
            raise DataError(
                f"{key} contains Python objects: convert it, as {key}.astype('float32')"
            )
        sha256.update(f"{key} {array.dtype.str} {array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).data)
        converted[key] = array
    path = outputs_dir() / "data" / f"{sha256.hexdigest()[:16]}.npz"
    try:
        if not path.exists():
            atomic_write(path, lambda file: np.savez(file, allow_pickle=False, **converted))
    except OSError as error:
        raise DataError(
            f"the arrays cannot be written to {path} ({error.strerror}): make room there, or set "
            "PIPELINE_OUTPUTS to another folder"
        ) from error
    return path


def _labels(y: Any) -> NDArray[Any]:
    """Return labels as an array; a list or a Series of text becomes an array of text."""
    labels = np.asarray(y)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        return labels.astype(str)
    return labels


def _call(target: str) -> dict[str, Any]:
    """Call the function `module:name`, and return its arrays by name."""
    module, _, name = target.partition(":")
    if not module or not name.isidentifier():
        raise DataError(
            f"data.target={target} names no function: write data.target=MODULE:FUNCTION, as "
            "data.target=mypackage.mymodule:load"
        )
    with _start_dir_importable():
        try:
            function = getattr(importlib.import_module(module), name)
        except Exception as error:  # a module may raise anything
            raise DataError(
                f"data.target={target} cannot be imported ({_reason(error)}): install its package, "
                "or start the command in the folder that contains it"
            ) from error
        try:
            found = function()
        except Exception as error:
            raise DataError(
                f"data.target={target} failed ({_reason(error)}): correct the function"
            ) from error
    if isinstance(found, tuple | list) and len(found) == 2:
        return dict(zip(("X", "y"), found, strict=True))
    if isinstance(found, Mapping):
        return {str(key): value for key, value in found.items()}
    raise DataError(
        f"data.target={target} returned a {type(found).__name__}: return (X, y), or a dict with "
        "the arrays X and y and optionally X_val, y_val, X_test and y_test"
    )


def _reason(error: Exception) -> str:
    """The error, with the place in the user's code that raised it."""
    text = " ".join(str(error).split())
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if "importlib" in frame.filename else f", {frame.filename} line {frame.lineno}"
    return f"{type(error).__name__}: {text}{place}"


@contextmanager
def _start_dir_importable() -> Any:
    """Search the directory of the command for modules, as `python -m` does."""
    sys.path.insert(0, str(START_DIR))
    try:
        yield
    finally:
        sys.path.remove(str(START_DIR))
