"""Runs → a table → the choice: the best model, how sure that is, and its test accuracy."""

from __future__ import annotations

import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml

from pipeline.config import Hyperparameters, Job, parse_job
from pipeline.data import published
from pipeline.data.load import load_test
from pipeline.errors import ConfigError, PipelineError
from pipeline.nn.model import Params, predict
from pipeline.outcomes import Outcome
from pipeline.report.tables import HEADINGS, show
from pipeline.selection import configuration_key, selection_key
from pipeline.tracking.entities import Point
from pipeline.tracking.store import Store

CURVES = ("train_loss", "train_acc", "val_loss", "val_acc")
METRICS = ("best_val_acc", "best_val_loss", "best_epoch", *CURVES, "test_acc")
PARAMS = (*(field.name for field in fields(Hyperparameters)), "data.name")
SIZES = ("num_train", "num_val", "num_features", "num_classes")
DATA = ("dataset", "dataset_digest", *SIZES)
WHOLE = ["job", *SIZES, "diverged_epoch", "halted_epoch", "best_epoch"]
LISTED = 5  # failed jobs that are named one by one

T = TypeVar("T")


class ReportError(PipelineError):
    """The report cannot be made."""


@dataclass(frozen=True)
class Best:
    """The chosen model."""

    name: str
    run_id: str
    hidden_size: int
    l2_reg: float
    learning_rate: float
    best_epoch: int
    val_acc: float
    val_acc_ci95: tuple[float, float]
    val_loss: float
    num_val: int
    test_acc: float | None
    test_problem: str | None  # why there is no test_acc


def tabulate(runs: pd.DataFrame) -> pd.DataFrame:
    """The result of `queries.sweep_runs` with fixed columns, one row per job."""
    columns = {"job": "tags.job", "name": "name", "run_id": "run_id", "outcome": "tags.outcome"}
    columns |= {key: f"params.{key}" for key in PARAMS}
    columns |= {key: f"metrics.{key}" for key in METRICS}
    columns |= {key: f"tags.{key}" for key in (*DATA, "diverged_epoch", "halted_epoch", "error")}
    jobs = runs.reindex(columns=list(columns.values())).set_axis(list(columns), axis=1)
    jobs["outcome"] = jobs["outcome"].fillna("unfinished")
    for key in PARAMS:
        # As objects, for a missing value among whole numbers would make all of them floats.
        jobs[key] = pd.Series([_parsed(text) for text in jobs[key]], jobs.index, dtype=object)
    jobs[WHOLE] = jobs[WHOLE].apply(pd.to_numeric).astype("Int64")
    shapes = {name: math.prod(shape) for name, shape in published.IMAGE_SHAPES.items()}
    jobs["num_features"] = jobs["num_features"].fillna(jobs["dataset"].map(shapes).astype("Int64"))
    jobs["num_classes"] = jobs["num_classes"].fillna(published.NUM_CLASSES)
    jobs["gap"] = jobs["train_acc"] - jobs["val_acc"]  # of generalisation, in the last epoch
    times = runs.reindex(columns=["start_time", "end_time"])
    start, end = (pd.to_datetime(times[key], utc=True) for key in times)
    jobs["seconds"] = (end - start).dt.total_seconds()
    return jobs


def rank(jobs: pd.DataFrame) -> pd.DataFrame:
    """The jobs that finished, best first (`pipeline.selection`): the first row is the choice.

    The runs of a configuration stay together, its best run first.
    """
    finished = jobs[jobs["outcome"] == "finished"]
    scores = map(selection_key, finished["best_val_acc"], finished["best_val_loss"])
    keys = pd.Series(list(scores), finished.index, dtype=object)
    runs = finished.assign(key=keys)
    order = []
    for _, group in runs.groupby(configuration(finished), sort=False):
        first, size = int(group["job"].min()), int(group["hidden_size"].iloc[0])
        key = configuration_key(list(group["key"]), size, first)
        rows = zip(group.index, group["key"], group["job"], strict=True)
        order += [(key, own, -int(job), index) for index, own, job in rows]
    order.sort(key=lambda row: row[:3], reverse=True)
    return finished.loc[[row[3] for row in order]]


