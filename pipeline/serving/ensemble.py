"""Registers the ensemble of a sweep as one champion: python -m pipeline.promote --ensemble."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.artifacts import AnalysisError, load_hits
from pipeline.analysis.comparison import class_weights, compare_selected
from pipeline.analysis.ensemble import TAG, Ensemble, measure_ensemble
from pipeline.analysis.evaluation import evaluate_best
from pipeline.analysis.runs import rank, tabulate
from pipeline.data.kinds import read_raw
from pipeline.data.raw import RawDataset
from pipeline.errors import PipelineError
from pipeline.report.formatting import percent
from pipeline.serving.card import ensemble_card
from pipeline.serving.package import check_accuracy, example_of, model_arrays
from pipeline.serving.promotion import check_data, describe_champion, no_finished_model
from pipeline.serving.trust import check_code
from pipeline.tracking import queries
from pipeline.tracking.entities import Point, Sweep
from pipeline.tracking.registry import Champion, Registry
from pipeline.tracking.store import Store

NETWORK = ("W1", "b1", "W2", "b2")


def promote_ensemble(
    store: Store, sweep: Sweep, name: str | None = None, *, force: bool = False
) -> tuple[Champion, Ensemble]:
    """Register the ensemble of a sweep as the champion.

    A run of its own holds the files of the model, and the validation examples that the ensemble
    predicts correctly out of bag, with which it is compared with other champions.

    Args:
        store: the store of the sweep.
        sweep: its finished models are the candidates.
        name: of the registered model; None: the name of the dataset.
        force: replace the champion in any case.

    Returns:
        The champion, and the ensemble. The registry has loaded it, and it has reproduced the
        validation accuracy of the ensemble. The alias moves only then.

    Raises:
        PipelineError: the sweep has no ensemble of two models or more, their files cannot be read,
            the ensemble is not significantly better than the champion, or the registered model
            differs.
    """
    ranking = rank(tabulate(queries.sweep_runs(store, sweep)))
    if not len(ranking):
        raise AnalysisError(no_finished_model(store, sweep))
    row = ranking.iloc[0]
    chosen = evaluate_best(store, row, sweep.name, final=False)
    if chosen.job is None or chosen.data is None:
        raise AnalysisError(f"the best model of the sweep cannot be read: {chosen.problem}")
    ensemble = measure_ensemble(store, sweep, ranking, chosen, final=False)
    if ensemble is None:
        raise AnalysisError(
            f"sweep {sweep.name} has fewer than two finished models: promote the best one without "
            "--ensemble"
        )
    if len(ensemble.members) == 1:
        raise AnalysisError(
            f"sweep {sweep.name} has no ensemble, because its best single model is best alone: "
            "promote it without --ensemble"
        )
    registry = Registry(store)
    name = name or str(row["dataset"])
    champion = registry.champion(name)
    if champion is not None and _tag(store, champion) == ensemble.digest:
        return champion, ensemble
    raw = read_raw(chosen.job.data)
    check_data(row, raw, chosen.job)
    if champion is not None and not force:
        _check_better(store, row, ensemble, champion, raw)
    text = ensemble_card(ensemble, sweep.name, row, chosen.job, raw)
    arrays = ensemble_arrays(store, ensemble, raw)
    run_id = _create_run(store, sweep, row, ensemble)
    new = None
    try:
        new = registry.register(name, run_id, arrays, example_of(raw), text)
        check_accuracy(registry.load(new, check_code), raw, ensemble.val_acc)
    except PipelineError:
        if new is not None:
            registry.delete(new)
        store.delete_run(run_id)
        raise
    registry.make_champion(new, text)
    return new, ensemble


def ensemble_arrays(store: Store, ensemble: Ensemble, raw: RawDataset) -> dict[str, NDArray[Any]]:
    """The arrays of `model.npz`: shares (K,), W1_k, b1_k, W2_k and b2_k, and the preprocessing.

    All members were trained on the same data, so that they share their preprocessing.

    Raises:
        PipelineError: the weights of a member cannot be read.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for k, member in enumerate(ensemble.members):
        own = model_arrays(store, member.run_id, raw)
        arrays |= {f"{key}_{k}": own.pop(key) for key in NETWORK}
        arrays = own | arrays
    return arrays | {"shares": np.array([member.share for member in ensemble.members])}


def _create_run(store: Store, sweep: Sweep, row: pd.Series[Any], ensemble: Ensemble) -> str:
    """Create the run of an ensemble, with its hits; returns its ID."""
    tags = {"kind": "ensemble", "ensemble_of": sweep.name, TAG: ensemble.digest}
    tags |= {
        key: str(row[key])
        for key in ("dataset", "dataset_digest", "num_train", "num_val", "num_features")
    }
    run_id = store.start_run(sweep.experiment_id, f"ensemble of {sweep.name}", tags, None)
    values = {"best_val_acc": ensemble.val_acc, "oob_acc": ensemble.oob_acc}
    with store.artifacts.folder(run_id, Path(tempfile.gettempdir())) as folder:
        bits = np.packbits(ensemble.oob_hits)
        np.savez(folder / "val_hits.npz", bits=bits)
    params = {"data.name": row["data.name"], "select_by": row["select_by"]}
    point = Point(0, time.time_ns() // 1_000_000, values)
    store.log(run_id, [point], params=params, status="FINISHED")
    return run_id


def _tag(store: Store, champion: Champion) -> str | None:
    """The digest of the ensemble that a champion is, if it is one."""
    try:
        runs = queries.single_run(store, champion.run_id)
    except PipelineError:  # its run has been deleted
        return None
    return str(runs[f"tags.{TAG}"].iloc[0]) if f"tags.{TAG}" in runs else None


def _check_better(
    store: Store, row: pd.Series[Any], ensemble: Ensemble, champion: Champion, raw: RawDataset
) -> None:
    """Compare an ensemble with the champion on the validation rows, out of bag.

    Raises:
        AnalysisError: the two cannot be compared, or the ensemble is not significantly better.
    """
    label = describe_champion(champion)
    weights = class_weights(raw.val.labels) if row["select_by"] == "balanced_acc" else None
    try:
        old = tabulate(queries.single_run(store, champion.run_id)).iloc[0]
        if old["dataset_digest"] != row["dataset_digest"]:
            raise AnalysisError("the two models were trained on different data")
        hits = load_hits(store, champion.run_id, ensemble.num_val)
    except PipelineError as error:
        raise AnalysisError(
            f"{label}, cannot be compared with the ensemble ({error}): add --force to replace it"
        ) from error
    found = compare_selected(hits, ensemble.oob_hits[None], weights=weights)
    if not found.is_better:
        raise AnalysisError(
            f"the ensemble does not replace {label}: it is right on {percent(ensemble.oob_acc)} of "
            f"the validation rows out of bag against {percent(float(hits.mean()))}, which is not "
            f"significantly better (p = {found.p_value:.2g}): add --force to replace it anyway"
        )
