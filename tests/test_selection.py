"""The selection rule."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipeline.selection import (
    WORST,
    SelectBy,
    configuration_key,
    describe_score,
    mean,
    mean_key,
    selection_key,
)


def test_higher_accuracy_wins_and_lower_loss_breaks_ties() -> None:
    assert selection_key(0.9, 5.0) > selection_key(0.8, 0.1)
    assert selection_key(0.9, 0.1) > selection_key(0.9, 0.2)


def test_one_replicate_without_result_makes_a_configuration_the_worst() -> None:
    assert mean_key([selection_key(0.9, 0.1), WORST]) == WORST
    assert mean_key([selection_key(0.9, 0.1), None]) == WORST
    assert mean_key([selection_key(0.0, 1e300)]) > WORST


def test_means_that_differ_by_rounding_alone_are_equal() -> None:
    key = mean_key([selection_key(0.9, 0.1)])
    assert mean_key([selection_key(0.9, 0.1)] * 3) == key
    assert mean_key([selection_key(0.9 + 4e-10, 0.1 + 4e-10)]) == key
    assert mean_key([selection_key(0.9 + 6e-10, 0.1)]) > key
    assert mean_key([selection_key(0.9, 0.1 - 6e-10)]) > key


def test_smaller_model_wins_a_tie_then_the_first_job() -> None:
    keys = [selection_key(0.9, 0.2)]
    assert configuration_key(keys, 8, 5) > configuration_key(keys, 16, 1)
    assert configuration_key(keys, 8, 1) > configuration_key(keys, 8, 2)
    assert configuration_key([selection_key(0.9, 0.1)], 16, 9) > configuration_key(keys, 8, 1)


def test_means_of_equal_hits_are_equal_in_any_order() -> None:
    counts = (97, 113, 211)  # correct predictions of 360
    means = {mean(n / 360 for n in order) for order in permutations(counts)}
    means |= {mean(n / 360 for n in other) for other in [(100, 110, 211), (96, 114, 211)]}
    assert len(means) == 1
    assert means.pop() == pytest.approx(421 / 1080)


@pytest.mark.parametrize(
    ("score", "select_by", "expected"),
    [
        (0.9786, "val_acc", "val_acc 97.9 %"),
        (0.5, "balanced_acc", "balanced_acc 50.0 %"),
        (1.35, "val_loss", "val_loss 1.3500"),
    ],
)
def test_a_loss_is_not_shown_as_a_percentage(
    score: float, select_by: SelectBy, expected: str
) -> None:
    assert describe_score(score, select_by) == expected
