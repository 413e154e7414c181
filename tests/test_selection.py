"""The selection rule."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.selection import WORST, mean, mean_key, selection_key


def test_higher_accuracy_wins_and_lower_loss_breaks_ties() -> None:
    assert selection_key(0.9, 5.0) > selection_key(0.8, 0.1)
    assert selection_key(0.9, 0.1) > selection_key(0.9, 0.2)


def test_one_replicate_without_result_makes_a_configuration_the_worst() -> None:
    assert mean_key([selection_key(0.9, 0.1), WORST]) == WORST


def test_means_of_equal_hits_are_equal_in_any_order() -> None:
    counts = (97, 113, 211)  # correct predictions of 360
    means = {mean(n / 360 for n in order) for order in permutations(counts)}
    means |= {mean(n / 360 for n in other) for other in [(100, 110, 211), (96, 114, 211)]}
    assert len(means) == 1
    assert means.pop() == pytest.approx(421 / 1080)
