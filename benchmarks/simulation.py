"""Simulated sweeps whose true accuracies are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Hits = NDArray[np.bool_]  # (models, images)


def sweep(hits: Hits, seeds: int = 1, **columns: Any) -> pd.DataFrame:
    """A table of models, in which the seeds of a configuration follow one another."""
    models = np.arange(len(hits))
    values = {"best_val_acc": hits.mean(axis=1), "best_val_loss": 1.0, "cost": 1} | columns
    return pd.DataFrame({"configuration": models // seeds, "seed": models % seeds, **values})


def of_seeds(
    random: np.random.Generator, accuracies: Sequence[float], seeds: int, luck: float
) -> NDArray[np.float64]:
    """Draw the true accuracy of each model, (configurations × seeds,).

    Args:
        random: the generator.
        accuracies: the true accuracy of each configuration, over images and seeds.
        seeds: the number of models of each configuration.
        luck: the standard deviation of a seed's effect on the probit of the accuracy.
    """
    level = np.repeat(ndtri(accuracies), seeds) * (1 + luck**2) ** 0.5
    effects = luck * random.standard_normal(len(level)) if luck else 0.0
    return np.asarray(ndtr(level + effects))


def simulate(
    random: np.random.Generator,
    accuracies: Sequence[float],
    images: int,
    seeds: int = 1,
    luck: float = 0.0,
    correlation: float = 0.5,
) -> Hits:
    """Draw which images the models classify correctly, (models, images).

    An image is correct if a normal number exceeds a threshold (a probit model).

    Args:
        random: the generator.
        accuracies: the true accuracy of each configuration, over images and seeds.
        images: the number of images.
        seeds: the number of models of each configuration.
        luck: see `of_seeds`.
        correlation: between two models on the same image, from the difficulty of the image.
    """
    level = ndtri(of_seeds(random, accuracies, seeds, luck)).astype(np.float32)
    difficulty = correlation**0.5 * random.standard_normal(images, np.float32)
    own = (1 - correlation) ** 0.5 * random.standard_normal((len(level), images), np.float32)
    return level[:, None] + difficulty + own > 0


def simulate_halving(
    random: np.random.Generator, accuracies: Sequence[float], images: int, gain: float
) -> tuple[Hits, Hits]:
    """Draw the hits of models at a rung and at the end of their training.

    At the rung each model has an accuracy that is lower by `gain`. Half of the randomness of a
    model and an image is the same at both times.
    """
    shape = (len(accuracies), images)
    common = 0.5**0.5 * random.standard_normal(images, np.float32)
    common = common + 0.5 * random.standard_normal(shape, np.float32)
    early, late = (common + 0.5 * random.standard_normal(shape, np.float32) for _ in range(2))
    true = np.asarray(accuracies)[:, None]
    return early + ndtri(true - gain) > 0, late + ndtri(true) > 0
