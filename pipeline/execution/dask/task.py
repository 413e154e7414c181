"""The messages between the sweep and a Dask worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.execution.spec import JobResult
from pipeline.tracking.entities import Sweep


@dataclass(frozen=True)
class Task:
    """A shard to train."""

    shard_id: str  # a tag of its runs
    jobs: tuple[tuple[int, Mapping[str, Any]], ...]  # number and configuration
    tracking_uri: str = field(repr=False)  # Dask prints tasks, and it may hold a password
    experiment_id: str
    sweep: Sweep
    digest: str  # of the dataset
    environment: Mapping[str, str]  # which the worker must share
    memory: int | None  # bytes for data and weights


@dataclass(frozen=True)
class ShardResult:
    """The answer to a task: results, or why there are none."""

    results: tuple[JobResult, ...] = ()
    unfit: str = ""  # why this worker can train no shard of the sweep, and the remedy
    problem: str = ""  # why it has not trained this one
