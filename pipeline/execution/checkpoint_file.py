"""The file of a checkpoint: an .npz archive without pickled objects.

A checkpoint is read from a folder that other programs can write to. It is therefore checked against
the model before use: the size of its arrays before they are decompressed, then their shapes and
types, and the values that training continues from.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import Checkpoint, Metrics, Row
from pipeline.nn.model import Params
from pipeline.nn.population import VERSION
from pipeline.outcomes import Outcome

HEADERS = 1 << 16  # bytes that the headers and the small arrays of an archive take at most
ROW = len(Metrics._fields) + 1  # values of an epoch: its metrics and its time


@dataclass(frozen=True)
class Model:
    """The sizes that a checkpoint must have."""

    hyperparameters: Hyperparameters
    D: int  # features of an image
    C: int  # classes
    num_train: int
    num_val: int

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, data: Dataset) -> Self:
        """A model on a dataset."""
        D, C = data.X_train.shape[1], len(data.classes)
        return cls(hyperparameters, D, C, len(data.y_train), len(data.y_val))

    @property
    def shapes(self) -> Params:
        """The shapes of W1, b1, W2 and b2 with their model axis."""
        H = self.hyperparameters.hidden_size
        return Params((1, self.D, H), (1, 1, H), (1, H, self.C), (1, 1, self.C))  # type: ignore[arg-type]

    @property
    def max_bytes(self) -> int:
        """The size of the largest valid archive: weights, velocity, averages and curve."""
        weights = sum(map(math.prod, self.shapes)) * np.dtype(self.hyperparameters.dtype).itemsize
        curve = 8 * ROW * self.hyperparameters.num_epochs
        return 4 * weights + curve + self.num_val + HEADERS


def read_checkpoint(path: Path, name: str, model: Model) -> Checkpoint | None:
    """Read a checkpoint; None if it is missing, damaged, or does not fit the model.

    Args:
        path: the file.
        name: the name under which it was written, which contains the fingerprint.
        model: the model that the checkpoint must fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > model.max_bytes:
                return None
        with np.load(path, allow_pickle=False) as file:
            _require(str(file.get("name", name)) == name)  # older files have no name
            checkpoint = _from_arrays(file)
        _check(checkpoint, model)
    except Exception:  # zipfile and NumPy raise errors of many types for a damaged file
        return None
    return checkpoint


def as_arrays(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The arrays of the archive, by name."""
    arrays: dict[str, Any] = {
        "version": VERSION,
        "name": name,
        "curve": [[*row.metrics.as_row(), row.milliseconds] for row in checkpoint.curve],
        "outcome": str(checkpoint.outcome or ""),
        "best_hits": checkpoint.best_hits,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "hits": checkpoint.hits,
    }
    weights = {
        "": checkpoint.params,
        "best_": checkpoint.best,
        "velocity_": checkpoint.velocity,
        "average_": checkpoint.average,
    }
    for prefix, params in weights.items():
        if params is not None:
            arrays |= {f"{prefix}{key}": value for key, value in params._asdict().items()}
    return arrays


def _from_arrays(file: Mapping[str, Any]) -> Checkpoint:
    if int(file["version"]) != VERSION:
        raise ValueError("it was written by another version of the trainer")

    def params(prefix: str) -> Params | None:
        keys = [f"{prefix}{key}" for key in Params._fields]
        return Params(*(file[key] for key in keys)) if keys[0] in file else None

    outcome = str(file["outcome"])
    return Checkpoint(
        curve=tuple(
            Row(Metrics.from_row(values), int(milliseconds))
            for *values, milliseconds in file["curve"]
        ),
        outcome=Outcome(outcome) if outcome else None,
        best=params("best_"),
        best_hits=file["best_hits"],
        params=params(""),
        step=int(file["step"]),
        loss=float(file["loss"]),
        hits=int(file["hits"]),
        velocity=params("velocity_"),
        average=params("average_"),
    )


def _check(checkpoint: Checkpoint, model: Model) -> None:
    """Check that training can continue from a checkpoint, or that it is a complete result.

    Raises:
        ValueError: it does not fit the model.
    """
    job = model.hyperparameters
    epochs, steps = len(checkpoint.curve), -(-model.num_train // job.batch_size)
    for params in (checkpoint.params, checkpoint.best, checkpoint.velocity, checkpoint.average):
        for array, shape in zip(params or (), model.shapes, strict=False):
            _require(array.shape == shape and array.dtype == job.dtype)
    hits = checkpoint.best_hits
    _require(hits.dtype == np.uint8 and hits.shape == (-(-model.num_val // 8),))
    finite = [row.metrics.are_finite for row in checkpoint.curve]
    measured = [job.select_by in row.metrics.measured() for row in checkpoint.curve]
    _require(all(measured[:-1]) and (checkpoint.outcome is Outcome.DIVERGED or all(measured)))
    if checkpoint.outcome is Outcome.DIVERGED:
        _require(0 < epochs <= job.num_epochs and finite == [True] * (epochs - 1) + [False])
    else:
        _require(all(finite))
    if checkpoint.outcome is Outcome.FINISHED:
        _require(epochs == job.num_epochs and checkpoint.best is not None)
    if checkpoint.outcome is None:
        _require(epochs < job.num_epochs and checkpoint.params is not None)
        _require(0 <= checkpoint.step < steps)
        _require((checkpoint.velocity is not None) == (job.momentum > 0))
        _require((checkpoint.average is not None) == (job.ema > 0))
        _require((checkpoint.best is not None) == (epochs > 0))
        _require(0 <= checkpoint.hits <= checkpoint.step * job.batch_size)


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("the checkpoint does not fit the model")
