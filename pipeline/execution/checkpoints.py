"""What models have learned, in files that outlive the process that trains them."""

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
from pipeline.nn.history import VERSION, Checkpoint, Metrics, Row
from pipeline.nn.model import Params
from pipeline.outcomes import Outcome

LONGEST_WRITE = 7 * 24 * 3600  # seconds after which a file of another machine is nobody's


@dataclass(frozen=True)
class Checkpoints:
    """A folder with a file per model: FINGERPRINT.npz, which needs no pickle to be read.

    Sweeps that train the same model at once share its file, and the first to be done deletes it:
    its result a sweep reads from a copy of its own.
    """

    folder: Path
    minutes: float  # between two of a model that trains
    owner: str = field(
        default_factory=lambda: f"{host_name()}.{os.getpid()}"
    )  # the sweep's process

    def path(self, name: str) -> Path:
        """The file of a model, whether it exists or not."""
        return self.folder / f"{name}.npz"

    def result_path(self, name: str) -> Path:
        """This sweep's own copy of a result, whether it exists or not."""
        return self.folder / f"{name}.{self.owner}.tmp"

    def read(self, name: str) -> Checkpoint | None:
        """The checkpoint of a model; None if there is none, or none that can be read."""
        return _read(self.path(name))

    def read_result(self, name: str) -> Checkpoint | None:
        """The result of a model that this sweep has trained, or where it was left at a rung."""
        return _read(self.result_path(name))

    def write(self, name: str, checkpoint: Checkpoint, *, own: bool = False) -> None:
        """Keep a checkpoint in place of the one before: whole, or not at all.

        Args:
            name: of the model.
            checkpoint: if it is a result, this sweep gets a copy of its own.
            own: whether it gets one anyway.

        Raises:
            OSError: the disk is full, or the folder cannot be written to.
        """
        arrays = _as_arrays(checkpoint)
        paths = [self.path(name), *([self.result_path(name)] if own or checkpoint.outcome else [])]
        for path in paths:
            atomic_write(path, lambda file: np.savez(file, **arrays))

    def forget(self, name: str) -> None:
        """Delete the checkpoint of a model, if there is one."""
        self.path(name).unlink(missing_ok=True)
        self.result_path(name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Delete what processes have left that were killed."""
        for path in self.folder.glob("*.tmp"):
            writer = re.search(rf"\.{host_name()}\.(\d+)\.tmp$", path.name)
            gone = writer is not None and not psutil.pid_exists(int(writer[1]))
            with suppress(OSError):  # another process tidies too
                if gone or time.time() - path.stat().st_mtime > LONGEST_WRITE:
                    path.unlink()


def _read(path: Path) -> Checkpoint | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return _from_arrays(file)
    except Exception:  # what zipfile and NumPy raise for a damaged file has no end
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
    kept = {"": checkpoint.params, "best_": checkpoint.best, "velocity_": checkpoint.velocity}
    for prefix, params in kept.items():
        if params is not None:
            arrays |= {f"{prefix}{key}": value for key, value in params._asdict().items()}
    return arrays


def _from_arrays(file: Mapping[str, Any]) -> Checkpoint:
    if int(file["version"]) != VERSION:
        raise ValueError("of another trainer")

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
