"""The learning curves that a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pipeline.analysis.runs import CURVES
from pipeline.outcomes import Outcome
from pipeline.tracking import queries
from pipeline.tracking.store import Store

NUM_BEST = 3  # configurations whose curves are shown, besides the median one


@dataclass(frozen=True)
class LearningCurve:
    """The metrics of one run by epoch."""

    role: Literal["best", "median", "diverged"]
    place: int | None  # of the run's configuration in the ranking, from 1; None if it diverged
    run: pd.Series[Any]  # its row of the table of jobs
    metrics: pd.DataFrame  # a row per epoch, a column per metric
    best_epoch: int | None


def shown_curves(store: Store, jobs: pd.DataFrame, ranking: pd.DataFrame) -> list[LearningCurve]:
    """Load the curves of the best configurations, the median one, and a run that diverged.

    A configuration is shown by its best replicate. Of the diverged runs with at least one finite
    epoch, the one that trained longest is shown.

    Args:
        store: holds the runs.
        jobs: a row per run.
        ranking: the finished ones, best first (`rank`).
    """
    first = ranking[~ranking["configuration"].duplicated()]
    median = len(first) // 2
    places = [*range(min(NUM_BEST, len(first)))]
    places += [median] if median not in places and len(first) else []
    shown: list[tuple[Literal["best", "median", "diverged"], int | None, pd.Series[Any]]] = [
        ("median" if place >= NUM_BEST else "best", place + 1, first.iloc[place])
        for place in places
    ]
    diverged = jobs[(jobs["outcome"] == Outcome.DIVERGED) & jobs["best_epoch"].notna()]
    if len(shown) and len(diverged):
        longest = diverged.sort_values("diverged_epoch", ascending=False, kind="stable")
        shown.append(("diverged", None, longest.iloc[0]))
    return [
        LearningCurve(
            role,
            place,
            run,
            queries.curves(store, run["run_id"], CURVES),
            None if pd.isna(run["best_epoch"]) else int(run["best_epoch"]),
        )
        for role, place, run in shown
    ]