def configuration(jobs: pd.DataFrame, names: Sequence[str] = PARAMS) -> pd.Series[str]:
    """What runs that differ in their seed alone have in common, as a text of some of its values."""
    columns = [
        [f"{HEADINGS.get(name, name)}={show(value)}" for value in jobs[name]]
        for name in names
        if name in jobs and name != "seed"
    ]
    return pd.Series([" ".join(row) for row in zip(*columns, strict=True)], jobs.index, dtype=str)


def judge(store: Store, row: pd.Series[Any], *, final: bool) -> tuple[Best, Params | None]:
    """How good the chosen model is, and its weights if they can be had.

    The test split is read once in the life of a run: the accuracy on it is kept as a metric. It is
    not read before the choice is final, for another model may still be chosen.
    """
    weights, problem = None, None
    test_acc = plain(row["test_acc"])
    hits = round(row["best_val_acc"] * row["num_val"])
    try:
        weights = load_weights(store, row["run_id"])
        if test_acc is None and not final:
            problem = "not read before all jobs have ended"
        elif test_acc is None:
            test_acc = measure_test(store, row["run_id"], weights, row["best_epoch"])
    except PipelineError as error:
        problem = " ".join(str(error).split())
    best = Best(
        name=row["name"],
        run_id=row["run_id"],
        hidden_size=row["hidden_size"],
        l2_reg=row["l2_reg"],
        learning_rate=row["learning_rate"],
        best_epoch=int(row["best_epoch"]),
        val_acc=float(row["best_val_acc"]),
        val_acc_ci95=wilson(hits, int(row["num_val"])),
        val_loss=float(row["best_val_loss"]),
        num_val=int(row["num_val"]),
        test_acc=test_acc,
        test_problem=problem if test_acc is None else None,
    )
    return best, weights


def load_weights(store: Store, run_id: str) -> Params:
    """The weights of a run's best epoch, a population of one.

    Raises:
        PipelineError: the run has none that can be read.
    """
    return read_arrays(store, run_id, "weights.npz", _as_weights)


def read_arrays(store: Store, run_id: str, name: str, read: Callable[[Mapping[str, Any]], T]) -> T:
    """Read an .npz of a run, which was saved uncompressed and without pickle.

    Raises:
        PipelineError: the run has none, or none that can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = store.download_artifact(run_id, name, Path(folder))
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
                    raise ValueError("its arrays are larger than the file")
            with np.load(path, allow_pickle=False) as file:
                return read(file)
        except Exception as error:  # what zipfile and NumPy raise for a damaged header has no end
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ReportError(f"{name} of run {run_id} is damaged ({reason})") from error


def _as_weights(file: Mapping[str, Any]) -> Params:
    """W1 (D, H), b1 (H,), W2 (H, C) and b2 (C,), as a population of one."""
    params = Params(*(file[key] for key in Params._fields))
    W1, b1, W2, b2 = params
    shapes = [array.shape for array in params]
    if 0 in W1.shape or shapes != [(len(W1), len(b1)), (len(b1),), (len(b1), len(b2)), (len(b2),)]:
        raise ValueError(f"W1, b1, W2 and b2 of shapes {', '.join(map(str, shapes))}")
    if any(array.dtype not in (np.float32, np.float64) for array in params):
        raise ValueError("not float32 or float64")
    if not all(np.isfinite(array).all() for array in params):
        raise ValueError("not finite")
    return Params(W1[None], b1[None, None], W2[None], b2[None, None])


def measure_test(store: Store, run_id: str, weights: Params, epoch: int) -> float:
    """Read the test split, and log the share of its images that a run's model predicts right.

    Raises:
        PipelineError: the run's configuration or the test split cannot be read.
    """
    job = read_config(store, run_id)
    X, y = load_test(job.data, job.hyperparameters.dtype)
    test_acc = float((predict(weights, X)[0] == y).mean())
    store.log(run_id, [Point(int(epoch), int(time.time() * 1000), {"test_acc": test_acc})])
    return test_acc


def read_config(store: Store, run_id: str) -> Job:
    """The configuration that a run was started with.

    Raises:
        PipelineError: the run has none that can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = store.download_artifact(run_id, "config.yaml", Path(folder)).read_text(
            encoding="utf-8"
        )
    try:
        return parse_job(yaml.safe_load(text))
    except (yaml.YAMLError, ConfigError, AttributeError, TypeError) as error:
        raise ReportError(f"config.yaml of run {run_id} is damaged ({error})") from error


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval for a share (Wilson, 1927), which holds near 0 and 1 too."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def counted(jobs: pd.DataFrame) -> str:
    """How many jobs there are, and how many with which outcome."""
    counts = [(outcome, int((jobs["outcome"] == outcome).sum())) for outcome in Outcome]
    parts = ", ".join(f"{n} {outcome}" for outcome, n in counts if n)
    return f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}{': ' if parts else ''}{parts}"


