"""The contents of a report as DataFrames, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.analysis.evaluation import Best
from pipeline.analysis.result import SweepAnalysis
from pipeline.analysis.sweep import analyse
from pipeline.paths import default_tracking_uri
from pipeline.report.facts import to_dict
from pipeline.tracking import queries
from pipeline.tracking.store import Store


@dataclass(frozen=True, eq=False)
class SweepReport:
    """The report of a sweep."""

    runs: pd.DataFrame  # a row per job, as in report.csv; the chosen run is the first row
    configurations: pd.DataFrame  # as in configurations.csv; empty if nothing can be compared
    importance: pd.DataFrame  # values (a tuple of names) and share of the variance of accuracy
    marginals: pd.DataFrame  # name, value, mean accuracy, and its interval if there are replicates
    curves: dict[str, pd.DataFrame]  # run ID → metrics by epoch, for the runs that the report shows
    facts: dict[str, Any]  # the contents of report.json
    best: Best | None  # the chosen model; None: no job has finished


def load_report(sweep: str | None = None, tracking_uri: str | None = None) -> SweepReport:
    """See `pipeline.report.load`."""
    store = Store.open_existing(tracking_uri or default_tracking_uri())
    return SweepReport(**tables(analyse(store, queries.find_sweep(store, sweep))))


def tables(found: SweepAnalysis) -> dict[str, Any]:
    """The fields of a `SweepReport`."""
    evidence = found.evidence
    return {
        "runs": found.jobs,
        "configurations": evidence.configurations if evidence else pd.DataFrame(),
        "importance": evidence.importance.shares if evidence else pd.DataFrame(),
        "marginals": evidence.importance.marginals if evidence else pd.DataFrame(),
        "curves": {curve.run["run_id"]: curve.metrics for curve in found.curves},
        "facts": to_dict(found, None),
        "best": found.chosen.best if found.chosen else None,
    }
