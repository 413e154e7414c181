"""Two configurations on the same validation images: is the one really better?"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Hits = NDArray[np.bool_]  # (models, images): which images each model predicts right
Seeds = Mapping[Any, int]  # of a configuration: seed → row of its model


class Paired(NamedTuple):
    """The chosen configuration against another on the same images."""

    difference: float  # of accuracy, the chosen one's minus the other's
    p_value: float  # two-sided, uncorrected
    p_seeds: float  # of SciPy's `ttest_rel` over common seeds; NaN without two of them
    test: str


def pair(models: pd.DataFrame, hits: Hits, chosen: Seeds, others: Sequence[Seeds]) -> list[Paired]:
    """Test the chosen configuration against each of the others.

    McNemar's exact test (1947) of one model of each, or with two or more seeds in common a t-test
    over these (`_over_seeds`).

    Args:
        models: a row a model, with `configuration`, `seed` and `best_val_acc`.
        hits: (models, images), in the order of `models`.
        chosen: the seeds of the chosen configuration, and their rows.
        others: the same of each other configuration.
    """
    from scipy.stats import binom

    if not others:
        return []
    ours, theirs, tests = zip(*(_one_of_each(chosen, other) for other in others), strict=True)
    mine, other_hits = hits[list(ours)], hits[list(theirs)]
    wins, losses = (mine & ~other_hits).sum(axis=1), (other_hits & ~mine).sum(axis=1)
    p_values = np.minimum(1, 2 * binom.cdf(np.minimum(wins, losses), wins + losses, 0.5))
    differences = (wins - losses) / hits.shape[1]
    pairs = list(map(Paired, differences, p_values, [np.nan] * len(others), tests))
    shared = [[seed for seed in chosen if seed in other] for other in others]
    if max(map(len, shared)) > 1:
        accuracy, noise = models["best_val_acc"].to_numpy(float), seed_noise(_better_half(models))
        if not noise[1]:  # a half of two configurations is one
            noise = seed_noise(models)
    for i, seeds in enumerate(shared):
        if len(seeds) > 1:
            rows = [chosen[seed] for seed in seeds], [others[i][seed] for seed in seeds]
            pairs[i] = _over_seeds(accuracy, hits, *rows, *noise)
    return pairs


def _one_of_each(chosen: Seeds, other: Seeds) -> tuple[int, int, str]:
    """The rows of the two models to compare where the seeds allow no more, and the test's name."""
    shared = [seed for seed in chosen if seed in other]
    if shared and len(chosen) + len(other) > 2:
        seed = shared[0]
        return chosen[seed], other[seed], f"exact McNemar: only seed {seed} in common"
    first, second = next(iter(chosen.values())), next(iter(other.values()))
    if shared or len(chosen) == len(other) == 1:
        return first, second, "exact McNemar"
    return first, second, "exact McNemar of the first seed of each: none in common"


def _over_seeds(
    accuracy: NDArray[np.float64],
    hits: Hits,
    ours: list[int],
    theirs: list[int],
    noise: float,
    noise_df: int,
) -> Paired:
    """The paired t-test over common seeds, made to hold for other images too.

    Student's test over a few seeds has next to no power after a correction for many comparisons
    (two differences: t must exceed 10,000), and knows nothing of how the images were drawn. So
    the variance over seeds is the larger of the pair's own and the pooled one (`seed_noise`) of the
    better half of all: bad configurations, as of a learning rate that is too high, vary far more,
    and would hide every difference. The variance of the mean difference over images is added: the
    quasi-F for two random factors of Clark (1973), degrees of freedom by Satterthwaite (1946).
    """
    from scipy.stats import t, ttest_rel

    differences = accuracy[ours] - accuracy[theirs]  # (seeds,)
    by_image = hits[ours].mean(axis=0) - hits[theirs].mean(axis=0)  # (images,)
    over_seeds = max(float(differences.var(ddof=1)), 2 * noise) / len(ours)
    over_images = float(by_image.var(ddof=1)) / len(by_image)
    variance, difference = over_seeds + over_images, float(differences.mean())
    p_value = float(difference == 0)
    if variance > 0:
        df = variance**2 / (over_seeds**2 / noise_df + over_images**2 / (len(by_image) - 1))
        p_value = float(2 * t.sf(abs(difference) / variance**0.5, df))
    with warnings.catch_warnings():  # of differences that are all the same
        warnings.simplefilter("ignore", RuntimeWarning)
        p_seeds = float(ttest_rel(accuracy[ours], accuracy[theirs]).pvalue)
    return Paired(difference, p_value, p_seeds, f"paired t over {len(ours)} seeds")


def _better_half(models: pd.DataFrame) -> pd.DataFrame:
    """The models of the configurations whose mean accuracy is the median or above.

    A mean says nothing of the spread of the same normal numbers, so this choice favours none.
    """
    means = models["best_val_acc"].groupby(number(models)).transform("mean")
    of_each = means.groupby(number(models)).first()
    return models[means >= of_each.quantile(interpolation="higher")]


def seed_noise(models: pd.DataFrame) -> tuple[float, int]:
    """Variance of a model's accuracy over seeds, pooled over configurations.

    The error mean square of the two-way layout configuration + seed (randomised blocks: Fisher,
    1935), by least squares, so that seeds may be missing.

    Returns:
        The variance, and its degrees of freedom; NaN if there are none.
    """
    codes = number(models)
    blocks = pd.get_dummies(models["seed"], dtype=float).assign(y=models["best_val_acc"])
    within = (blocks - blocks.groupby(codes).transform("mean")).to_numpy()
    effects, _, rank, _ = np.linalg.lstsq(within[:, :-1], within[:, -1])
    df = len(models) - len(set(codes)) - int(rank)
    residuals = within[:, -1] - within[:, :-1] @ effects
    return (float(residuals @ residuals) / df if df else np.nan), df


def number(models: pd.DataFrame) -> NDArray[np.intp]:
    """The configuration of each model as a number, in the order of the sweep.

    A label may be a tuple, of which pandas would make an index of several levels.
    """
    numbers: dict[Hashable, int] = {}
    labels = models["configuration"]
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.intp)
