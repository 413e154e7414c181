"""The chosen model → the Model Registry: python -m pipeline.promote [--sweep ID | --run ID].

It becomes the champion of a registered model, unless the champion that is there may be as good.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.artifacts import AnalysisError, load_weights, read_config
from pipeline.analysis.comparison import compare_runs
from pipeline.analysis.intervals import wilson
from pipeline.analysis.runs import rank, tabulate
from pipeline.config import Job
from pipeline.data.dataset import as_images
from pipeline.data.kinds import read_raw
from pipeline.data.preprocessing import SCALINGS, fit_scaler
from pipeline.data.raw import RawDataset
from pipeline.errors import PipelineError
from pipeline.nn.model import Params
from pipeline.paths import default_tracking_uri
from pipeline.report.formatting import percent, show
from pipeline.tracking import queries
from pipeline.tracking.registry import ALIAS, Champion, Registry
from pipeline.tracking.store import Store

EXAMPLES = 2  # images in the registered model, of the validation split


def promote(
    store: Store,
    run: pd.Series[Any],
    name: str | None = None,
    *,
    force: bool = False,
    candidates: pd.DataFrame | None = None,
) -> Champion:
    """Register a finished run's model as the champion.

    Args:
        store: holds the run.
        run: a row of `tabulate`.
        name: of the registered model; None: that of the dataset.
        force: replace a champion that is not known to be worse.
        candidates: the runs among which the run was selected; None: it was the only one.

    Raises:
        PipelineError: the run's files cannot be read, or its model is not known to be better than
            the champion.
    """
    registry = Registry(store)
    name = name or run["dataset"]
    champion = registry.champion(name)
    if champion is not None and champion.run_id == run["run_id"]:
        return champion
    if champion is not None and not force:
        check_better(store, run, candidates, champion)
    weights, job = load_weights(store, run["run_id"]), read_config(store, run["run_id"])
    raw = read_raw(job.data)
    arrays = model_arrays(raw, weights)
    return registry.register(name, run["run_id"], arrays, example_of(raw), card(run, job, raw))


def model_arrays(raw: RawDataset, weights: Params) -> dict[str, NDArray[Any]]:
    """Return a model and its preprocessing in the form that `pipeline.serving.champion` reads."""
    return {
        **{"W1": weights.W1[0], "b1": weights.b1[0, 0]},
        **{"W2": weights.W2[0], "b2": weights.b2[0, 0]},
        **_preprocessing_arrays(raw, weights.W1.dtype),
        "classes": np.array(raw.classes),
    }


def _preprocessing_arrays(raw: RawDataset, dtype: np.dtype[Any]) -> dict[str, NDArray[Any]]:
    scaler = fit_scaler(raw)
    if scaler.name == "pixels":
        return {"mean": scaler.mean.astype(dtype), "largest": np.array(scaler.largest, dtype)}
    arrays = {"mean": scaler.mean, "scale": scaler.scale}
    columns = {} if raw.encoder is None else {"columns": np.array(raw.encoder.to_json())}
    return arrays | columns


def example_of(raw: RawDataset) -> NDArray[Any] | pd.DataFrame:
    """Return some raw validation rows, as the registered model takes them."""
    if raw.encoder is not None:
        examples: pd.DataFrame = raw.encoder.examples
        return examples
    rows = next(raw.val.rows.pieces())[:EXAMPLES]
    rows = rows if rows.dtype == np.uint8 else rows.astype(np.float64)
    if raw.image_shape is not None:
        return as_images(rows, raw.image_shape)
    return rows.reshape(len(rows), *raw.train.rows.shape[1:])


def _input_of(raw: RawDataset) -> str:
    """Describe the input of the registered model."""
    if raw.encoder is not None:
        return f"a table with the columns {', '.join(map(str, raw.encoder.examples.columns))}"
    if raw.scaling == "pixels" and raw.image_shape is not None:
        shape = ", ".join(map(str, raw.image_shape))
        return f"images (n, {shape}) of raw pixels, whole numbers from 0 to {raw.largest}"
    shape = ", ".join(map(str, raw.image_shape or raw.train.rows.shape[1:]))
    return f"numbers (n, {shape})"


def check_better(
    store: Store, run: pd.Series[Any], candidates: pd.DataFrame | None, champion: Champion
) -> None:
    """Compare two models on their validation rows, as the report does.

    Raises:
        AnalysisError: they do not compare, or the champion is not known to be worse.
    """
    label = f"version {champion.version} of {champion.name}, the {ALIAS} so far"
    old = tabulate(queries.single_run(store, champion.run_id)).iloc[0]
    try:
        others = run.to_frame().T if candidates is None else candidates
        found = compare_runs(store, run, others, old)
    except PipelineError as error:
        raise AnalysisError(f"{label}, stays: {error}; --force replaces it all the same") from error
    if not found.is_better:
        raise AnalysisError(
            f"{label}, has a validation accuracy of {percent(old['best_val_acc'])}, {run['name']} "
            f"has {percent(run['best_val_acc'])}: that does not show that the new one is better "
            f"(the best of {found.num_candidates} on the same validation rows, p = "
            f"{found.p_value:.2g} with a correction for that choice; a difference of one point "
            f"needs about {found.images_for_one_point:,} validation rows); --force replaces it "
            "all the same"
        )


def card(run: pd.Series[Any], job: Job, raw: RawDataset) -> str:
    """What one should know about a model before using it, as Markdown (Mitchell et al., 2019)."""
    values = job.hyperparameters
    low, high = wilson(round(run["best_val_acc"] * run["num_val"]), int(run["num_val"]))
    test = "not measured" if pd.isna(run["test_acc"]) else percent(run["test_acc"])
    return "\n".join(
        [
            f"**Two-layer network for {job.data.name}**: {values.hidden_size} hidden units (ReLU), "
            "softmax, trained in NumPy by plain mini-batch SGD.",
            "",
            f"- Data: {run['num_train']:,} training and {run['num_val']:,} validation rows, "
            f"digest `{run['dataset_digest']}`; {SCALINGS[raw.scaling]}.",
            f"- Figures: validation accuracy {percent(run['best_val_acc'])} (95 % interval "
            f"{percent(low)} to {percent(high)}; the highest of a sweep is a little too high), "
            f"test accuracy {test}.",
            f"- Hyperparameters: λ={show(values.l2_reg)}, lr={show(values.learning_rate)}, decay "
            f"{show(values.learning_rate_decay)}, batch {values.batch_size}, best epoch "
            f"{run['best_epoch']} of {values.num_epochs}, seed {values.seed}, {values.dtype}.",
            f"- Input: {_input_of(raw)}. Output: `class` and `probabilities`, in the order "
            f"{', '.join(raw.classes)}.",
            "- Limits: the model names one of these classes for any input; its probabilities are "
            "not calibrated; inputs unlike the training data (for images: size, position, "
            "brightness) mislead it.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Promote a model; exit with 1 if it is not to be."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.promote",
        description="Register the chosen model of a sweep as the champion.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--sweep", metavar="ID", help="default: the latest")
    which.add_argument("--run", metavar="ID", help="this run in place of a sweep's best")
    parser.add_argument("--name", help="of the registered model (default: that of the dataset)")
    parser.add_argument("--force", action="store_true", help="replace a champion as good as it")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    try:
        store = Store.open_existing(options.tracking_uri)
        run, candidates = find(store, options.run, options.sweep)
        champion = promote(store, run, options.name, force=options.force, candidates=candidates)
    except PipelineError as error:
        sys.exit(str(error))
    address = f"models:/{champion.name}@{ALIAS}"
    print(f"{champion.name} version {champion.version} is the {ALIAS}: {run['name']}")
    print(f'Load it with mlflow.pyfunc.load_model("{address}"), or serve it with make serve')


def find(
    store: Store, run_id: str | None, sweep: str | None
) -> tuple[pd.Series[Any], pd.DataFrame]:
    """The run to promote, by its ID or the best of a sweep, and the runs of its sweep.

    Raises:
        PipelineError: there is none, or it has not finished.
    """
    if run_id is not None:
        runs, what = queries.single_run(store, run_id), f"run {run_id}"
    else:
        found = queries.find_sweep(store, sweep)
        runs, what = queries.sweep_runs(store, found), f"sweep {found.name}"
    jobs = tabulate(runs)
    ranking = rank(jobs)
    if not len(ranking):
        raise AnalysisError(f"{what} has no model that finished: there is nothing to promote")
    own_sweep = ranking["sweep"].iloc[0]
    if run_id is not None and isinstance(own_sweep, str):
        jobs = tabulate(queries.sweep_runs(store, queries.find_sweep(store, own_sweep)))
    return ranking.iloc[0], jobs
