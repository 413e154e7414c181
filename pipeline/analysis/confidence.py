"""The confidence set: which configurations could be the best one.

A *configuration* is a set of models that differ in their seed alone. Its accuracy is the mean over
these models. The table `models` has a row for each finished model with `COLUMNS`, and no
seed twice in a configuration. `hits` (models, images) states which validation images each model
classifies correctly in its best epoch. The choice of that epoch favours every model a little; this
is not corrected here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pipeline.analysis.intervals import Noise, accuracy_interval
from pipeline.analysis.paired import Hits, Paired, configuration_codes, interval_noise, pair
from pipeline.analysis.runs import selection_keys
from pipeline.selection import configuration_key

COLUMNS = ("configuration", "seed", "best_val_acc", "best_val_loss", "cost")
ALPHA = 0.05  # the probability that any configuration as good as the best is excluded


@dataclass(frozen=True)
class ConfidenceSet:
    """The configurations that could be the best one."""

    table: pd.DataFrame  # see `confidence_set`; the chosen configuration is the first row
    chosen: Hashable
    members: list[Hashable]  # the chosen configuration and the ones that could be better
    cheapest: Hashable  # the member with the fewest multiply-adds


def replicates(models: pd.DataFrame, hits: Hits) -> pd.DataFrame:
    """Summarise each configuration over its replicates, in the order of `pipeline.selection`.

    Args:
        models: a row per model, with `COLUMNS`.
        hits: (models, images), in the order of `models`.

    Returns:
        A row per configuration: configuration, n (models), mean, std (over seeds; NaN for one
        seed), low and high (95 %, `accuracy_interval`), val_loss (mean) and cost.
    """
    codes = configuration_codes(models)
    table = models.groupby(codes).agg(
        n=("best_val_acc", "size"),
        mean=("best_val_acc", "mean"),
        std=("best_val_acc", "std"),
        val_loss=("best_val_loss", "mean"),
        cost=("cost", "min"),
    )
    table.insert(0, "configuration", list(dict.fromkeys(models["configuration"])))
    noise = interval_noise(models) if (table["n"] > 1).any() else Noise.none()
    ends = [
        accuracy_interval(mean, hits[codes == code], noise)
        for code, mean in enumerate(table["mean"].tolist())
    ]
    table["low"], table["high"] = zip(*ends, strict=True) if ends else ((), ())
    keys = defaultdict(list)
    for code, key in zip(codes.tolist(), selection_keys(models), strict=True):
        keys[code].append(key)
    order = [
        configuration_key(keys[code], int(cost), code)
        for code, cost in enumerate(table["cost"].tolist())
    ]
    ranked = sorted(range(len(order)), key=order.__getitem__, reverse=True)
    return table.loc[ranked].reset_index(drop=True)


def confidence_set(models: pd.DataFrame, hits: Hits) -> ConfidenceSet:
    """Test each configuration against the chosen one, on the same validation images.

    The tests are McNemar's exact test, or with replicates a t test (`pair`). The chosen
    configuration was selected for its accuracy, so an ordinary test would exclude configurations as
    good as it far too often. Two rules keep the error rate:

    - Configuration j is excluded if any of the K − 1 others beats it. The p-value of that is K − 1
      times (Bonferroni) the one-sided p-value of the chosen configuration against j, followed by
      Holm's correction (1979) over all K. With probability 1 − ALPHA or more, no configuration as
      good as the best is excluded, for any dependence among the models (multiple comparisons with
      the best: Hsu, 1981; Mogstad, Romano, Shaikh and Wilhelm, 2024).
    - The chosen configuration is the only best one if it beats every other one with a two-sided
      p-value of at most ALPHA. Its selection needs no further correction (Gutmann and Maymin, 1987;
      Hung and Fithian, 2019).

    The smaller of the two p-values counts. Simulations (`make simulate`) show that both rules
    together still err at most ALPHA of the time; a proof is not known.

    Args:
        models: a row per model, with `COLUMNS`.
        hits: (models, images), in the order of `models`.

    Returns:
        The set. Its table has the columns of `replicates` and `Paired`, and p_adjusted and worse
        (p_adjusted ≤ ALPHA).

    Raises:
        ValueError: there is no model, a configuration has a seed twice, or `hits` has another
            number of models.
    """
    rows: dict[Hashable, dict[Any, int]] = defaultdict(dict)
    for row, key in enumerate(zip(models["configuration"], models["seed"], strict=True)):
        rows[key[0]][key[1]] = row
    if not len(models) or len(hits) != len(models) or len(models) != sum(map(len, rows.values())):
        raise ValueError(
            f"{len(models)} models of {sum(map(len, rows.values()))} different "
            f"configurations and seeds do not fit hits of shape {hits.shape}"
        )
    table = replicates(models, hits)
    chosen, *others = (rows[label] for label in table["configuration"])
    pairs = pair(models, hits, chosen, others)
    table = table.assign(**pd.DataFrame([Paired(0.0, 0.0, 0.0, 1.0, np.nan, ""), *pairs]))
    p_values = table["p_value"].where(table["difference"] > 0, 1)
    p_chosen = (p_values / 2 * max(1, len(others))).clip(upper=1)
    table["p_adjusted"] = np.minimum(holm(p_chosen), max(p_values[1:], default=1.0))
    table.loc[0, "p_adjusted"] = 1.0
    table["worse"] = table["p_adjusted"] <= ALPHA
    members = table[~table["worse"]]
    cheapest = members["configuration"].iloc[int(members["cost"].argmin())]
    labels = members["configuration"].tolist()
    return ConfidenceSet(table, labels[0], labels, cheapest)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values (tests,) for the number of tests by the step-down method of Holm (1979).

    The i-th smallest of m p-values, i = 0, 1, …, is multiplied by m − i. The adjusted value is the
    largest of the products up to i, at most 1.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values)
    products = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(products))
    return adjusted
