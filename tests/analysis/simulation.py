"""Sweeps with known true accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm


def sweep(hits: NDArray[np.bool_], seeds: int = 1, **columns: Any) -> pd.DataFrame:
    """A table of models, the seeds of a configuration one after another."""
    models = np.arange(len(hits))
    values = {"best_val_acc": hits.mean(axis=1), "best_val_loss": 1.0, "cost": 1} | columns
    return pd.DataFrame({"configuration": models // seeds, "seed": models % seeds, **values})


def simulate(
    random: np.random.Generator,
    accuracies: Sequence[float],
    images: int,
    seeds: int = 1,
    luck: float = 0.0,
) -> NDArray[np.bool_]:
    """Hits (models, images): some images are harder for all, and `luck` is a seed's own."""
    difficulty = random.normal(size=images).astype(np.float32)
    shape = (len(accuracies) * seeds, images)
    luck_of = luck * random.normal(size=(shape[0], 1)).astype(np.float32)
    level = np.repeat(norm.ppf(accuracies), seeds)[:, None] * (2 + luck**2) ** 0.5
    own = random.standard_normal(shape, np.float32)
    return level.astype(np.float32) + luck_of + difficulty + own > 0
