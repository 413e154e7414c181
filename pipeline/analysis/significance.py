"""How sure a choice is: who else could be best, and what being the highest of many is worth.

A *configuration* is what models that are equal but for their seed share; its accuracy is their
mean. The table `models` has a row a finished model with the columns of COLUMNS, and no seed twice
in a configuration; `hits` (models, images) says which validation images each predicts right at its
best epoch. The choice of that epoch, which favours every model a little, is not undone here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.analysis.paired import Hits, Paired, number, pair
from pipeline.selection import configuration_key, selection_key

COLUMNS = ("configuration", "seed", "best_val_acc", "best_val_loss", "cost")
ALPHA = 0.05  # chance that any configuration as good as the best is called worse
CHUNK_BYTES = 1 << 25  # of resampled images at once


@dataclass(frozen=True)
class Verdict:
    """The choice, and what the data cannot tell apart from it."""

    table: pd.DataFrame  # see `compare`
    chosen: Hashable
    together: list[Hashable]  # the chosen one and all others that could be best, in their order
    cheapest: Hashable  # of those, the one of the fewest multiply-adds


class Correction(NamedTuple):
    """What is left of an accuracy that was the highest of many."""

    raw: float  # as the choice saw it
    corrected: float  # what to expect on other images
    optimism: float  # raw − corrected, at least 0


def replicates(models: pd.DataFrame, num_images: int) -> pd.DataFrame:
    """Accuracy by configuration, the choice in the first row.

    The highest mean accuracy wins; among equals the lowest mean loss, then the lowest cost, then
    the first of the sweep.

    Args:
        models: a row a model, with COLUMNS.
        num_images: of the validation split.

    Returns:
        A row a configuration: configuration, n (models), mean, std (over seeds; NaN for one), low
        and high (95 %), interval (which one it is), val_loss (mean) and cost. With several seeds
        the interval is Student's t (1908) for the mean over seeds, on these images; with one it is
        the score interval of Wilson (1927) for a share, over images, for this model.
    """
    from scipy.stats import t
    from statsmodels.stats.proportion import proportion_confint

    table = models.groupby(number(models)).agg(
        n=("best_val_acc", "size"),
        mean=("best_val_acc", "mean"),
        std=("best_val_acc", "std"),
        val_loss=("best_val_loss", "mean"),
        cost=("cost", "min"),
    )
    table.insert(0, "configuration", list(dict.fromkeys(models["configuration"])))
    several = table["n"] > 1
    hits = (table["mean"] * num_images).round()
    low, high = proportion_confint(hits, num_images, alpha=0.05, method="wilson")
    half = t.ppf(0.975, table["n"].clip(lower=2) - 1) * table["std"] / np.sqrt(table["n"])
    table["low"] = (table["mean"] - half).clip(lower=0).where(several, low)
    table["high"] = (table["mean"] + half).clip(upper=1).where(several, high)
    table["interval"] = np.where(several, "t over seeds", "Wilson over images")
    scores = map(selection_key, models["best_val_acc"], models["best_val_loss"])
    keys = pd.Series(list(scores), dtype=object).groupby(number(models)).agg(list)
    order = {row: configuration_key(keys[row], table.loc[row, "cost"], row) for row in table.index}
    return table.loc[sorted(order, key=order.__getitem__, reverse=True)].reset_index(drop=True)


def compare(models: pd.DataFrame, hits: Hits) -> Verdict:
    """Which configurations could be the best: paired tests of each against the chosen one.

    McNemar's exact test, or a t-test over common seeds (`pair`). The chosen one was picked for its
    accuracy, so a test that takes it as given would call its equals worse far too often. Two that
    do not:

    - j is not among the best if any of the K − 1 others beats it. The p-value of that is K − 1
      times (Bonferroni) the one-sided one of the chosen against j; Holm's correction (1979) over
      all K follows. However the models depend on each other, with probability 1 − ALPHA none that
      is as good as the best is left out (multiple comparisons with the best: Hsu, 1981; Mogstad,
      Romano, Shaikh and Wilhelm, 2024).
    - The chosen one is the only best if it beats each other at a two-sided p-value of ALPHA; that
      it was chosen costs nothing more (Gutmann and Maymin, 1987; Hung and Fithian, 2019).

    The smaller p-value counts. Together they still err at most ALPHA of the time: that is not
    proven but simulated, for 2 to 200 equal configurations, and for any correlation of a few.

    Args:
        models: a row a model, with COLUMNS.
        hits: (models, images), in the order of `models`.

    Returns:
        The verdict; its table is that of `replicates` with the columns of `Paired`, p_adjusted,
        and worse: p_adjusted ≤ ALPHA.

    Raises:
        ValueError: there is no model, a seed is twice in a configuration, or `hits` has another
            number of models.
    """
    from statsmodels.stats.multitest import multipletests

    table = replicates(models, hits.shape[1])
    rows: dict[Hashable, dict[Any, int]] = defaultdict(dict)
    for row, key in enumerate(zip(models["configuration"], models["seed"], strict=True)):
        rows[key[0]][key[1]] = row
    if not len(models) or len(hits) != len(models) or len(models) != sum(map(len, rows.values())):
        raise ValueError(
            f"{len(models)} models of {sum(map(len, rows.values()))} different "
            f"configurations and seeds do not fit hits of shape {hits.shape}"
        )
    chosen, *others = (rows[label] for label in table["configuration"])
    pairs = pair(models, hits, chosen, others)
    table = table.assign(**pd.DataFrame([Paired(0.0, 1.0, np.nan, ""), *pairs]))
    p_values = table["p_value"].where(table["difference"] > 0, 1)
    p_chosen = (p_values / 2 * max(1, len(others))).clip(upper=1)
    p_holm = multipletests(p_chosen, method="holm")[1]
    table["p_adjusted"] = np.minimum(p_holm, max(p_values[1:], default=1.0))
    table.loc[0, "p_adjusted"] = 1.0
    table["worse"] = table["p_adjusted"] <= ALPHA
    together = table[~table["worse"]]
    cheapest = together["configuration"].iloc[int(together["cost"].argmin())]
    labels = together["configuration"].tolist()
    return Verdict(table, labels[0], labels, cheapest)


def correct(
    models: pd.DataFrame, hits: Hits, resamples: int = 1000, random_state: int = 0
) -> Correction:
    """The accuracy of the choice without the luck that made it the choice (the winner's curse).

    Bootstrap of the whole choice over images: choose on a resample, and judge on the images that
    are not in it, which had no part in that choice (Tsamardinos, Greasidou and Borboudakis, 2018,
    after the out-of-bag estimates of Efron and Tibshirani, 1997). It leans to the low side, for a
    resample knows but 63 % of the images.

    Args:
        models: a row a model, with COLUMNS.
        hits: (models, images), in the order of `models`.
        resamples: of the images.
        random_state: the same one gives the same numbers.
    """
    table = replicates(models, n := hits.shape[1])
    order = {label: k for k, label in enumerate(table["configuration"])}
    shares = np.zeros((len(table), n), np.float32)  # of its models that predict an image right
    for label, row in zip(models["configuration"], hits, strict=True):
        shares[order[label]] += row
    shares /= table["n"].to_numpy(np.float32)[:, None]
    random = np.random.default_rng(random_state)
    right = judged = 0.0
    size = max(1, CHUNK_BYTES // (8 * n))
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        drawn = random.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)
        winners = (weights.astype(np.float32) @ shares.T).argmax(axis=1)
        right += float(shares[winners].sum(where=weights == 0, dtype=float))
        judged += int((weights == 0).sum())
    raw = float(table["mean"].iloc[0])
    corrected = min(raw, right / judged)
    return Correction(raw, corrected, raw - corrected)
