"""The ensemble of a sweep: its members, its honest accuracy, and its gain over the single best."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.artifacts import AnalysisError, load_weights
from pipeline.analysis.diagnostics import softmax
from pipeline.analysis.ensemble_selection import BAGS, Probabilities, Selection, select
from pipeline.analysis.evaluation import ChosenModel, check_shape, check_test
from pipeline.analysis.intervals import paired_interval, wilson
from pipeline.analysis.paired import mcnemar
from pipeline.analysis.runs import selection_metric
from pipeline.data.load import load_test
from pipeline.errors import PipelineError
from pipeline.nn.cost import num_parameters, prediction_cost
from pipeline.nn.model import Array, Params, forward, predict
from pipeline.tracking.entities import Point, Sweep
from pipeline.tracking.store import Store

LIBRARY = 64  # models at most, the best ones by the selection rule
VALUES = 1 << 25  # probabilities in memory at most
CHUNK = 1000  # examples that are predicted at once
TAG = "ensemble"  # of the sweep's run: which ensemble its metrics belong to
METRICS = ("accuracy", "num_test", "gain", "gain_low", "gain_high")  # as ensemble_test_…


@dataclass(frozen=True)
class Member:
    """A model of an ensemble."""

    run_id: str
    name: str
    hidden_size: int
    share: float  # in the mean of the probabilities


@dataclass(frozen=True)
class EnsembleTest:
    """An ensemble on the test split, against the chosen single model."""

    accuracy: float
    low: float  # 95 % interval of Wilson
    high: float
    num_test: int
    gain: float  # accuracy of the ensemble minus that of the chosen model
    gain_low: float  # 95 % interval of Bonett and Price, paired by example
    gain_high: float


@dataclass(frozen=True)
class Ensemble:
    """An ensemble of the finished models of a sweep. Accuracies are of the validation examples.

    The choice of the members and of the single best model does not bias the out-of-bag accuracies.
    The choice of the best epoch of each model does: it adapts single models to the validation
    examples more than it adapts their mean.
    """

    members: Sequence[Member]  # the largest share first
    num_models: int  # finished models of the sweep
    num_candidates: int  # of these, the best ones, from which the members were selected
    num_bags: int
    val_acc: float  # on all validation examples, which also selected the members
    oob_acc: float  # out of bag
    oob_low: float  # 95 % interval of Wilson
    oob_high: float
    single_acc: float  # out of bag: the best single model of each bag
    gain: float  # out of bag: the ensemble minus the single best model
    gain_low: float  # 95 % interval of Bonett and Price, paired by example
    gain_high: float
    num_val: int
    parameters: int  # of all members
    multiply_adds: int  # to predict one example
    test: EnsembleTest | None
    oob_hits: NDArray[np.bool_]  # (N,) which validation examples it predicts out of bag

    @property
    def digest(self) -> str:
        """Equal for ensembles of the same members with the same shares."""
        text = json.dumps([(each.run_id, f"{each.share:.9f}") for each in self.members])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_ensemble(
    store: Store, sweep: Sweep, ranking: pd.DataFrame, chosen: ChosenModel | None, *, final: bool
) -> tuple[Ensemble | None, str | None]:
    """Measure the ensemble of a sweep as `measure_ensemble` does, if there is a chosen model.

    Returns:
        The ensemble, and the reason why there is none.
    """
    if chosen is None:
        return None, None
    try:
        return measure_ensemble(store, sweep, ranking, chosen, final=final), None
    except PipelineError as error:
        return None, " ".join(str(error).split())


def measure_ensemble(
    store: Store, sweep: Sweep, ranking: pd.DataFrame, chosen: ChosenModel, *, final: bool
) -> Ensemble | None:
    """Select an ensemble of the finished models of a sweep, and measure it.

    The validation probabilities are computed from the stored weights. That costs one evaluation of
    the validation split for each model, less than one of its epochs of training.

    Args:
        store: holds the runs. If the test split is read, the sweep's run receives the result.
        sweep: the sweep.
        ranking: its finished runs, best first (`rank`).
        chosen: the chosen model with its data.
        final: whether the test split may be read.

    Returns:
        None if there are fewer than two models on the data of the chosen one, or no data.

    Raises:
        PipelineError: weights are missing, damaged, or do not have the recorded accuracy.
    """
    if chosen.data is None:
        return None
    models = ranking[ranking["dataset_digest"] == ranking["dataset_digest"].iloc[0]]
    models = models.drop_duplicates(["configuration", "seed"])
    X, y, C = chosen.data.X_val, chosen.data.y_val, len(chosen.data.classes)
    candidates = models.head(min(LIBRARY, max(2, VALUES // (len(y) * C))))
    if len(candidates) < 2:
        return None
    probs = np.empty((C, len(candidates), len(y)), np.float32)
    for m, (_, row) in enumerate(candidates.iterrows()):
        params = load_weights(store, row["run_id"])
        check_shape(params, row["run_id"], chosen.data)
        probs[:, m] = probabilities(params, X)
        accuracy = float((probs[:, m].argmax(axis=0) == y).mean())
        if abs(accuracy - row["best_val_acc"]) * len(y) > 1 + len(y) / 1000:
            raise AnalysisError(
                f"the weights of {row['name']} have a validation accuracy of {accuracy:.4f}, but "
                f"its run recorded {row['best_val_acc']:.4f}: train it again with "
                "tracking.reuse=false"
            )
    selection = select(probs, y, selection_metric(ranking))
    return _describe(store, sweep, models, candidates, chosen, probs, selection, final=final)


def probabilities(params: Params, X: Array) -> NDArray[np.float32]:
    """Compute softmax(S) of one model (K = 1) for examples X (N, D); returns (C, N)."""
    parts = []
    for start in range(0, len(X), CHUNK):
        rows = X[start : start + CHUNK].astype(params.W1.dtype, copy=False)
        with np.errstate(all="ignore"):  # weights from a store may overflow
            _, S = forward(params, rows)
            parts.append(softmax(S[0]).T.astype(np.float32))
    return np.concatenate(parts, axis=1)


def _describe(
    store: Store,
    sweep: Sweep,
    models: pd.DataFrame,
    candidates: pd.DataFrame,
    chosen: ChosenModel,
    probs: Probabilities,
    selection: Selection,
    *,
    final: bool,
) -> Ensemble:
    assert chosen.data is not None
    y = chosen.data.y_val
    order = [m for m in np.argsort(-selection.shares, kind="stable") if selection.shares[m] > 0]
    members = [
        Member(str(row["run_id"]), str(row["name"]), int(row["hidden_size"]), float(share))
        for (_, row), share in zip(
            candidates.iloc[order].iterrows(), selection.shares[order], strict=True
        )
    ]
    mean = np.tensordot(selection.shares[order].astype(np.float32), probs[:, order], (0, 1))
    covered = selection.is_covered
    hits, single = selection.hits[covered], selection.single_hits[covered]
    gain, low, high = paired_interval(hits - single)
    D, C = chosen.data.X_val.shape[1], len(chosen.data.classes)
    sizes = [member.hidden_size for member in members]
    found = Ensemble(
        members=members,
        num_models=len(models),
        num_candidates=len(candidates),
        num_bags=BAGS,
        val_acc=float((mean.argmax(axis=0) == y).mean()),
        oob_acc=float(hits.mean()),
        oob_low=wilson(int(hits.sum()), len(hits))[0],
        oob_high=wilson(int(hits.sum()), len(hits))[1],
        single_acc=float(single.mean()),
        gain=float(gain),
        gain_low=float(low),
        gain_high=float(high),
        num_val=len(y),
        parameters=sum(num_parameters(H, D, C) for H in sizes),
        multiply_adds=sum(prediction_cost(H, D, C) for H in sizes),
        test=None,
        oob_hits=selection.hits & covered,
    )
    return replace(found, test=_test(store, sweep, found, chosen, candidates.iloc[0], final=final))


def _test(
    store: Store,
    sweep: Sweep,
    found: Ensemble,
    chosen: ChosenModel,
    best: pd.Series[Any],
    *,
    final: bool,
) -> EnsembleTest | None:
    """The result on the test split: the stored one, or measured once and stored.

    The test split is read only if it has been read for the chosen model.
    """
    stored = store.client.get_run(sweep.run_id).data
    names = [f"ensemble_test_{name}" for name in METRICS]
    if stored.tags.get(TAG) == found.digest and all(name in stored.metrics for name in names):
        return _as_test([float(stored.metrics[name]) for name in names])
    if not final or chosen.best.test_acc is None or chosen.weights is None or chosen.job is None:
        return None
    assert chosen.data is not None
    check_test(chosen.data, best)
    X, y = load_test(chosen.job.data, chosen.job.hyperparameters.dtype, chosen.data.scaler)
    mean = sum(
        np.float32(member.share) * probabilities(load_weights(store, member.run_id), X)
        for member in found.members
    )
    hits = np.asarray(mean).argmax(axis=0) == y
    paired = mcnemar(hits, (predict(chosen.weights, X)[0] == y)[None])[0]
    gain = paired.difference, paired.difference_low, paired.difference_high
    values = [float(hits.mean()), float(len(y)), *gain]
    ended = int(best["ended"].timestamp() * 1000) if pd.notna(best["ended"]) else 0
    point = Point(0, ended, dict(zip(names, values, strict=True)))
    store.log(sweep.run_id, [point], tags={TAG: found.digest})
    return _as_test(values)


def _as_test(values: Sequence[float]) -> EnsembleTest:
    accuracy, num_test, *gain = values
    low, high = wilson(round(accuracy * num_test), max(1, round(num_test)))
    return EnsembleTest(accuracy, low, high, int(num_test), *gain)
