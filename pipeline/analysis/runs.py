"""The table of a sweep's runs, with typed values, in the order of the selection rule."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import MISSING
from typing import Any

import numpy as np
import pandas as pd

from pipeline.data import published
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.outcomes import Outcome
from pipeline.selection import (
    DEFAULT,
    WORST,
    SelectBy,
    SelectionKey,
    configuration_key,
    parse_select_by,
    selection_key,
)

CURVES = ("train_loss", "train_acc", "val_loss", "val_acc")
BEST = ("best_val_acc", "best_val_loss", "best_balanced_acc")  # the metrics of the best epoch
METRICS = (*BEST, "best_epoch", *CURVES, "test_acc", "num_test")
PARAMS = (*HYPERPARAMETERS, "data.name")
SIZES = ("num_train", "num_val", "num_features", "num_classes")
DATA = ("dataset", "dataset_digest", *SIZES)
# A run without one of these numbers has no result.
RESULT = (
    *("hidden_size", "l2_reg", "learning_rate"),
    *("best_val_acc", "best_val_loss", "best_epoch", "num_val"),
)
OTHER_TAGS = ("test_digest", "diverged_epoch", "halted_epoch", "error")
_TRUTH = {"true": True, "false": False}
_INTEGERS = ["job", *SIZES, "diverged_epoch", "halted_epoch", "best_epoch"]
NO_RESULT = (Outcome.DIVERGED, Outcome.FAILED)


def tabulate(runs: pd.DataFrame) -> pd.DataFrame:
    """Turn the runs of `queries.sweep_runs` into one row per job, always with the same columns.

    Returns:
        Columns job, name, run_id, outcome, sweep (the one that trained the run) and configuration
        (`configuration_ids`); the hyperparameters (`PARAMS`) as Python values; the metrics
        (`METRICS`) and tags as numbers or None; gap, train_acc − val_acc of the last epoch; started
        and ended (UTC), and the seconds between them.
    """
    columns = {"job": "tags.job", "name": "name", "run_id": "run_id", "outcome": "tags.outcome"}
    columns |= {"sweep": "tags.sweep"}
    columns |= {key: f"params.{key}" for key in PARAMS}
    columns |= {key: f"metrics.{key}" for key in METRICS}
    columns |= {key: f"tags.{key}" for key in (*DATA, *OTHER_TAGS)}
    jobs = runs.reindex(columns=list(columns.values())).set_axis(list(columns), axis=1)
    jobs["outcome"] = jobs["outcome"].astype(object).fillna(Outcome.UNFINISHED.value)
    for key in PARAMS:
        # The dtype object keeps integers as they are where other values are missing.
        values = [_parse(key, text) for text in jobs[key]]
        jobs[key] = pd.Series(values, jobs.index, dtype=object)
    jobs[_INTEGERS] = jobs[_INTEGERS].apply(pd.to_numeric, errors="coerce").astype("Int64")
    # Runs of earlier versions lack these two sizes.
    shapes = {name: math.prod(shape) for name, shape in published.IMAGE_SHAPES.items()}
    jobs["num_features"] = jobs["num_features"].fillna(jobs["dataset"].map(shapes).astype("Int64"))
    jobs["num_classes"] = jobs["num_classes"].fillna(published.NUM_CLASSES)
    _fail_incomplete(jobs)
    jobs.insert(4, "configuration", configuration_ids(jobs))
    jobs["gap"] = jobs["train_acc"] - jobs["val_acc"]
    times = runs.reindex(columns=["start_time", "end_time"])
    jobs["started"], jobs["ended"] = (pd.to_datetime(times[key], utc=True) for key in times)
    jobs["seconds"] = (jobs["ended"] - jobs["started"]).dt.total_seconds()
    return jobs


def _fail_incomplete(jobs: pd.DataFrame) -> None:
    """Let runs fail that claim a result and lack its numbers, as other programs can write them."""
    outcome = jobs["outcome"]
    numbers = jobs[list(RESULT)].apply(pd.to_numeric, errors="coerce").astype(float)
    is_complete = np.isfinite(numbers).all(axis=1)
    is_complete &= (outcome != Outcome.HALTED) | jobs["halted_epoch"].notna()
    incomplete = outcome.isin((Outcome.FINISHED, Outcome.HALTED)) & ~is_complete
    jobs["outcome"] = outcome.mask(incomplete, Outcome.FAILED.value)
    reason = "its run in MLflow lacks a hyperparameter or a metric"
    jobs["error"] = jobs["error"].astype(object).mask(incomplete, reason)


def rank(jobs: pd.DataFrame) -> pd.DataFrame:
    """The finished jobs in the order of `pipeline.selection`. The first row is the choice.

    The replicates of a configuration stay together, the best one first. A configuration with a
    replicate that diverged or failed comes after all others, as at a rung of successive halving.
    Of jobs with the same values and the same seed, one counts.

    Args:
        jobs: a row per job, with outcome, configuration, best_val_acc, best_val_loss, hidden_size
            and job.
    """
    ids = jobs["configuration"]
    finished = jobs[jobs["outcome"] == Outcome.FINISHED]
    incomplete = set(ids[jobs["outcome"].isin(NO_RESULT)])
    keys = pd.Series(selection_keys(finished), finished.index, dtype=object)
    order: list[tuple[Any, ...]] = []
    for id_, group in finished.groupby(ids[finished.index], sort=False):
        own: list[SelectionKey] = list(keys[group.index])
        first, size = int(group["job"].min()), int(group["hidden_size"].iloc[0])
        different = group.drop_duplicates("seed") if "seed" in group else group
        replicates: list[SelectionKey] = list(keys[different.index])
        key = (id_ not in incomplete, configuration_key(replicates, size, first))
        order += zip([key] * len(group), own, -group["job"].astype(int), group.index, strict=True)
    order.sort(key=lambda row: row[:3], reverse=True)
    return finished.loc[[row[3] for row in order]]


def selection_metric(jobs: pd.DataFrame) -> SelectBy:
    """The metric by which the jobs of a sweep are compared."""
    named = jobs["select_by"].dropna().unique().tolist() if "select_by" in jobs else []
    return parse_select_by(named[0]) if len(named) == 1 else DEFAULT


def selection_keys(runs: pd.DataFrame) -> list[SelectionKey]:
    """The key of each run of a sweep by the selection rule (`pipeline.selection`).

    A run that lacks a metric, as a foreign store may hold it, is the worst.
    """
    metric = selection_metric(runs)
    values = runs.reindex(columns=list(BEST)).to_numpy(float).tolist()
    keys = [
        selection_key(val_acc, val_loss, balanced_acc, metric)
        for val_acc, val_loss, balanced_acc in values
    ]
    return [WORST if any(map(math.isnan, key)) else key for key in keys]


def num_lost_seeds(jobs: pd.DataFrame) -> int:
    """How many runs of the first configuration of a ranking diverged or failed."""
    if not len(jobs):
        return 0
    own = jobs[jobs["configuration"] == jobs["configuration"].iloc[0]]
    return int(own["outcome"].isin(NO_RESULT).sum())


def configuration_ids(jobs: pd.DataFrame) -> pd.Series[int]:
    """Number the configurations: equal for jobs whose values differ in their seed alone."""
    names = [name for name in PARAMS if name in jobs and name != "seed"]
    rows = [tuple(map(_hashable, row)) for row in jobs[names].itertuples(index=False)]
    return pd.Series(number(rows), jobs.index, dtype=int)


def number(labels: Sequence[Hashable]) -> list[int]:
    """Number labels in the order of their first appearance; equal labels get equal numbers."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]


def swept_names(jobs: pd.DataFrame) -> list[str]:
    """The values other than the seed in which jobs differ; hidden_size if there are none."""
    names = [key for key in PARAMS if key != "seed" and jobs[key].nunique() > 1]
    return names or ["hidden_size"]


def _hashable(value: Any) -> Hashable:
    return None if value is None or value is pd.NA or value != value else value


def _parse(key: str, text: Any) -> Any:
    """A parameter as a value of its type; the text if it has none of that type.

    A run that is older than a hyperparameter gets its neutral value.
    """
    described = HYPERPARAMETERS.get(key)
    if not isinstance(text, str):
        old = described is not None and described.neutral is not MISSING
        return described.neutral if described is not None and old else np.nan
    if described is None or described.type is str:
        return text
    if described.type is bool:
        return _TRUTH.get(text.lower(), text)
    for kind in (int, float):
        try:
            number = kind(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            continue
    return text
