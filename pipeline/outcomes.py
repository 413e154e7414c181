"""The ways in which the training of a job ends."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a job ended. MLflow's tag ``outcome``, checkpoints and reports hold the value."""

    FINISHED = "finished"  # trained for num_epochs
    HALTED = "halted"  # stopped at a rung of successive halving
    DIVERGED = "diverged"  # a metric became infinite or NaN
    FAILED = "failed"  # raised an error
    UNFINISHED = "unfinished"  # only in reports: the run has no outcome yet, or was killed
