"""The accuracy of the chosen configuration, corrected for its selection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from benchmarks.simulation import simulate, sweep
from pipeline.analysis.correction import Estimate, correct_selection


def estimate(hits: NDArray[np.bool_], seeds: int = 1, gain: float = 0, **more: Any) -> Estimate:
    """Correct the choice among configurations of some seeds each, the best one first."""
    models = sweep(hits, seeds=seeds)
    means = models.groupby("configuration")["best_val_acc"].transform("mean")
    order = pd.DataFrame({"mean": -means, "id": models["configuration"]}).sort_values(
        ["mean", "id"], kind="stable"
    )
    models = models.assign(gain=0.0).loc[order.index]
    models.loc[models["configuration"] != models["configuration"].iloc[0], "gain"] = gain
    return correct_selection(models, hits[order.index], **more)


@pytest.mark.parametrize(("configurations", "spread"), [(200, 0.0), (50, 0.02), (10, 0.0)])
def test_corrected_accuracy_is_closer_to_the_true_one(configurations: int, spread: float) -> None:
    raw_errors, errors = [], []
    for repeat in range(20):
        random = np.random.default_rng(repeat)
        accuracies = 0.9 - spread * random.random(configurations)
        hits = simulate(random, list(accuracies), 1000)
        found = estimate(hits, resamples=100)
        truth = accuracies[hits.mean(axis=1).argmax()]
        raw_errors.append(found.raw - truth)
        errors.append(found.corrected - truth)
    assert np.abs(errors).mean() < 0.6 * np.abs(raw_errors).mean()
    assert abs(np.mean(errors)) < 0.3 * np.mean(raw_errors)


def test_clear_winner_keeps_its_accuracy() -> None:
    hits = simulate(np.random.default_rng(0), [0.95, 0.6, 0.6], 1000, seeds=2)
    found = estimate(hits, seeds=2)
    assert found.raw == pytest.approx(hits[:2].mean())
    assert found.corrected == pytest.approx(found.raw, abs=2e-3)
    assert found.optimism == pytest.approx(found.raw - found.corrected)
    assert estimate(hits, seeds=2) == found


def test_one_model_keeps_its_accuracy_and_gets_the_interval_of_wilson() -> None:
    found = estimate(np.arange(263)[None] < 81)
    assert found.raw == found.corrected == pytest.approx(81 / 263)
    # Newcombe (1998), Statistics in Medicine 17, Table I
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (found.num_candidates, found.num_seeds) == (1, 1)


def test_halted_candidates_compete_with_the_gain_that_they_missed() -> None:
    hits = simulate(np.random.default_rng(3), [0.9] * 40, 400)
    alone = estimate(hits[[int(hits.mean(axis=1).argmax())]])
    among_all, far_behind = estimate(hits), estimate(hits, gain=-0.5)
    assert among_all.num_candidates == far_behind.num_candidates == 40
    assert among_all.optimism > 0.01
    assert alone.optimism == far_behind.optimism == 0
