"""Correct the accuracy of the chosen configuration for its selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.intervals import Noise, accuracy_interval
from pipeline.analysis.paired import Hits, configuration_codes, interval_noise, pooled_noise

CHUNK_BYTES = 1 << 25  # of resampled images at once


@dataclass(frozen=True)
class Estimate:
    """The expected accuracy of the chosen configuration on other images."""

    raw: float  # its validation accuracy: the mean over its replicates
    corrected: float  # without the part that is due to the selection
    low: float  # the 95 % interval of the corrected accuracy
    high: float
    num_candidates: int  # the configurations that competed, halted ones included
    num_seeds: int
    std: float  # over seeds; NaN for one

    @property
    def optimism(self) -> float:
        """The part of the raw accuracy that is due to the selection, at least 0."""
        return self.raw - self.corrected


def resample(random: np.random.Generator, n: int, count: int) -> NDArray[np.float32]:
    """Draw bootstrap samples of n images: how often each contains each image, (count, n)."""
    return random.multinomial(n, np.full(n, 1 / n), count).astype(np.float32)


def luck_of_choice(
    values: NDArray[np.float64], luck: NDArray[np.floating], chosen: int
) -> NDArray[np.float64]:
    """The part of a measured value that is due to its choice as the highest one, by resample.

    Args:
        values: (K,) the measured values of the candidates.
        luck: (resamples, K) their changes in the resamples.
        chosen: the candidate with the highest value.

    Returns:
        (resamples,) the value of the chosen one minus p − d (`correct_selection`).
    """
    winners = (values + luck).argmax(axis=1)
    # The luck of the chosen one has mean 0: it is a control variate.
    lost = luck[np.arange(len(luck)), winners] - luck[:, chosen]
    return np.asarray(values[chosen] - values[winners] + lost, np.float64)


def correct_selection(
    models: pd.DataFrame, hits: Hits, resamples: int = 1000, random_state: int = 0
) -> Estimate:
    """Estimate the accuracy of the chosen configuration without the luck that got it chosen.

    The highest of K noisy accuracies is too high on average (the winner's curse). The bootstrap
    repeats the whole choice: it resamples the images, adds to each configuration the noise over
    seeds, and chooses again. A winner whose accuracy exceeds its accuracy on all images by d in a
    resample is expected to lose d on images that had no part in the choice: to first order, p − d
    is its accuracy on the images that are not in the resample (the out-of-bag estimate of Efron and
    Tibshirani, 1997; for a choice among models Tsamardinos, Greasidou and Borboudakis, 2018). The
    corrected accuracy is the mean of p − d over the resamples.

    Args:
        models: a row per model, with configuration, seed and best_val_acc; the rows of the chosen
            configuration first. The column `gain` is the expected gain of a halted model
            by the rest of its training, and 0 for a finished one.
        hits: (models, images), in the order of `models`.
        resamples: the number of bootstrap resamples.
        random_state: the seed of the bootstrap.
    """
    codes = configuration_codes(models)
    counts = np.bincount(codes)
    means = np.bincount(codes, models["best_val_acc"] + models["gain"]) / counts
    shares = np.zeros((len(counts), n := hits.shape[1]), np.float32)
    np.add.at(shares, codes, hits)
    shares /= counts[:, None].astype(np.float32)
    replicated = bool((counts > 1).any())
    noise = pooled_noise(models) if replicated else Noise.none()
    spread = np.sqrt(noise.variance / counts)
    random = np.random.default_rng(random_state)
    optimism = 0.0
    size = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, resamples, size):
        drawn = resample(random, n, min(size, resamples - start))
        luck = (drawn - 1) @ shares.T / n
        luck = luck + spread * random.standard_normal(luck.shape)
        optimism += float(luck_of_choice(means, luck, 0).sum()) / resamples
    raw = float(means[0])
    corrected = raw - float(np.clip(optimism, 0, raw))
    own = models["best_val_acc"][codes == 0]
    noise = interval_noise(models) if replicated else Noise.none()
    low, high = accuracy_interval(corrected, hits[codes == 0], noise)
    return Estimate(
        raw=raw,
        corrected=corrected,
        low=low,
        high=high,
        num_candidates=len(counts),
        num_seeds=len(own),
        std=float(own.std()),
    )
