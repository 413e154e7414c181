"""How the processes that train tell the one that writes to MLflow what they have measured."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.nn.history import Metrics, Row

OUTCOMES = (None, "finished", "diverged")


class SharedMetrics:
    """What the models of a wave have measured so far, in a file that every process maps."""

    def __init__(self, path: Path, jobs: int, epochs: int) -> None:
        """Create the file: per job and epoch the metrics, the time, and how the job stands."""
        shape = (jobs + 1, epochs, len(Metrics._fields) + 2)  # the last row holds the signs
        with path.open("wb") as file:  # room that is only promised would kill who writes there
            os.posix_fallocate(file.fileno(), 0, 8 * math.prod(shape))
        self.rows = np.memmap(path, np.float64, "r+", shape=shape)
        self.owner = os.getpid()

    def stop(self) -> None:
        """Ask all shards to stop before their next step."""
        self.rows[-1, 0, 0] = 1

    def stopped(self) -> bool:
        """Whether they were asked to, or nobody is left to ask."""
        return bool(self.rows[-1, 0, 0]) or self.owner not in (os.getpid(), os.getppid())

    def set_error(self, error: OSError) -> None:
        """Say that a checkpoint could not be written."""
        self.rows[-1, 0, 1] = error.errno or -1

    def take_error(self) -> str:
        """Why the last checkpoint that failed could not be written; empty if none did."""
        number = int(self.rows[-1, 0, 1])
        self.rows[-1, 0, 1] = 0
        return os.strerror(number) if number else ""

    def write(self, job: int, epoch: int, row: Row, outcome: str | None) -> None:
        """Publish an epoch; its state comes last, so that no reader sees half of it."""
        published = self.rows[job, epoch - 1]
        published[:-2] = row.metrics
        published[-2] = row.milliseconds
        published[-1] = 1 + OUTCOMES.index(outcome)

    def read(self, job: int, epoch: int) -> Iterator[tuple[Row, str | None]]:
        """The epochs of a job after `epoch`, each with how the job stands then."""
        for *metrics, milliseconds, state in self.rows[job, epoch:]:
            if state == 0:
                return
            row = Row(Metrics(*map(float, metrics)), int(milliseconds))
            yield row, OUTCOMES[int(state) - 1]
