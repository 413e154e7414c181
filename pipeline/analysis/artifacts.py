"""Read the artifacts of a run. A shared store is untrusted: every file is checked."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline.config import Job, parse_job
from pipeline.errors import ConfigError, PipelineError
from pipeline.nn.model import Params
from pipeline.tracking.store import Store

PREPROCESSING = ("classes", "mean", "largest", "scale", "columns", "W1_unwhitened")

T = TypeVar("T")


class AnalysisError(PipelineError):
    """A run lacks what its analysis needs, or holds damaged files."""


def load_weights(store: Store, run_id: str) -> Params:
    """Load the weights of a run's best epoch (K = 1).

    Raises:
        PipelineError: the artifact is missing or damaged.
    """
    return _read_arrays(store, run_id, "weights.npz", _as_weights)


def load_preprocessing(store: Store, run_id: str) -> dict[str, NDArray[Any]] | None:
    """Load the preprocessing that is stored with the weights of a run.

    Returns:
        The arrays of `pipeline.data.dataset.preprocessing_arrays`, and for whitened data
        `W1_unwhitened`; None: an earlier version of this project has written the weights.

    Raises:
        PipelineError: the artifact is missing or damaged.
    """
    return _read_arrays(store, run_id, "weights.npz", _as_preprocessing)


def load_hits(store: Store, run_id: str, num_val: int) -> NDArray[np.bool_]:
    """Load which validation images a run classifies correctly at its best epoch, (num_val,).

    Raises:
        PipelineError: the artifact is missing or damaged.
    """

    def unpack(file: Mapping[str, Any]) -> NDArray[np.bool_]:
        bits = file["bits"]
        if bits.dtype != np.uint8 or bits.shape != (-(-num_val // 8),):
            raise ValueError(f"{bits.dtype} of shape {bits.shape}")
        return np.unpackbits(bits, count=num_val).astype(np.bool_)

    return _read_arrays(store, run_id, "val_hits.npz", unpack)


def read_config(store: Store, run_id: str) -> Job:
    """Read the configuration of a run.

    Raises:
        PipelineError: the artifact is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = store.artifacts.download(run_id, "config.yaml", Path(folder)).read_text(
            encoding="utf-8"
        )
    try:
        return parse_job(yaml.safe_load(text))
    except (yaml.YAMLError, ConfigError, AttributeError, TypeError) as error:
        raise AnalysisError(f"config.yaml of run {run_id} is damaged ({error})") from error


def _read_arrays(store: Store, run_id: str, name: str, read: Callable[[Mapping[str, Any]], T]) -> T:
    """Read an uncompressed .npz artifact without pickle."""
    with tempfile.TemporaryDirectory() as folder:
        path = store.artifacts.download(run_id, name, Path(folder))
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                    raise ValueError("its arrays are larger than the file")
            with np.load(path, allow_pickle=False) as file:
                return read(file)
        except Exception as error:  # zipfile and NumPy raise many types for a damaged header
            reason = " ".join(str(error).split()) or type(error).__name__
            raise AnalysisError(f"{name} of run {run_id} is damaged ({reason})") from error


def _as_preprocessing(file: Mapping[str, Any]) -> dict[str, NDArray[Any]] | None:
    """Check `classes` (C,), `mean` (D,), `largest` () or `scale` (D,), `W1_unwhitened` (D, H)."""
    if "mean" not in file:
        return None
    arrays = {key: file[key] for key in PREPROCESSING if key in file}
    divisor = arrays["largest" if "largest" in arrays else "scale"]
    mean, classes = arrays["mean"], arrays["classes"]
    D, C = file["W1"].shape[0], file["b2"].shape[0]
    if mean.shape != (D,) or classes.shape != (C,) or divisor.shape not in ((), (D,)):
        raise ValueError(f"mean and classes have shapes {mean.shape} and {classes.shape}")
    if classes.dtype.kind != "U" or any(array.dtype.kind != "f" for array in (mean, divisor)):
        raise ValueError("its preprocessing has arrays of wrong types")
    if not np.isfinite(mean).all() or not (np.isfinite(divisor) & (divisor > 0)).all():
        raise ValueError("its preprocessing is not finite")
    W1 = arrays.get("W1_unwhitened", file["W1"])
    if W1.shape != file["W1"].shape or W1.dtype != file["W1"].dtype or not np.isfinite(W1).all():
        raise ValueError("its weights for rows that are not whitened do not fit")
    if "columns" in arrays:
        json.loads(str(arrays["columns"]))
    return arrays


def _as_weights(file: Mapping[str, Any]) -> Params:
    """Check W1 (D, H), b1 (H,), W2 (H, C) and b2 (C,) and add the model axis."""
    params = Params(*(file[key] for key in Params._fields))
    W1, b1, W2, b2 = params
    shapes = [array.shape for array in params]
    if 0 in W1.shape or shapes != [(len(W1), len(b1)), (len(b1),), (len(b1), len(b2)), (len(b2),)]:
        raise ValueError(f"W1, b1, W2 and b2 have shapes {', '.join(map(str, shapes))}")
    if any(array.dtype not in (np.float32, np.float64) for array in params):
        raise ValueError("its arrays are not float32 or float64")
    if not all(np.isfinite(array).all() for array in params):
        raise ValueError("its arrays are not finite")
    return Params(W1[None], b1[None, None], W2[None], b2[None, None])
