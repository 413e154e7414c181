"""Metrics in shared memory: workers publish each epoch, and the sweep's process reads it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.nn.history import Metrics, Row
from pipeline.outcomes import Outcome

OUTCOMES = (None, Outcome.FINISHED, Outcome.DIVERGED)  # a row holds 1 + the index


class SharedMetrics:
    """A file that all workers of a wave map.

    It is an array of shape (jobs + 1, epochs, values of a row). A row holds the metrics, the time,
    and the outcome. The row of the last "job" holds the stop flag and an error number.
    """

    def __init__(self, path: Path, jobs: int, epochs: int) -> None:
        """Create the file.

        Raises:
            OSError: the disk is full.
        """
        shape = (jobs + 1, epochs, len(Metrics._fields) + 2)
        path.unlink(missing_ok=True)  # truncating it would invalidate older mappings
        with path.open("wb") as file:
            # Writing to a mapped page without a block on the disk would kill the process.
            os.posix_fallocate(file.fileno(), 0, 8 * math.prod(shape))
        self.rows = np.memmap(path, np.float64, "r+", shape=shape)
        self.owner = os.getpid()

    def stop(self) -> None:
        """Ask all workers to stop before their next step."""
        self.rows[-1, 0, 0] = 1

    def stopped(self) -> bool:
        """Whether the workers must stop: they were asked to, or the sweep's process has died."""
        return bool(self.rows[-1, 0, 0]) or self.owner not in (os.getpid(), os.getppid())

    def set_error(self, error: OSError) -> None:
        """Report that a checkpoint could not be written."""
        self.rows[-1, 0, 1] = error.errno or -1

    def take_error(self) -> str:
        """Return and clear the reason why a checkpoint could not be written; "" for none."""
        number = int(self.rows[-1, 0, 1])
        self.rows[-1, 0, 1] = 0
        return os.strerror(number) if number else ""

    def write(self, job: int, epoch: int, row: Row, outcome: Outcome | None) -> None:
        """Publish an epoch. The outcome is written last: readers skip a row without it."""
        published = self.rows[job, epoch - 1]
        published[:-2] = row.metrics.as_row()
        published[-2] = row.milliseconds
        published[-1] = 1 + OUTCOMES.index(outcome)

    def read(self, job: int, epoch: int) -> Iterator[tuple[Row, Outcome | None]]:
        """Yield the epochs of a job after `epoch`, each with the outcome that it led to."""
        for *metrics, milliseconds, state in self.rows[job, epoch:]:
            if state == 0:
                return
            row = Row(Metrics.from_row(metrics), int(milliseconds))
            yield row, OUTCOMES[int(state) - 1]
