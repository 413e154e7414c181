"""Confidence intervals for an accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

LEVEL = 0.975  # the quantile of a two-sided 95 % interval


class Noise(NamedTuple):
    """How much the accuracy of a configuration varies over seeds."""

    variance: float  # of one model
    df: int  # degrees of freedom of this estimate; 0: there are no replicates

    @classmethod
    def none(cls) -> Noise:
        """The noise where each configuration has one model: not known, and not counted."""
        return cls(0.0, 0)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval for a share of n images (Wilson, 1927), valid near 0 and 1 too."""
    return score_interval(hits / n, n, float(ndtri(LEVEL)))


def score_interval(centre: float, n: float, critical: float) -> tuple[float, float]:
    """The score interval of Wilson (1927) around an estimated share.

    Args:
        centre: the estimate, between 0 and 1.
        n: the number of images, or an effective number that need not be whole.
        critical: the quantile of the normal or t distribution.
    """
    spread = critical**2 / n
    middle = (centre + spread / 2) / (1 + spread)
    half = critical / (1 + spread) * (centre * (1 - centre) / n + spread / (4 * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def difference_interval(
    first: tuple[float, float, float], second: tuple[float, float, float]
) -> tuple[float, float]:
    """The 95 % interval of the difference of two independent estimates.

    It combines their own intervals, which need not be symmetric (method 10 of Newcombe, 1998, for
    two shares; Zou and Donner, 2008, for any estimates).

    Args:
        first: an estimate and the ends of its 95 % interval.
        second: the estimate that is subtracted, and the ends of its interval.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    low = a - b - ((a - a_low) ** 2 + (b_high - b) ** 2) ** 0.5
    return low, a - b + ((a_high - a) ** 2 + (b - b_low) ** 2) ** 0.5


def paired_interval(
    differences: NDArray[np.number],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The mean of differences from −1 to 1 of paired examples, and its 95 % interval.

    The interval is the adjusted Wald interval of Bonett and Price (2012). Its number of discordant
    examples is Σ |d|. A fractional difference is a mean over several models, and Σ |d| is the
    expected number of discordant examples for a single one. Σ d² would be smaller, because the
    mistakes of the models average out. The interval would be too narrow for a single model.

    Args:
        differences: (…, n), the last axis over the examples.

    Returns:
        The means and the two ends of their intervals, (…,) each.
    """
    n = differences.shape[-1]
    total = differences.sum(axis=-1, dtype=float)
    middle = total / (n + 2)
    spread = (np.abs(differences).sum(axis=-1, dtype=float) + 2) / (n + 2) - middle**2
    half = ndtri(LEVEL) * np.sqrt(spread / (n + 2))
    return total / n, middle - half, middle + half


def satterthwaite(over_seeds: float, seeds_df: int, over_images: float, images_df: int) -> float:
    """The degrees of freedom of the sum of two variances (Satterthwaite, 1946)."""
    parts = over_seeds**2 / seeds_df + over_images**2 / max(1, images_df)
    return (over_seeds + over_images) ** 2 / parts


def accuracy_interval(centre: float, hits: NDArray[np.bool_], noise: Noise) -> tuple[float, float]:
    """The 95 % interval for the accuracy of a configuration, over images and seeds.

    The variance of the mean over S seeds is the sum of two parts, as in the quasi-F test for two
    random factors (Clark, 1973): the variance over seeds ÷ S, and the variance over images of the
    share of seeds that classify an image correctly ÷ n. The critical value is the mean of the two
    quantiles, t for the seeds and normal for the images, weighted by these parts (Cochran and Cox,
    1957). With few seeds, the degrees of freedom of Satterthwaite (1946) are too many:
    with two seeds whose variance dominates, such an interval covers 87 %. The
    score interval is then taken with the effective number of images that has this variance. For one
    model that is Wilson's interval.

    Args:
        centre: the estimated accuracy: the mean, or the mean corrected for the selection.
        hits: (S, n), a row for each replicate.
        noise: the variance over seeds.
    """
    seeds, n = hits.shape
    shares = hits.mean(axis=0)
    mean = float(shares.mean())
    over_images, over_seeds = float(shares.var()) / n, noise.variance / seeds
    variance = over_seeds + over_images
    binomial = mean * (1 - mean) / n
    effective = n * binomial / variance if variance > 0 and binomial > 0 else float(n)
    critical = float(ndtri(LEVEL))
    if noise.df and over_seeds > 0:
        quantile = float(stdtrit(noise.df, LEVEL))
        critical = (over_seeds * quantile + over_images * critical) / variance
    return score_interval(centre, effective, critical)
