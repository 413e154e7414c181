"""Confidence intervals for an accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.simulation import of_seeds, simulate
from pipeline.analysis.intervals import (
    Noise,
    accuracy_interval,
    difference_interval,
    paired_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17:857–872, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_interval_is_the_one_of_wilson(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits, n) == pytest.approx((low, high), abs=5e-5)


def test_interval_of_one_model_is_the_one_of_wilson() -> None:
    hits = np.arange(148)[None] < 15
    assert accuracy_interval(15 / 148, hits, Noise.none()) == pytest.approx(wilson(15, 148))
    assert accuracy_interval(1.0, np.ones((1, 20), bool), Noise.none())[1] == 1


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17:873–890, Table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
    ],
)
def test_interval_of_a_difference_is_the_one_of_newcombe(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    shares = [(hits / n, *wilson(hits, n)) for hits, n in (first, second)]
    assert difference_interval(*shares) == pytest.approx((low, high), abs=5e-5)


def test_noise_over_seeds_widens_the_interval() -> None:
    hits = np.arange(1000)[None] < np.array([[890], [900], [910]])
    images_only = accuracy_interval(0.9, hits, Noise.none())
    both = accuracy_interval(0.9, hits, Noise(0.01**2, 16))
    # The variances add: 0.01² / 3 over seeds, and the one over images.
    over_images = float(hits.mean(axis=0).var()) / 1000
    variance = over_images + 0.01**2 / 3
    # The quantiles: t with 16 degrees of freedom is 2.120 and the normal one 1.960.
    critical = (2.120 * 0.01**2 / 3 + 1.960 * over_images) / variance
    assert both[1] - both[0] == pytest.approx(2 * critical * variance**0.5, rel=0.02)
    assert images_only[0] > both[0] and images_only[1] < both[1]


def test_interval_of_paired_differences_is_the_adjusted_wald_interval() -> None:
    wins, losses, n = 9, 3, 100
    differences = np.repeat([1, -1, 0], [wins, losses, n - wins - losses]).astype(np.int8)
    # Bonett and Price (2012): p_jk = (f_jk + 1) / (n + 2), of the two kinds of discordant pairs
    p12, p21 = 10 / 102, 4 / 102
    half = 1.959964 * ((p12 + p21 - (p12 - p21) ** 2) / 102) ** 0.5
    found = paired_interval(np.stack([differences, -differences]))
    assert found[0] == pytest.approx([0.06, -0.06])
    assert found[1] == pytest.approx([p12 - p21 - half, p21 - p12 - half])
    assert found[2] == pytest.approx([p12 - p21 + half, p21 - p12 + half])


def test_interval_against_one_of_several_models_counts_its_mistakes() -> None:
    ours = np.ones(100)
    others = np.ones((2, 100))
    others[0, :10] = others[1, 10:20] = 0  # two models with ten mistakes each
    _, low, high = paired_interval(ours - others.mean(axis=0))
    _, low_of_one, high_of_one = paired_interval(ours - others[0])
    assert (low, high) == pytest.approx((low_of_one, high_of_one))


@pytest.mark.parametrize("luck", [0.0, 0.1, 0.3])
def test_interval_over_two_seeds_contains_the_true_accuracy(luck: float) -> None:
    """Also where the variation over seeds dominates and is known from two numbers only."""
    covered = 0
    for repeat in range(300):
        random = np.random.default_rng(repeat)
        hits = simulate(random, list(of_seeds(random, [0.95], 2, luck)), 500)
        noise = Noise(float(hits.mean(axis=1).var(ddof=1)), 1)
        low, high = accuracy_interval(float(hits.mean()), hits, noise)
        covered += low <= 0.95 <= high
    assert covered >= 0.93 * 300
