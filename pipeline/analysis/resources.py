"""The time and the arithmetic that a sweep took."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from pipeline.nn.cost import training_cost
from pipeline.outcomes import Outcome
from pipeline.tracking.entities import Sweep

EPOCHS = {  # the column with the number of trained epochs
    Outcome.FINISHED: "num_epochs",
    Outcome.HALTED: "halted_epoch",
    Outcome.DIVERGED: "diverged_epoch",
}


@dataclass(frozen=True)
class SweepResources:
    """Time and arithmetic of the jobs that a sweep trained itself."""

    started: pd.Timestamp | None  # of its first job, UTC
    ended: pd.Timestamp | None  # of its last job, UTC
    cores: int | None  # threads that trained at the same time; None: not recorded
    multiply_adds: int  # of the matrix products of all jobs with a known number of epochs
    num_reused: int  # jobs whose result comes from an earlier sweep

    @property
    def wall_seconds(self) -> float | None:
        """Seconds from the start of the first job to the end of the last one."""
        if self.started is None or self.ended is None:
            return None
        return float((self.ended - self.started).total_seconds())

    @property
    def core_hours(self) -> float | None:
        """Wall time × cores, busy or not."""
        if self.wall_seconds is None or self.cores is None:
            return None
        return self.wall_seconds * self.cores / 3600


def measure_resources(jobs: pd.DataFrame, sweep: Sweep) -> SweepResources:
    """Sum up the jobs of a sweep.

    Args:
        jobs: the table of `pipeline.analysis.runs.tabulate`.
        sweep: their sweep.
    """
    own = jobs[jobs["sweep"] == sweep.name]
    started, ended = own["started"].min(), own["ended"].max()
    sizes = ["hidden_size", "num_train", "num_val", "num_features", "num_classes"]
    total = 0
    for outcome, column in EPOCHS.items():
        numbers = own.loc[own["outcome"] == outcome, [*sizes, column]]
        for row in numbers.apply(pd.to_numeric, errors="coerce").dropna().astype(int).to_numpy():
            H, num_train, num_val, D, C, epochs = row.tolist()
            total += training_cost(H, epochs, num_train, num_val, D, C)
    return SweepResources(
        started=None if pd.isna(started) else started,
        ended=None if pd.isna(ended) else ended,
        cores=sweep.cores,
        multiply_adds=total,
        num_reused=int((jobs["sweep"].notna() & (jobs["sweep"] != sweep.name)).sum()),
    )
