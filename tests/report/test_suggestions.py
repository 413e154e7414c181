"""The command that a report suggests as the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.analysis.sweep import analyse
from pipeline.report.suggestions import next_step
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep

pytestmark = pytest.mark.usefixtures("outputs")


def test_tied_configurations_are_repeated_with_seeds(store: Store, tmp_path: Path) -> None:
    jobs = [{"l2_reg": value} for value in (1e-9, 1e-8)]  # too weak to make a difference
    found = analyse(store, train_sweep(store, tmp_path, "tied", *jobs))
    step = next_step(found)
    assert step is not None
    assert step.command.endswith(" l2_reg=1e-9,1e-8 seed=0,1,2")
    assert step.summary == "Next step: repeat the 2 best configurations with 3 seeds (6 jobs)"
    assert step.reasons == ()


def test_all_edges_are_extended_by_one_command(store: Store, tmp_path: Path) -> None:
    jobs = [
        {"learning_rate": rate, "hidden_size": size}
        for rate in (0.003, 0.03, 0.3)
        for size in (2, 8, 32)
    ]
    found = analyse(store, train_sweep(store, tmp_path, "edges", *jobs))
    step = next_step(found)
    assert step is not None
    assert "learning_rate=0.3,3,30" in step.command
    assert "hidden_size=32,128,512" in step.command
    assert step.summary == "Next step: try values beyond these ends (9 jobs)"
    assert len(step.reasons) == 2
