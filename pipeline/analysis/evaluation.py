"""Evaluate the chosen model: its weights, its data and its test accuracy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.analysis.artifacts import AnalysisError, load_weights, read_config
from pipeline.analysis.intervals import wilson
from pipeline.analysis.runs import PARAMS
from pipeline.config import Job
from pipeline.data.dataset import Dataset
from pipeline.data.load import load, load_test
from pipeline.errors import PipelineError
from pipeline.nn.model import Params, predict
from pipeline.tracking.entities import Point, Sweep
from pipeline.tracking.store import Store

TEST_SWEEP = "test_sweep"  # the tag with the ID of the sweep that read the test split for a run
INCOMPLETE = (
    "not read, because the sweep is not complete: run the same command again, or add --test to "
    "pipeline-report"
)


@dataclass(frozen=True)
class Best:
    """The chosen model."""

    run_id: str
    name: str
    job: int
    values: dict[str, Any]  # every hyperparameter and data.name
    best_epoch: int
    val_acc: float  # of this model in its best epoch, not corrected for the selection
    val_acc_ci95: tuple[float, float]  # Wilson's interval around it, not corrected either
    val_loss: float
    balanced_acc: float | None  # mean accuracy over the classes; None: not the metric of the choice
    num_val: int
    test_acc: float | None
    test_acc_ci95: tuple[float, float] | None  # Wilson
    num_test: int | None
    test_problem: str | None  # the reason why there is no test_acc


@dataclass(frozen=True)
class ChosenModel:
    """The chosen model with its weights, configuration and data."""

    best: Best
    weights: Params | None
    job: Job | None
    data: Dataset | None
    problem: str | None  # the reason why one of these is missing


def evaluate_best(store: Store, row: pd.Series[Any], sweep: str, *, final: bool) -> ChosenModel:
    """Load the chosen model and its data, and measure its test accuracy.

    The test split is read once for each run; its accuracy is then stored as a metric.

    Args:
        store: holds the run.
        row: the chosen row of `pipeline.analysis.runs.rank`.
        sweep: the ID of the sweep that chose it.
        final: whether to read the test split.
    """
    weights, job, data, problem = None, None, None, None
    test = _stored_test(row)
    try:
        weights = load_weights(store, row["run_id"])
        job = read_config(store, row["run_id"])
        data = _load_data(job, weights, row)
        if test is None and final:
            check_test(data, row)
            test = _measure_test(store, row, job, weights, data, sweep)
    except PipelineError as error:
        problem = " ".join(str(error).split())
    num_val = int(row["num_val"])
    best = Best(
        run_id=row["run_id"],
        name=row["name"],
        job=int(row["job"]),
        values={key: row[key] for key in PARAMS},
        best_epoch=int(row["best_epoch"]),
        val_acc=float(row["best_val_acc"]),
        val_acc_ci95=wilson(round(row["best_val_acc"] * num_val), num_val),
        val_loss=float(row["best_val_loss"]),
        balanced_acc=None if pd.isna(row["best_balanced_acc"]) else float(row["best_balanced_acc"]),
        num_val=num_val,
        test_acc=test[0] if test else None,
        test_acc_ci95=wilson(round(test[0] * test[1]), test[1]) if test and test[1] else None,
        num_test=test[1] if test else None,
        test_problem=None if test else problem or INCOMPLETE,
    )
    return ChosenModel(best, weights, job, data, problem)


def test_reads(runs: pd.DataFrame, jobs: pd.DataFrame, sweep: Sweep) -> list[str]:
    """The names of the runs whose test accuracy was measured for the choice of this sweep.

    Sweeps share runs. Earlier versions did not record which sweep read the test split; it was most
    likely the one that trained the run.

    Args:
        runs: the table of `queries.sweep_runs`.
        jobs: the same runs as `tabulate` returns them, with their rank.
        sweep: the sweep.
    """
    readers = runs.reindex(columns=[f"tags.{TEST_SWEEP}"]).iloc[:, 0].reindex(jobs.index)
    own = jobs["sweep"].where(readers.isna(), readers) == sweep.name
    own |= (jobs["rank"] == 1).fillna(False).astype(bool)
    return list(jobs.loc[own & jobs["test_acc"].notna(), "name"])


def _stored_test(row: pd.Series[Any]) -> tuple[float, int | None] | None:
    """The accuracy and the number of test images, if an earlier report has measured them."""
    if pd.isna(row["test_acc"]):
        return None
    return float(row["test_acc"]), None if pd.isna(row["num_test"]) else int(row["num_test"])


def _load_data(job: Job, weights: Params, row: pd.Series[Any]) -> Dataset:
    """Load the training and validation images, and check that the run was trained on them."""
    data = load(job.data, job.hyperparameters.dtype)
    if data.digest != row["dataset_digest"]:
        raise AnalysisError(
            f"the data of {data.name} have changed since the run (digest {data.digest}, not "
            f"{row['dataset_digest']}): restore "
            f"{job.data.file or job.data.dir or 'the files in the cache folder'}"
        )
    check_shape(weights, row["run_id"], data)
    return data


def check_shape(weights: Params, run_id: str, data: Dataset) -> None:
    """Check that weights have the features and classes of a dataset.

    Raises:
        AnalysisError: they have others.
    """
    if weights.W1.shape[1] != data.X_train.shape[1] or weights.W2.shape[2] != len(data.classes):
        raise AnalysisError(f"the weights of run {run_id} do not fit the data of {data.name}")


def check_test(data: Dataset, row: pd.Series[Any]) -> None:
    """Check that the test split is the one that existed when the run was trained."""
    expected = row["test_digest"]  # runs of earlier versions have none
    if isinstance(expected, str) and data.test_digest not in ("", expected):
        raise AnalysisError(
            f"the test split of {data.name} has changed since the run (digest {data.test_digest}, "
            f"not {expected}): restore its files, or train again with tracking.reuse=false"
        )


def _measure_test(
    store: Store, row: pd.Series[Any], job: Job, weights: Params, data: Dataset, sweep: str
) -> tuple[float, int]:
    """Read the test split, and log the share of its images that the model classifies correctly."""
    X, y = load_test(job.data, job.hyperparameters.dtype, data.scaler)
    test_acc = float((predict(weights, X)[0] == y).mean())
    values = {"test_acc": test_acc, "num_test": float(len(y))}
    # The time is that of the run, so that two sweeps which evaluate it at once log one value.
    ended = row["ended"]
    milliseconds = int((time.time() if pd.isna(ended) else ended.timestamp()) * 1000)
    point = Point(int(row["best_epoch"]), milliseconds, values)
    store.log(row["run_id"], [point], tags={TEST_SWEEP: sweep})
    return test_acc, len(y)
