"""Compare a selected model with another one on the same validation images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import bdtrc, ndtr, ndtri

from pipeline.analysis.artifacts import AnalysisError, load_hits
from pipeline.analysis.confidence import ALPHA
from pipeline.analysis.correction import luck_of_choice, resample
from pipeline.analysis.paired import Hits
from pipeline.outcomes import Outcome
from pipeline.tracking.store import Store

POWER = 0.8  # the probability with which a difference of `POINT` is detected
POINT = 0.01


@dataclass(frozen=True)
class ModelComparison:
    """A model that was selected among candidates, against another model."""

    difference: float  # of accuracy: the selected model minus the other one, as measured
    corrected: float  # without the part that is due to the selection
    low: float  # the 95 % interval of the corrected difference
    high: float
    p_value: float  # one-sided, corrected for the selection: the other model is as good or better
    num_candidates: int
    images_for_one_point: int  # validation images needed to detect a difference of one point

    @property
    def is_better(self) -> bool:
        """Whether the selected model is significantly better than the other one."""
        return self.difference > 0 and self.p_value <= ALPHA


def compare_selected(
    other: NDArray[np.bool_],
    candidates: Hits,
    selected: int = 0,
    resamples: int = 2000,
    random_state: int = 0,
    weights: NDArray[np.float64] | None = None,
) -> ModelComparison:
    """Test whether a model is better than another one although it was selected for its accuracy.

    An ordinary test takes the selected model as given. Among equal models, the best of many then
    seems better than a fixed model far too often. This test compares the difference of the selected
    model with the bootstrap distribution of the largest one among all candidates (White, 2000, "A
    reality check for data snooping"). The correlation among the candidates enters through the
    resampled images. Candidates that are clearly worse than the other model would make the test
    blind, so they are left out (Hansen, 2005, "A test for superior predictive ability").

    The same resamples correct the difference, as in `correct_selection`. The lower end of its
    interval is the measured difference minus the 97.5 % quantile of that distribution.

    The differences are not divided by their standard errors. The standard error of a model with few
    mistakes is small because of its luck, so the largest quotient among equal models exceeds its
    bootstrap distribution too often: in 8 % of cases instead of 5 % for 64 models at 97 % on 359
    images.

    Args:
        other: (images,), which validation images the other model classifies correctly.
        candidates: (models, images), of all models among which the selected one was chosen.
        selected: its row.
        resamples: the number of bootstrap resamples.
        random_state: the seed of the bootstrap.
        weights: (images,) of mean 1, as `class_weights` gives them; None: all 1.
    """
    n = len(other)
    signs = candidates.astype(np.float32) - other.astype(np.float32)
    step = 1.0  # the smallest change of the statistic that counts
    if weights is not None:
        signs *= weights.astype(np.float32)
        step = float(weights.max())
    differences = signs.mean(axis=1, dtype=float)
    deviations = signs.std(axis=1, dtype=float) / math.sqrt(n)
    competes = differences >= -deviations * math.sqrt(2 * math.log(math.log(max(n, 16))))
    competes[selected] = True
    random = np.random.default_rng(random_state)
    luck = (resample(random, n, resamples) - 1) @ signs.T / n
    largest = luck[:, competes].max(axis=1)
    optimism = float(luck_of_choice(differences, luck, selected).mean())
    difference, deviation = float(differences[selected]), float(deviations[selected])
    reached = int((largest >= difference - 0.5 * step / n).sum()) if difference > 0 else resamples
    # With few differing images the bootstrap is too coarse, and the exact McNemar test decides.
    exact = _sign_test(signs[selected], step if weights is not None else None)
    discordant = float(np.square(signs[selected]).mean())
    critical = float(np.quantile(largest, 1 - ALPHA)) / deviation if deviation > 0 else 0.0
    factor = critical + float(ndtri(POWER))
    return ModelComparison(
        difference=difference,
        corrected=difference - max(0.0, optimism),
        low=difference - float(np.quantile(largest, 1 - ALPHA / 2)),
        high=difference + float(ndtri(1 - ALPHA / 2)) * deviation,
        p_value=max(exact, (reached + 1) / (resamples + 1)),
        num_candidates=len(candidates),
        images_for_one_point=math.ceil(factor**2 * max(0.0, discordant / POINT**2 - 1)),
    )


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights (N,) with which the mean over images is the balanced accuracy: n ÷ (C n_c)."""
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]), np.float64)


def _sign_test(signs: NDArray[np.float32], step: float | None) -> float:
    """The one-sided p-value of McNemar's test.

    Args:
        signs: (images,) the differences of the hits, possibly weighted.
        step: None for differences of ±1, for which the test is exact. Otherwise the largest weight:
            the test then is McNemar's normal approximation (1947), Σ w s ÷ √(Σ w² s²), whose
            correction for continuity is one step.
    """
    if step is None:
        wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
        return float(bdtrc(wins - 1, wins + losses, 0.5))
    total, spread = float(signs.sum(dtype=float)), math.sqrt(float(np.square(signs).sum()))
    return float(ndtr((step - total) / spread)) if spread > 0 else 1.0


def compare_runs(
    store: Store,
    selected: pd.Series[Any],
    candidates: pd.DataFrame,
    other: pd.Series[Any],
    weights: NDArray[np.float64] | None = None,
) -> ModelComparison:
    """Compare a selected run with another one, which may belong to another sweep.

    Args:
        store: holds the runs.
        selected: a row of `pipeline.analysis.runs.tabulate`.
        candidates: the rows among which it was selected. Those without predictions are ignored.
        other: the row of the other run.
        weights: of the images, as in `compare_selected`.

    Raises:
        PipelineError: the runs have other validation images, or lack their predictions.
    """
    if selected["dataset_digest"] != other["dataset_digest"]:
        raise AnalysisError("the two models were trained on different data")
    compared = candidates[
        candidates["outcome"].isin((Outcome.FINISHED, Outcome.HALTED))
        & (candidates["dataset_digest"] == selected["dataset_digest"])
        & (candidates["run_id"] != selected["run_id"])
    ]
    num_val = int(selected["num_val"])
    run_ids = [selected["run_id"], *dict.fromkeys(compared["run_id"])]
    hits = np.array([load_hits(store, run_id, num_val) for run_id in run_ids])
    return compare_selected(load_hits(store, other["run_id"], num_val), hits, weights=weights)
