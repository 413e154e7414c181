"""The learning curves that a report shows."""

from __future__ import annotations

import pandas as pd

from pipeline.analysis.curves import shown_curves
from pipeline.analysis.runs import rank
from pipeline.execution.spec import RunContext
from pipeline.tracking.entities import Point


def test_the_best_the_median_and_the_longest_diverged_run_are_shown(place: RunContext) -> None:
    rows = [(job, "finished", 0.9 - 0.01 * job, 2, None) for job in range(9)]
    rows += [
        (9, "diverged", 0.5, 1, 2),
        (10, "diverged", 0.5, 3, 4),
        (11, "diverged", None, None, 9),
    ]
    jobs = pd.DataFrame(
        rows, columns=["job", "outcome", "best_val_acc", "best_epoch", "diverged_epoch"]
    ).assign(best_val_loss=0.5, configuration=range(12), hidden_size=range(1, 13))
    jobs["val_loss"] = [0.1, 0.2, 0.4, *[0.8] * 9]
    jobs["run_id"] = [
        place.store.start_run(place.experiment_id, str(job), {}, place.sweep) for job in jobs["job"]
    ]
    for run in jobs.itertuples():
        points = [Point(epoch, 0, {"val_acc": float(run.job)}) for epoch in (1, 2)]
        place.store.log(run.run_id, points)
    shown = shown_curves(place.store, jobs, rank(jobs))
    assert [(curve.role, curve.place, curve.run["job"], curve.best_epoch) for curve in shown] == [
        ("best", 1, 0, 2),
        ("best", 2, 1, 2),
        ("best", 3, 2, 2),
        ("median", 5, 4, 2),
        ("diverged", None, 10, 3),
    ]
    assert [curve.metrics["val_acc"].tolist() for curve in shown] == [
        [float(job)] * 2 for job in (0, 1, 2, 4, 10)
    ]
    finished = jobs[jobs["outcome"] == "finished"]
    assert [curve.role for curve in shown_curves(place.store, finished, rank(finished))] == [
        *("best", "best", "best", "median"),
    ]
