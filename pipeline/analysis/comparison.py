"""Compare runs of one sweep, or of two, on the same validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.artifacts import AnalysisError, load_hits
from pipeline.analysis.confidence import ALPHA
from pipeline.analysis.paired import mcnemar
from pipeline.tracking.store import Store


@dataclass(frozen=True)
class ModelComparison:
    """One model against another on the same validation images."""

    difference: float  # of accuracy: the first minus the second
    low: float  # its 95 % interval
    high: float
    p_value: float  # exact McNemar test, two-sided

    @property
    def first_is_better(self) -> bool:
        """Whether the first model is significantly better."""
        return self.difference > 0 and self.p_value <= ALPHA

    @property
    def second_is_better(self) -> bool:
        """Whether the second model is significantly better."""
        return self.difference < 0 and self.p_value <= ALPHA


def compare_models(store: Store, first: pd.Series[Any], second: pd.Series[Any]) -> ModelComparison:
    """Compare two runs, which may belong to different sweeps (exact McNemar test).

    Args:
        store: holds the runs.
        first: a row of `pipeline.analysis.runs.tabulate`.
        second: likewise.

    Raises:
        PipelineError: the runs have other validation images, or lack their predictions.
    """
    if first["dataset_digest"] != second["dataset_digest"]:
        raise AnalysisError("the two models were trained on different data")
    hits = [load_hits(store, run["run_id"], int(run["num_val"])) for run in (first, second)]
    (found,) = mcnemar(hits[0], np.array(hits[1:]))
    return ModelComparison(
        found.difference, found.difference_low, found.difference_high, found.p_value
    )
