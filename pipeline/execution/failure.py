"""Failures of jobs: which are worth another attempt, and when a sweep gives up."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Failure:
    """Why a job could not be trained to its end."""

    trace: str  # the traceback or the reason
    is_transient: bool = False  # the machine has failed, and not the job: a retry may succeed

    @classmethod
    def from_exception(cls, error: Exception) -> Self:
        """The failure of the training that raises this exception at present.

        A lack of memory, and errors of disks and networks, are failures of the machine.
        """
        return cls(traceback.format_exc(), isinstance(error, MemoryError | OSError))


@dataclass(frozen=True)
class FailurePolicy:
    """The values ``hydra.launcher.max_failures`` and ``hydra.launcher.retries``."""

    max_failures: int | None = None  # failed jobs that end the sweep; None: it trains the others
    retries: int = 0  # further attempts of a job after a transient failure
    earlier: int = 0  # jobs that failed in earlier batches of the sweep
