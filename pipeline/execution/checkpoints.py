"""Checkpoints: trained weights and curves in files that survive the process that trains them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.execution.checkpoint_file import Model, as_arrays, read_checkpoint
from pipeline.files import atomic_link, atomic_write, delete_abandoned
from pipeline.nn.history import Checkpoint
from pipeline.process import this_process


@dataclass(frozen=True)
class Checkpoints:
    """A folder with one file per model, FINGERPRINT.npz.

    Sweeps that train the same model at the same time share its file, and the first one to finish
    deletes it. Each sweep therefore reads results from a copy of its own.
    """

    folder: Path
    minutes: float  # between two checkpoints of a model in training
    owner: str = field(default_factory=lambda: str(this_process()))  # the sweep's process

    def path(self, name: str) -> Path:
        """The file of a model, which may not exist."""
        return self.folder / f"{name}.npz"

    def result_path(self, name: str) -> Path:
        """This sweep's own copy of a result, which may not exist."""
        return self.folder / f"{name}.{self.owner}.tmp"

    def read(self, name: str, model: Model) -> Checkpoint | None:
        """Read the checkpoint of a model; None if it is missing, damaged or of another model."""
        return read_checkpoint(self.path(name), name, model)

    def read_result(self, name: str, model: Model) -> Checkpoint | None:
        """Read this sweep's copy of a result, or of a model that paused at a rung."""
        return read_checkpoint(self.result_path(name), name, model)

    def write(self, name: str, checkpoint: Checkpoint, *, own_copy: bool = False) -> None:
        """Replace the checkpoint of a model atomically.

        Args:
            name: the name of the checkpoint.
            checkpoint: what to write. A result is also written to this sweep's own copy.
            own_copy: write the own copy in any case.

        Raises:
            OSError: the disk is full, or the folder is not writable.
        """
        arrays = as_arrays(name, checkpoint)
        has_copy = own_copy or checkpoint.outcome is not None
        path = self.result_path(name) if has_copy else self.path(name)
        atomic_write(path, lambda file: np.savez(file, **arrays))
        if has_copy:
            atomic_link(path, self.path(name))

    def delete(self, name: str) -> None:
        """Delete the checkpoint of a model, if there is one."""
        self.path(name).unlink(missing_ok=True)
        self.result_path(name).unlink(missing_ok=True)

    def delete_abandoned(self) -> None:
        """Delete the temporary files of processes that were killed."""
        delete_abandoned(self.folder)
