"""Search spaces."""

from __future__ import annotations

import pytest

from pipeline.search.space import bounds, extremes

distributions = pytest.importorskip("optuna.distributions")
SPACE = {
    "momentum": distributions.CategoricalDistribution([0.0, 0.9]),
    "learning_rate": distributions.FloatDistribution(0.01, 1.0, log=True),
    "batch_size": distributions.IntDistribution(50, 200, step=50),
    "hidden_size": distributions.IntDistribution(8, 64),
}


def test_the_report_gets_the_ends_of_intervals_only() -> None:
    assert bounds(SPACE) == {
        "momentum": {},
        "learning_rate": {"low": 0.01, "high": 1.0, "log": True},
        "batch_size": {},
        "hidden_size": {"low": 8, "high": 64, "log": False},
    }


def test_all_choices_and_both_ends_of_intervals_are_checked_before_a_search() -> None:
    assert [extremes(values) for values in SPACE.values()] == [
        [0.0, 0.9],
        [0.01, 1.0],
        [50, 200],
        [8, 64],
    ]
