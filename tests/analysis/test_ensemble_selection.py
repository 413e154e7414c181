"""Greedy selection of an ensemble, and its evaluation out of bag."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ensembles import SETTINGS, Setting, repeat
from pipeline.analysis import ensemble_selection
from pipeline.analysis.ensemble_selection import BAGS, PICKS, Library, select
from pipeline.selection import SelectBy

N, C = 300, 4


def library(strengths: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (C, M, N) of models with independent mistakes, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, N)
    S = rng.normal(size=(C, len(strengths), N))
    S[y, :, np.arange(N)] += strengths
    odds = np.exp(S)
    return (odds / odds.sum(axis=0)).astype(np.float32), y


def reference_picks(
    probs: np.ndarray, y: np.ndarray, counts: np.ndarray, select_by: SelectBy
) -> list[int]:
    """The picks in one bag, by a plain loop over the examples that the bag contains."""
    rows = np.repeat(np.arange(N), counts)
    picks: list[int] = []
    keys = []
    for _ in range(PICKS):
        best: tuple[tuple[float, float], int] | None = None
        for m in range(probs.shape[1]):
            mean = np.mean([probs[:, k] for k in [*picks, m]], axis=0, dtype=np.float32)[:, rows]
            hits = mean.argmax(axis=0) == y[rows]
            score = float(hits.mean())
            if select_by == "balanced_acc":
                score = float(np.mean([hits[y[rows] == c].mean() for c in np.unique(y[rows])]))
            loss = float(-np.log(mean[y[rows], np.arange(len(rows))]).mean())
            key = (-loss, score) if select_by == "val_loss" else (round(score, 9), -loss)
            if best is None or key > best[0]:
                best = key, m
        assert best is not None
        picks.append(best[1])
        keys.append(best[0])
    return picks[: keys.index(max(keys)) + 1]


@pytest.mark.parametrize("select_by", ["val_acc", "val_loss", "balanced_acc"])
def test_each_bag_adds_the_model_that_improves_the_mean_most(select_by: SelectBy) -> None:
    probs, y = library([0.5, 1.0, 1.2, 0.8])
    rng = np.random.default_rng(1)
    for _ in range(3):
        counts = np.bincount(rng.integers(0, N, N), minlength=N)
        picks = ensemble_selection._greedy(Library.of(probs, y), counts, select_by)
        assert picks == reference_picks(probs, y, counts, select_by)


def test_examples_are_predicted_by_the_bags_that_lack_them() -> None:
    probs, y = library([0.5, 1.0, 1.2, 0.8])
    rng = np.random.default_rng(3)
    shares, votes = np.zeros(4), np.zeros((C, N))
    single, bags = np.zeros(N), np.zeros(N)
    for _ in range(BAGS):
        counts = np.bincount(rng.integers(0, N, N), minlength=N)
        picks = reference_picks(probs, y, counts, "val_acc")
        shares += np.bincount(picks, minlength=4) / len(picks) / BAGS
        outside = counts == 0
        votes[:, outside] += probs[:, picks].mean(axis=1)[:, outside]
        single[outside] += (probs[:, picks[0]].argmax(axis=0) == y)[outside]
        bags[outside] += 1
    found = select(probs, y, "val_acc", seed=3)
    np.testing.assert_allclose(found.shares, shares)
    np.testing.assert_array_equal(found.hits, votes.argmax(axis=0) == y)
    np.testing.assert_allclose(found.single_hits, single / np.maximum(bags, 1))
    np.testing.assert_array_equal(found.is_covered, bags > 0)


def test_equal_seeds_give_equal_ensembles(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, y = library([0.9, 1.0, 1.1, 1.0, 0.9])
    first, other = select(probs, y, "val_acc"), select(probs, y, "val_acc", seed=1)
    monkeypatch.setattr(ensemble_selection, "CHUNK", 1)  # one model at a time
    again = select(probs, y, "val_acc")
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.shares, other.shares)
    assert first.shares.sum() == pytest.approx(1)


def test_independent_models_gain_and_a_useless_one_has_no_share() -> None:
    probs, y = library([1.2, 1.2, 1.2, 1.2, -2.0])
    found = select(probs, y, "val_acc")
    assert (found.hits - found.single_hits).mean() > 0.05
    assert found.shares[4] == 0
    assert np.count_nonzero(found.shares) >= 3


def test_out_of_bag_accuracy_of_random_models_is_that_of_guessing() -> None:
    """Of many models without skill, the best ones seem good on the examples that chose them."""
    measured, honest, single = [], [], []
    for seed in range(8):
        probs, y = library([0.0] * 30, seed)
        found = select(probs, y, "val_acc")
        mean = np.tensordot(found.shares, probs, (0, 1))
        measured.append((mean.argmax(axis=0) == y).mean())
        honest.append(found.hits.mean())
        single.append(found.single_hits.mean())
    assert np.mean(measured) > 1 / C + 0.03
    assert np.mean(honest) == pytest.approx(1 / C, abs=0.02)
    assert np.mean(single) == pytest.approx(1 / C, abs=0.02)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.name))
def test_interval_of_the_gain_contains_the_true_gain(setting: Setting) -> None:
    found = [repeat(setting, number) for number in range(12)]
    covered = sum(each.low <= each.truth <= each.high for each in found)
    assert covered >= 11
    assert np.mean([each.gain - each.truth for each in found]) == pytest.approx(0, abs=0.008)
