"""What defines a job, where its run goes, and the result that another machine reports."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.outcomes import Outcome
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from pipeline.tracking.system_metrics import SystemMetrics


@dataclass(frozen=True)
class JobSpec:
    """A job as Hydra defines it."""

    number: int
    values: Mapping[str, Any]  # the composed configuration, with interpolations resolved
    folder: Path  # Hydra's output folder of the job
    log: logging.Logger  # writes to the job's own log file


@dataclass(frozen=True)
class RunContext:
    """The place of the runs in MLflow."""

    store: Store
    experiment_id: str
    sweep: Sweep | None  # None for a single run
    shard: str = ""  # on a Dask worker: the shard that it trains
    system_metrics: SystemMetrics | None = None  # of a sweep, on the machine of its command


@dataclass(frozen=True)
class JobResult:
    """The result of a job that another machine has trained and logged to MLflow."""

    job: int  # the job's number
    run_id: str
    outcome: Outcome
    epochs: int
    score: float | None  # see `JobRun.score`
    error: str  # empty unless the job failed
    log_records: tuple[logging.LogRecord, ...]
