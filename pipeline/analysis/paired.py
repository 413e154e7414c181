"""Paired comparison of two configurations on the same validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtr, stdtr, stdtrit

from pipeline.analysis.intervals import LEVEL, Noise, paired_interval, satterthwaite
from pipeline.analysis.runs import number

Hits = NDArray[np.bool_]  # (models, images): which images each model classifies correctly
Seeds = Mapping[Any, int]  # of a configuration: seed → row of its model

ENOUGH_DF = 3  # degrees of freedom of the better half that suffice for an interval
FEW_DF = 6  # degrees of freedom below which the variance over seeds alone determines the test


class Paired(NamedTuple):
    """The chosen configuration against another one."""

    difference: float  # of accuracy: the chosen one minus the other
    difference_low: float  # its 95 % interval, for this pair alone
    difference_high: float
    p_value: float  # two-sided, not corrected for the number of comparisons
    df: float  # degrees of freedom of the t test; NaN for McNemar's test
    test: str  # "mcnemar", "paired_t" (common seeds) or "unpaired_t"


def pair(models: pd.DataFrame, hits: Hits, chosen: Seeds, others: Sequence[Seeds]) -> list[Paired]:
    """Compare the chosen configuration with each of the others.

    Where no configuration has replicates, this compares models: McNemar's exact test (1947).
    Otherwise it compares configurations over seeds and images (`_t_test`), on their common seeds if
    there are two or more. If not, it uses the variance over seeds of all configurations: accuracies
    are skewed towards low values, so the better half varies less, and nothing else is known about a
    configuration with one model.

    Args:
        models: a row per model, with `configuration`, `seed` and `best_val_acc`.
        hits: (models, images), in the order of `models`.
        chosen: the seeds of the chosen configuration, with their rows.
        others: the same for each other configuration.
    """
    if not others:
        return []
    if not models["configuration"].duplicated().any():
        rows = [next(iter(other.values())) for other in others]
        return mcnemar(hits[next(iter(chosen.values()))], hits[rows])
    accuracy = models["best_val_acc"].to_numpy(float)
    blocked, unblocked = pooled_noise(models), seed_noise(models, blocks=False)
    found = []
    for other in others:
        seeds = [seed for seed in chosen if seed in other]
        common = len(seeds) > 1
        ours = [chosen[seed] for seed in (seeds if common else chosen)]
        theirs = [other[seed] for seed in (seeds if common else other)]
        noise = blocked if common else unblocked
        found.append(_t_test(accuracy, hits, ours, theirs, noise, paired=common))
    return found


def mcnemar(chosen: NDArray[np.bool_], others: Hits) -> list[Paired]:
    """McNemar's exact test of one model (images,) against others (models, images).

    The interval of the difference is `paired_interval`.
    """
    wins, losses = (chosen & ~others).sum(axis=1), (others & ~chosen).sum(axis=1)
    p_values = np.minimum(1, 2 * bdtr(np.minimum(wins, losses), wins + losses, 0.5))
    intervals = paired_interval(chosen.astype(np.int8) - others.astype(np.int8))
    return [
        Paired(float(difference), float(low), float(high), float(p_value), np.nan, "mcnemar")
        for difference, low, high, p_value in zip(*intervals, p_values, strict=True)
    ]


def pooled_noise(models: pd.DataFrame, *, blocks: bool = True) -> Noise:
    """The variance of a model's accuracy over seeds, pooled over the better half of configurations.

    Bad configurations, for example with a learning rate that is too high, vary far more than good
    ones and would hide every difference among these. The choice of the better half uses the means,
    which do not depend on the variances of normal numbers.

    Args:
        models: a row per model, with `configuration`, `seed` and `best_val_acc`.
        blocks: whether to remove the effect that a seed has on all configurations.
    """
    better = _better_half(models)
    for some, blocked in ((better, blocks), (models, blocks), (better, False), (models, False)):
        noise = seed_noise(some, blocks=blocked)
        if noise.df:
            return noise
    return Noise.none()


def interval_noise(models: pd.DataFrame) -> Noise:
    """The variance of a model's accuracy over seeds, for the interval of one configuration.

    In contrast to a comparison, the effect that a seed has on all configurations counts here. The
    models are the better half (`pooled_noise`), if it has `ENOUGH_DF` degrees of freedom, or all.
    With one or two, the quantile of t (12.7 or 4.3) would widen the interval more than the bad
    configurations do.

    Args:
        models: a row per model, with `configuration`, `seed` and `best_val_acc`.
    """
    noise = seed_noise(_better_half(models), blocks=False)
    return noise if noise.df >= ENOUGH_DF else seed_noise(models, blocks=False)


def _better_half(models: pd.DataFrame) -> pd.DataFrame:
    """The models of the better half of configurations, by the mean accuracy."""
    codes = configuration_codes(models)
    means = models["best_val_acc"].groupby(codes).transform("mean").to_numpy(float)
    of_each = pd.Series(means).groupby(codes).first()
    return models[means >= of_each.quantile(interpolation="higher")]


def seed_noise(models: pd.DataFrame, *, blocks: bool) -> Noise:
    """The error mean square of the layout configuration + seed (randomised blocks: Fisher, 1935).

    It is a least squares fit, so seeds may be missing. Without blocks it is the variance within
    configurations.
    """
    codes = configuration_codes(models)
    y = models["best_val_acc"].to_numpy(float)
    columns = (
        pd.get_dummies(models["seed"], dtype=float).to_numpy() if blocks else y[:, None][:, :0]
    )
    X = np.column_stack([columns, y])
    within = X - pd.DataFrame(X).groupby(codes).transform("mean").to_numpy()
    effects, _, rank, _ = np.linalg.lstsq(within[:, :-1], within[:, -1])
    df = len(models) - len(set(codes)) - int(rank)
    residuals = within[:, -1] - within[:, :-1] @ effects
    return Noise(float(residuals @ residuals) / df, df) if df else Noise.none()


def _t_test(
    accuracy: NDArray[np.float64],
    hits: Hits,
    ours: list[int],
    theirs: list[int],
    noise: Noise,
    *,
    paired: bool,
) -> Paired:
    """A t test of the difference of two configurations, over seeds and images.

    Student's test over a few seeds has almost no power after a correction for many comparisons, and
    ignores that other images would give other accuracies. So the variance over seeds is the pooled
    one (`pooled_noise`), or the pair's own variance if it is larger, and the variance over images
    is added: the quasi-F test for two random factors of Clark (1973), with the degrees of freedom
    of Satterthwaite (1946). With few degrees of freedom, and between configurations that share
    fewer than two seeds, these are too many, and the ones of the variance over seeds replace them.
    """
    difference = float(accuracy[ours].mean() - accuracy[theirs].mean())
    over_seeds = noise.variance * (1 / len(ours) + 1 / len(theirs))
    if paired:
        own = float((accuracy[ours] - accuracy[theirs]).var(ddof=1)) / len(ours)
        over_seeds = max(own, over_seeds)
    by_image = hits[ours].mean(axis=0) - hits[theirs].mean(axis=0)
    n = len(by_image)
    over_images = float(by_image.var(ddof=1)) / n if n > 1 else 0.0
    variance = over_seeds + over_images
    if variance == 0 or not noise.df:
        p_value = float(difference == 0)
        return Paired(difference, difference, difference, p_value, np.nan, "paired_t")
    df = float(noise.df)
    if paired and noise.df >= FEW_DF:
        df = satterthwaite(over_seeds, noise.df, over_images, n - 1)
    p_value = float(2 * stdtr(df, -abs(difference) / variance**0.5))
    half = float(stdtrit(df, LEVEL)) * variance**0.5
    test = "paired_t" if paired else "unpaired_t"
    return Paired(difference, difference - half, difference + half, p_value, df, test)


def configuration_codes(models: pd.DataFrame) -> NDArray[np.intp]:
    """The configuration of each model as a number."""
    return np.array(number(list(models["configuration"])), np.intp)
