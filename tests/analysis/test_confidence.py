"""The confidence set: published worked examples, and sweeps whose true accuracies are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from statsmodels.formula.api import ols
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from benchmarks.simulation import simulate, sweep
from pipeline.analysis.confidence import confidence_set, holm, replicates
from pipeline.analysis.intervals import wilson
from pipeline.analysis.paired import pooled_noise, seed_noise

# Hours of sleep gained by ten patients with each of two drugs: Student (1908), "The probable
# error of a mean", Biometrika 6, as in R's `sleep`.
SLEEP = (
    (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0),
    (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4),
)


def discordant(wins: int, losses: int, agreed: int = 3) -> NDArray[np.bool_]:
    """Hits of two models that win, lose and agree on some images."""
    first = np.repeat([True, False, True], [wins, losses, agreed])
    return np.array([first, np.repeat([False, True, True], [wins, losses, agreed])])


def test_highest_mean_is_chosen_then_loss_then_cost_then_order() -> None:
    rows = [  # configuration, seed, accuracy, loss, cost
        (("first", 1), 0, 0.8, 0.3, 5),
        (("first", 1), 1, 0.7, 0.5, 5),
        (("lucky", 1), 0, 0.9, 0.1, 1),
        (("lucky", 1), 1, 0.2, 0.1, 1),
        (("loss", 1), 0, 0.7, 0.2, 9),
        (("loss", 1), 1, 0.8, 0.3, 9),
        (("cost", 1), 0, 0.75, 0.3, 4),
        (("again", 1), 0, 0.75, 0.3, 4),
    ]
    keys = ["configuration", "seed", "best_val_acc", "best_val_loss", "cost"]
    table = replicates(pd.DataFrame(rows, columns=keys), np.ones((len(rows), 100), bool))
    assert [label for label, _ in table["configuration"]] == [
        *("loss", "cost", "again", "first", "lucky"),
    ]
    assert [*table] == ["configuration", "n", "mean", "std", "val_loss", "cost", "low", "high"]


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [
        (9, 2, 0.06543),  # Fay (2010), "exactMcNemar" in the R package exact2x2
        (150, 86, None),  # approval ratings: Agresti, Categorical Data Analysis, Table 10.1
        (5, 5, 1.0),
        (0, 0, 1.0),
    ],
)
def test_two_models_are_compared_by_mcnemars_exact_test(
    wins: int, losses: int, p_value: float | None
) -> None:
    hits = discordant(wins, losses)
    row = confidence_set(sweep(hits), hits).table.iloc[1]
    expected = mcnemar([[3, losses], [wins, 0]], exact=True).pvalue
    assert row["p_value"] == pytest.approx(expected)
    assert p_value is None or row["p_value"] == pytest.approx(p_value, abs=5e-6)
    # One other: Holm over the two and the two sides of the test are the same.
    assert row["p_adjusted"] == pytest.approx(expected)


def test_interval_of_two_models_is_the_adjusted_wald_interval() -> None:
    hits = discordant(9, 2)
    row = confidence_set(sweep(hits), hits).table.iloc[1]
    # Bonett and Price (2012): (10 − 3) / 16 ± 1.96 √((10 / 16 + 3 / 16 − 0.4375²) / 16)
    interval = row["difference_low"], row["difference_high"]
    assert interval == pytest.approx((0.4375 - 0.38616, 0.4375 + 0.38616), abs=1e-5)


def test_two_configurations_are_compared_by_students_paired_test() -> None:
    # R's t.test(sleep, paired = TRUE): t = 4.0621, df = 9, p = 0.002833. Here no image differs.
    hits = np.ones((20, 4), bool)
    shares = (np.ravel(SLEEP) + 2) / 10
    row = confidence_set(sweep(hits, seeds=10, best_val_acc=shares), hits).table.iloc[1]
    assert row["p_value"] == pytest.approx(0.002833, abs=5e-7)
    assert (row["configuration"], row["test"]) == (0, "paired_t")
    assert row["difference"] == pytest.approx(0.158)


def test_holm_correction_of_a_published_example() -> None:
    # The four hypotheses of the article "Holm–Bonferroni method" in Wikipedia.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_correction_equals_that_of_statsmodels() -> None:
    random = np.random.default_rng(0)
    for size in (1, 2, 5, 64):
        p_values = random.choice([0.0, 0.001, 0.01, 0.2, 1.0], size) * random.random(size)
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_correction_counts_all_configurations() -> None:
    hits = np.ones((3, 400), bool)
    hits[1, :7] = False  # two-sided p = 2 / 2^7
    hits[2, :12] = False  # 2 / 2^12
    table = confidence_set(sweep(hits), hits).table
    # One-sided, times the 2 others, times Holm's 3 and 2; or all others beaten: 2 / 2^7.
    assert table["p_adjusted"].tolist() == pytest.approx([1, 2 / 2**7, 6 / 2**12])
    hits[1, 4:7] = True  # 2 / 2^4: too little to say that the choice is the only best
    table = confidence_set(sweep(hits), hits).table
    assert table["p_adjusted"].tolist() == pytest.approx([1, 2 / 2**4, 6 / 2**12])
    assert table["worse"].tolist() == [False, False, True]


@pytest.mark.parametrize("missing", [[], [3, 4, 11]])
def test_noise_over_seeds_is_the_error_of_the_two_way_layout(missing: list[int]) -> None:
    random = np.random.default_rng(0)
    models = sweep(np.ones((12, 1), bool), seeds=3, best_val_acc=random.normal(size=12))
    models = models.drop(missing)
    noise = seed_noise(models, blocks=True)
    fit = ols("best_val_acc ~ C(configuration) + C(seed)", models).fit()
    assert (noise.variance, noise.df) == (pytest.approx(fit.mse_resid), fit.df_resid)


def test_cheapest_configuration_is_a_member_of_the_set() -> None:
    hits = np.ones((3, 1000), bool)
    hits[1, :3] = hits[2, :500] = False
    found = confidence_set(sweep(hits, cost=[100, 50, 1]), hits)
    assert (found.chosen, found.members, found.cheapest) == (0, [0, 1], 1)


def test_single_configuration_is_the_whole_set() -> None:
    hits = np.array([[True, False, True]])
    found = confidence_set(sweep(hits), hits)
    assert (found.members, found.cheapest) == ([0], 0)


def test_hits_that_do_not_fit_the_models_are_refused() -> None:
    hits = np.ones((2, 5), bool)
    with pytest.raises(ValueError, match="do not fit"):
        confidence_set(sweep(hits), hits[:1])
    with pytest.raises(ValueError, match="do not fit"):
        confidence_set(sweep(hits).assign(configuration=0, seed=0), hits)


def test_best_of_equal_models_is_not_called_better() -> None:
    single = excluded = naive = 0
    for repeat in range(100):
        hits = simulate(np.random.default_rng(repeat), [0.9] * 200, 1000)
        found = confidence_set(sweep(hits), hits)
        single += len(found.members) == 1
        excluded += len(found.members) < 200
        naive += bool((holm(found.table["p_value"][1:]) <= 0.05).any())
    assert single <= 5  # 5 %
    assert excluded <= 5
    assert naive > 30  # because Holm alone ignores the selection of the best


def test_best_of_three_equal_models_is_not_called_better() -> None:
    wrong = 0
    for repeat in range(100):
        hits = simulate(np.random.default_rng(repeat), [0.9] * 3, 1000)
        wrong += len(confidence_set(sweep(hits), hits).members) < 3
    assert wrong <= 5


def test_difference_of_three_points_is_detected_among_two_hundred() -> None:
    for repeat in range(10):
        hits = simulate(np.random.default_rng(repeat), [0.9] * 7 + [0.93] + [0.9] * 192, 10_000)
        assert confidence_set(sweep(hits), hits).members == [7]


def test_noise_over_seeds_excludes_no_equal_configuration() -> None:
    excluded = 0
    for repeat in range(40):
        hits = simulate(np.random.default_rng(repeat), [0.9] * 10, 1000, seeds=3, luck=0.1)
        excluded += len(confidence_set(sweep(hits, seeds=3), hits).members) < 10
    assert excluded <= 2
    hits = simulate(np.random.default_rng(0), [0.9] * 9 + [0.93], 10_000, seeds=5, luck=0.02)
    assert confidence_set(sweep(hits, seeds=5), hits).members == [9]


@pytest.mark.parametrize(("configurations", "sizes"), [(8, (1, 2, 3)), (2, (2,)), (4, (1, 2))])
def test_few_and_unequal_seeds_exclude_no_equal_configuration(
    configurations: int, sizes: tuple[int, ...]
) -> None:
    excluded = 0
    for repeat in range(60):
        random = np.random.default_rng(repeat)
        hits = simulate(random, [0.95] * configurations, 1000, seeds=3, luck=0.3)
        models = sweep(hits, seeds=3)
        kept = models["seed"] < random.choice(sizes, configurations)[models["configuration"]]
        found = confidence_set(models[kept].reset_index(drop=True), hits[kept])
        excluded += len(found.members) < configurations
    assert excluded <= 4


def test_noisy_bad_configurations_hide_no_difference() -> None:
    excluded = kept = 0
    for repeat in range(20):
        random = np.random.default_rng(repeat)
        bad = simulate(random, [0.6] * 5, 1000, seeds=3, luck=0.6)
        for good in ([0.95] * 5, [0.95] + [0.88] * 4):
            hits = np.concatenate([simulate(random, good, 1000, seeds=3, luck=0.05), bad])
            together = set(confidence_set(sweep(hits, seeds=3), hits).members)
            excluded += good[1] == 0.95 and not together >= set(range(5))
            kept += len(together & {1, 2, 3, 4}) if good[1] == 0.88 else 0
    assert excluded <= 1
    assert kept <= 8  # of 80


def test_noise_without_common_seeds_is_that_of_the_better_half() -> None:
    models = pd.DataFrame(
        {
            "configuration": [0, 0, 1, 1],
            "seed": [0, 1, 2, 3],
            "best_val_acc": [0.90, 0.94, 0.50, 0.70],
        }
    )
    assert pooled_noise(models) == (pytest.approx(0.0008), 1)


def test_interval_of_replicates_includes_the_noise_over_seeds() -> None:
    hits = np.arange(1000)[None] < np.full(6, 900)[:, None]
    shares = [0.88, 0.90, 0.92, 0.74, 0.70, 0.72]
    table = replicates(sweep(hits, seeds=3, best_val_acc=shares), hits)
    low, high = wilson(900, 1000)
    assert table["low"][0] < low - 0.005
    assert table["high"][0] > high + 0.005
    alone = replicates(sweep(hits[::3]), hits[::3])
    assert alone[["low", "high"]].loc[0].tolist() == pytest.approx([low, high])
