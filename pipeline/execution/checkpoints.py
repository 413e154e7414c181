"""Checkpoints: trained weights and curves in files that survive the process that trains them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipeline.files import atomic_write, host_name
from pipeline.nn.history import Checkpoint, Metrics, Row
from pipeline.nn.model import Params
from pipeline.nn.population import VERSION
from pipeline.outcomes import Outcome

MAX_AGE = 7 * 24 * 3600  # seconds after which a temporary file of another host is deleted


@dataclass(frozen=True)
class Checkpoints:
    """A folder with one file per model, FINGERPRINT.npz.

    Sweeps that train the same model at the same time share its file, and the first one to finish
    deletes it. Each sweep therefore reads results from a copy of its own.
    """

    folder: Path
    minutes: float  # between two checkpoints of a model in training
    owner: str = field(default_factory=lambda: f"{host_name()}.{os.getpid()}")  # this sweep

    def path(self, name: str) -> Path:
        """The file of a model, which may not exist."""
        return self.folder / f"{name}.npz"

    def result_path(self, name: str) -> Path:
        """This sweep's own copy of a result, which may not exist."""
        return self.folder / f"{name}.{self.owner}.tmp"

    def read(self, name: str) -> Checkpoint | None:
        """Read the checkpoint of a model; None if it is missing or damaged."""
        return _read(self.path(name))

    def read_result(self, name: str) -> Checkpoint | None:
        """Read this sweep's copy of a result, or of a model that paused at a rung."""
        return _read(self.result_path(name))

    def write(self, name: str, checkpoint: Checkpoint, *, own_copy: bool = False) -> None:
        """Replace the checkpoint of a model atomically.

        Args:
            name: the name of the checkpoint.
            checkpoint: what to write. A result is also written to this sweep's own copy.
            own_copy: write the own copy in any case.

        Raises:
            OSError: the disk is full, or the folder is not writable.
        """
        arrays = _as_arrays(checkpoint)
        paths = [self.path(name)]
        if own_copy or checkpoint.outcome:
            paths.append(self.result_path(name))
        for path in paths:
            atomic_write(path, lambda file: np.savez(file, **arrays))

    def delete(self, name: str) -> None:
        """Delete the checkpoint of a model, if there is one."""
        self.path(name).unlink(missing_ok=True)
        self.result_path(name).unlink(missing_ok=True)

    def delete_abandoned(self) -> None:
        """Delete the temporary files of processes that were killed."""
        for path in self.folder.glob("*.tmp"):
            writer = re.search(rf"\.{host_name()}\.(\d+)\.tmp$", path.name)
            dead = writer is not None and not psutil.pid_exists(int(writer[1]))
            with suppress(OSError):  # another process may have deleted it
                if dead or time.time() - path.stat().st_mtime > MAX_AGE:
                    path.unlink()


def _read(path: Path) -> Checkpoint | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return _from_arrays(file)
    except Exception:  # zipfile and NumPy raise errors of many types for a damaged file
        return None


def _as_arrays(checkpoint: Checkpoint) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "version": VERSION,
        "curve": [[*row.metrics, row.milliseconds] for row in checkpoint.curve],
        "outcome": str(checkpoint.outcome or ""),
        "best_hits": checkpoint.best_hits,
        "step": checkpoint.step,
        "loss": checkpoint.loss,
        "hits": checkpoint.hits,
    }
    weights = {"": checkpoint.params, "best_": checkpoint.best, "velocity_": checkpoint.velocity}
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

    return Checkpoint(
        curve=tuple(
            Row(Metrics(*map(float, values)), int(milliseconds))
            for *values, milliseconds in file["curve"]
        ),
        outcome=Outcome(str(file["outcome"])) if str(file["outcome"]) else None,
        best=params("best_"),
        best_hits=file["best_hits"],
        params=params(""),
        step=int(file["step"]),
        loss=float(file["loss"]),
        hits=int(file["hits"]),
        velocity=params("velocity_"),
    )
