"""A selected model against another one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation import simulate
from pipeline.analysis.comparison import class_weights, compare_selected
from pipeline.analysis.paired import mcnemar
from pipeline.nn.model import balanced_accuracy


def test_best_of_equal_models_rarely_replaces_an_equal_champion() -> None:
    replaced = naively = 0
    for repeat in range(100):
        hits = simulate(np.random.default_rng(repeat), [0.97] * 33, 359)
        champion, candidates = hits[-1], hits[:-1]
        best = int(candidates.mean(axis=1).argmax())
        replaced += compare_selected(champion, candidates, best, resamples=300).is_better
        (found,) = mcnemar(candidates[best], champion[None])
        naively += found.difference > 0 and found.p_value <= 0.05
    assert replaced <= 5
    assert naively >= 12  # which treats the selected model as given


def test_corrected_difference_lies_inside_its_interval_and_is_nearly_unbiased() -> None:
    measured, corrected = [], []
    for repeat in range(40):
        hits = simulate(np.random.default_rng(repeat), [0.95] * 33, 500)
        champion, candidates = hits[-1], hits[:-1]
        best = int(candidates.mean(axis=1).argmax())
        found = compare_selected(champion, candidates, best, resamples=200)
        assert found.low < found.corrected < found.difference < found.high
        measured.append(found.difference)
        corrected.append(found.corrected)
    assert np.mean(measured) > 0.01  # the models are equal
    assert abs(np.mean(corrected)) < 0.4 * np.mean(measured)


def test_clearly_better_model_replaces_the_champion() -> None:
    hits = simulate(np.random.default_rng(0), [0.9] * 10 + [0.95, 0.9], 2000)
    found = compare_selected(hits[-1], hits[:-1], 10)
    assert found.is_better
    assert 0 < found.low < found.difference < found.high < 0.1
    worse = compare_selected(hits[10], hits[-1:])
    assert not worse.is_better
    assert worse.p_value == 1


def test_bad_candidates_hide_no_improvement() -> None:
    found = 0
    for repeat in range(20):
        random = np.random.default_rng(repeat)
        hits = simulate(random, [0.93] * 5 + [0.97] + [0.5] * 60 + [0.93], 1000)
        found += compare_selected(hits[-1], hits[:-1], 5, resamples=300).is_better
    assert found >= 16


def test_stated_number_of_images_detects_one_point_in_four_of_five_cases() -> None:
    hits = simulate(np.random.default_rng(0), [0.95, 0.94], 2000)
    needed = compare_selected(hits[1], hits[:1]).images_for_one_point
    found = 0
    for repeat in range(50):
        hits = simulate(np.random.default_rng([repeat, 1]), [0.95, 0.94], needed)
        found += compare_selected(hits[1], hits[:1], resamples=100).is_better
    assert 33 <= found <= 47


def test_single_candidate_needs_the_exact_test_too() -> None:
    champion, better = np.ones(100, bool), np.ones(100, bool)
    champion[:4] = False
    found = compare_selected(champion, better[None])
    assert found.p_value == pytest.approx(1 / 16)  # four of four differing images
    assert not found.is_better
    champion[4] = False
    assert compare_selected(champion, better[None]).p_value == pytest.approx(1 / 32, abs=0.01)


def test_equal_predictions_are_not_better() -> None:
    hits = simulate(np.random.default_rng(0), [0.9], 200)
    found = compare_selected(hits[0], hits)
    assert (found.difference, found.p_value, found.is_better) == (0, 1, False)
    assert found.images_for_one_point == 0


def test_more_candidates_need_more_images_for_one_point() -> None:
    hits = simulate(np.random.default_rng(1), [0.9] * 40, 1000, correlation=0.8)
    one = compare_selected(hits[-1], hits[:1]).images_for_one_point
    many = compare_selected(hits[-1], hits[:-1]).images_for_one_point
    # One pair: (1.645 + 0.842)² (q − δ²) / δ², with the share q of differing images (Connor, 1987)
    differing = (hits[0] != hits[-1]).mean()
    assert one == pytest.approx((1.645 + 0.842) ** 2 * (differing / 1e-4 - 1), rel=0.05)
    assert many > 1.5 * one


def test_equal_accuracy_on_other_images_is_no_evidence() -> None:
    champion, candidate = np.ones(100, bool), np.ones(100, bool)
    champion[:5] = candidate[5:10] = False
    found = compare_selected(champion, candidate[None])
    assert (found.difference, found.p_value, found.is_better) == (0, 1, False)


def test_images_that_only_the_champion_classifies_correctly_count_against_a_candidate() -> None:
    champion, candidate = np.ones(100, bool), np.ones(100, bool)
    champion[:5] = candidate[5:8] = False
    found = compare_selected(champion, candidate[None])
    # The exact test: 5 or more of the 8 differing images by chance.
    assert found.p_value == pytest.approx(93 / 256)


def test_one_point_is_detected_with_any_images_if_no_more_than_its_square_differ() -> None:
    champion, candidate = np.ones(10_000, bool), np.ones(10_000, bool)
    champion[0] = False  # a share of 0.01²
    assert compare_selected(champion, candidate[None], resamples=20).images_for_one_point == 0
    champion[1] = False
    assert compare_selected(champion, candidate[None], resamples=20).images_for_one_point > 0


def test_weights_compare_balanced_accuracies() -> None:
    random = np.random.default_rng(0)
    labels = (random.random(600) < 0.1).astype(int)
    weights = class_weights(labels)
    assert weights.mean() == pytest.approx(1)
    rare = labels == 1
    # The other model always predicts the majority; the new one finds most of the rare class.
    other, new = ~rare, np.where(rare, random.random(600) < 0.8, random.random(600) < 0.9)
    plain, balanced = (
        compare_selected(other, new[None]),
        compare_selected(other, new[None], weights=weights),
    )
    assert not plain.is_better
    assert balanced.is_better
    assert balanced.difference == pytest.approx(
        balanced_accuracy(new, labels) - balanced_accuracy(other, labels), abs=1e-6
    )
    assert balanced.low < balanced.difference < balanced.high
    equal = compare_selected(other, new[None], weights=np.ones(600))
    assert equal.p_value == pytest.approx(plain.p_value, abs=0.01)


def test_weighted_comparison_holds_its_error_rate() -> None:
    random = np.random.default_rng(0)
    labels = (np.arange(400) < 60).astype(int)
    weights = class_weights(labels)
    replaced = 0
    for _ in range(100):
        hits = random.random((9, 400)) < np.where(labels == 1, 0.7, 0.9)
        scores = (hits * weights).mean(axis=1)
        best = int(scores[:-1].argmax())
        replaced += compare_selected(
            hits[-1], hits[:-1], best, resamples=200, weights=weights
        ).is_better
    assert replaced <= 10  # of 100, at a level of 5 %
