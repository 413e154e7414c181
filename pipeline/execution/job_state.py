"""The states of a job, and the allowed changes between them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class JobState(Enum):
    """The states of a job in the process that runs the sweep."""

    WAITING = auto()  # no epoch is recorded
    TRAINING = auto()  # at least one epoch is recorded
    ENDED = auto()  # the outcome is known, and is not yet in MLflow
    LOGGED = auto()  # MLflow has the outcome; a checkpoint may still hold it too
    COMMITTED = auto()  # MLflow has the outcome and no checkpoint is left
    KILLED = auto()  # the sweep was stopped before the job ended


TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.WAITING: frozenset(
        {JobState.TRAINING, JobState.ENDED, JobState.COMMITTED, JobState.KILLED}
    ),
    JobState.TRAINING: frozenset({JobState.ENDED, JobState.KILLED}),
    JobState.ENDED: frozenset({JobState.LOGGED}),
    JobState.LOGGED: frozenset({JobState.COMMITTED}),
    JobState.COMMITTED: frozenset(),
    JobState.KILLED: frozenset(),
}
