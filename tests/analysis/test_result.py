"""The comparison of two sweeps."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.analysis.comparison import ModelComparison
from pipeline.analysis.result import SweepComparison

FIRST: Any = "the first sweep"
SECOND: Any = "the second sweep"


@pytest.mark.parametrize(
    ("difference", "p_values", "p_value", "better"),
    [
        (0.02, (0.025, 1.0), 0.05, FIRST),
        (-0.02, (1.0, 0.02), 0.04, SECOND),
        (0.02, (0.026, 1.0), 0.052, None),
        (0.001, (0.6, 0.7), 1.0, None),
    ],
)
def test_p_value_of_two_sweeps_is_two_sided(
    difference: float, p_values: tuple[float, float], p_value: float, better: Any
) -> None:
    ours, theirs = (
        ModelComparison(sign * difference, sign * difference, 0.0, 0.0, p, 1, 1)
        for sign, p in zip((1, -1), p_values, strict=True)
    )
    found = SweepComparison(FIRST, SECOND, (ours, theirs), None)
    assert found.p_value == pytest.approx(p_value)
    assert found.better is better
    assert not found.same_run
