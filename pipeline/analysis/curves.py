"""The learning curves that a report shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.runs import CURVES
from pipeline.outcomes import Outcome
from pipeline.tracking import queries
from pipeline.tracking.store import Store

NUM_BEST = 3  # configurations whose curves are shown, in addition to the median one
MIN_DIFFERENCE = 0.05  # of the last validation losses of two shown ones, so that curves differ
NEIGHBOURS = 2  # epochs on each side of the best one, for its optimism


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

    The chosen configuration comes first. A later one is shown if its last validation loss differs
    by `MIN_DIFFERENCE` from the losses of all shown curves, so that no curve covers another.
    A configuration is shown by its best replicate. Of the diverged runs with at least one finite
    epoch, the one that trained longest is shown.

    Args:
        store: holds the runs.
        jobs: a row per run.
        ranking: the finished ones, best first (`rank`).
    """
    first = ranking[~ranking["configuration"].duplicated()]
    median = len(first) // 2
    places = _distinct(first["val_loss"].to_numpy(float))
    shown: list[tuple[Literal["best", "median", "diverged"], int | None, pd.Series[Any]]] = [
        ("best", place + 1, first.iloc[place]) for place in places
    ]
    if len(places) == NUM_BEST and median > places[-1]:
        shown.append(("median", median + 1, first.iloc[median]))
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


def _distinct(losses: NDArray[np.float64]) -> list[int]:
    """The first places in a ranking whose losses differ from each other by `MIN_DIFFERENCE`."""
    places: list[int] = []
    for place, loss in enumerate(losses):
        gaps = np.abs(loss - losses[places]) / np.maximum(loss, losses[places])
        if not places or (len(places) < NUM_BEST and gaps.min() >= MIN_DIFFERENCE):
            places.append(place)
    return places


def epoch_optimism(curve: LearningCurve) -> float | None:
    """How much the best epoch exceeds the mean of the epochs around it, if it has such."""
    if curve.best_epoch is None or curve.role != "best":
        return None
    accuracy, best = curve.metrics["val_acc"], curve.best_epoch
    around = accuracy.loc[best - NEIGHBOURS : best + NEIGHBOURS].drop(best)
    # Near the end of training the trend of the curve would hide the luck of one epoch.
    return float(accuracy[best] - around.mean()) if len(around) == 2 * NEIGHBOURS else None
