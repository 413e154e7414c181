"""The time and the arithmetic of a sweep."""

from __future__ import annotations

import pandas as pd
import pytest

from pipeline.analysis.resources import measure_resources
from pipeline.tracking.entities import Sweep


def test_resources_count_the_epochs_that_the_sweep_trained_itself() -> None:
    sizes = {"hidden_size": 5, "num_train": 100, "num_val": 40, "num_features": 7, "num_classes": 3}
    rows = [  # outcome, sweep, epochs planned, halted, diverged, start and end in seconds
        ("finished", "s", 10, None, None, 0, 60),
        ("halted", "s", 10, 4, None, 0, 30),
        ("diverged", "s", 10, None, 2, 30, 1800),
        ("failed", "s", 10, None, None, 0, 1),
        ("finished", "earlier", 10, None, None, -9000, -8000),
    ]
    columns = ["outcome", "sweep", "num_epochs", "halted_epoch", "diverged_epoch"]
    jobs = pd.DataFrame(rows, columns=[*columns, "started", "ended"]).assign(**sizes)
    for end in ("started", "ended"):
        jobs[end] = pd.to_datetime(jobs[end], unit="s", utc=True)
    found = measure_resources(jobs, Sweep("s", "1", "1", "…", cores=8))
    training, prediction = 5 * (2 * 7 + 3 * 3), 5 * (7 + 3)
    assert found.multiply_adds == (10 + 4 + 2) * (100 * training + 40 * prediction)
    assert (found.wall_seconds, found.num_reused) == (1800, 1)
    assert found.core_hours == pytest.approx(4)


def test_sweep_without_jobs_of_its_own_took_nothing() -> None:
    columns = ["sweep", "outcome", "hidden_size", "num_train", "num_val", "num_features"]
    columns += ["num_classes", "num_epochs", "halted_epoch", "diverged_epoch", "started", "ended"]
    found = measure_resources(pd.DataFrame(columns=columns), Sweep("s", "1", "1", "…"))
    assert (found.multiply_adds, found.wall_seconds, found.core_hours) == (0, None, None)