def no_best(jobs: pd.DataFrame) -> str:
    """Why there is no model to choose, and what to do."""
    diverged = jobs[jobs["outcome"] == "diverged"]
    errors = jobs["error"].dropna()
    advice = "start the sweep again"
    if len(diverged):
        smallest = show(diverged["learning_rate"].min())
        advice = f"lower learning_rate (the smallest that diverged was {smallest}) or l2_reg"
    elif len(errors):
        advice = f"the first that failed says: {' '.join(errors.iloc[0].split())}"
    return f"No model to choose ({counted(jobs)}): {advice}"


def missing(jobs: pd.DataFrame, command: str) -> Iterator[str]:
    """The jobs without a result, why, and how to train just those; `command` started the sweep."""
    failed = jobs[jobs["outcome"] == "failed"]
    for name, error in failed[["name", "error"]].head(LISTED).itertuples(index=False):
        yield f"{name} failed: {' '.join(str(error).split())}"
    if len(failed) > LISTED:
        yield f"… and {len(failed) - LISTED} more failed"
    count = int(jobs["outcome"].isin(("failed", "unfinished")).sum())
    if count:
        yield f"{count} of {len(jobs)} jobs have no result; to train just those again: {command}"


def halted(jobs: pd.DataFrame) -> Iterator[str]:
    """That some jobs were halted, and when."""
    counts = jobs.loc[jobs["outcome"] == "halted", "halted_epoch"].value_counts().sort_index()
    if len(counts):
        rungs = ", ".join(f"{n} after epoch {epoch}" for epoch, n in counts.items())
        yield f"Halted jobs ({rungs}) are not compared with those that trained to their end."


def judged(jobs: pd.DataFrame) -> Iterator[str]:
    """That the test split was read more than once, if it was."""
    names = list(jobs.loc[jobs["test_acc"].notna(), "name"])
    if len(names) > 1:
        yield (
            f"The test images were read {len(names)} times for models of this sweep, each time for "
            f"the one that was the best then ({'; '.join(names)}): the last figure is no longer "
            "free of choice."
        )


def _parsed(text: Any) -> Any:
    """A parameter as the number that its text is, if it is one."""
    for kind in (int, float):
        try:
            number = kind(text)
            if math.isfinite(number):
                return number
        except (ValueError, OverflowError):
            continue
    return text


def plain(value: Any) -> Any:
    """A value of a DataFrame for JSON: null for what is missing or not finite."""
    if pd.isna(value) or value in (math.inf, -math.inf):
        return None
    return value.item() if isinstance(value, np.generic) else value


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A DataFrame as JSON has it, an object a row."""
    rows = frame.astype(object).to_dict("records")
    return [{str(key): plain(value) for key, value in row.items()} for row in rows]
