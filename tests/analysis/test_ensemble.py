"""The ensemble of a real sweep: its members, its test result, and its report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.artifacts import load_weights
from pipeline.analysis.sweep import analyse
from pipeline.data.load import load, load_test
from pipeline.report.write import write_report
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from tests.conftest import DIGITS
from tests.sweeps import train_sweep

JOBS = [{"num_epochs": 2, "hidden_size": H, "learning_rate": 0.5} for H in (8, 10, 12, 14)]


@pytest.fixture(scope="module")
def sweep(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    jobs = [*JOBS, {"num_epochs": 1, "learning_rate": 1e9}, {**JOBS[0], "dtype": "float64"}]
    return train_sweep(store, tmp_path_factory.mktemp("members"), "members", *jobs)


def mean_probabilities(store: Store, members: Any, X: np.ndarray) -> np.ndarray:
    """The definition: the mean of softmax(max(0, X W1 + b1) W2 + b2) over the members."""
    mean = np.zeros((len(X), 10))
    for member in members:
        W1, b1, W2, b2 = (a[0].astype(float) for a in load_weights(store, member["run_id"]))
        odds = np.exp(np.maximum(0, X @ W1 + b1) @ W2 + b2)
        mean += member["share"] * odds / odds.sum(axis=1, keepdims=True)
    return mean


def test_report_states_the_ensemble_that_the_stored_weights_give(
    store: Store, sweep: Sweep, tmp_path: Path
) -> None:
    report = write_report(store, queries.find_sweep(store, sweep.name), tmp_path)
    facts = json.loads((report.folder / "report.json").read_text())
    found = facts["ensemble"]
    assert (found["num_models"], found["num_candidates"], found["num_bags"]) == (5, 5, 25)
    assert len(found["members"]) >= 2
    assert sum(member["share"] for member in found["members"]) == pytest.approx(1)
    data, (X, y) = load(DIGITS, "float64"), load_test(DIGITS, "float64")
    guess = mean_probabilities(store, found["members"], data.X_val).argmax(axis=1)
    assert found["val_acc"] == pytest.approx((guess == data.y_val).mean(), abs=1 / 359)
    guess = mean_probabilities(store, found["members"], X).argmax(axis=1)
    test = found["test"]
    assert test["accuracy"] == pytest.approx((guess == y).mean(), abs=1 / 359)
    assert test["gain"] == pytest.approx(test["accuracy"] - facts["best"]["test_acc"])
    assert test["low"] < test["accuracy"] < test["high"]
    assert found["gain"] == pytest.approx(found["oob_acc"] - found["single_acc"])
    assert found["gain_low"] < found["gain"] < found["gain_high"]
    sizes = [member["hidden_size"] for member in found["members"]]
    assert found["multiply_adds"] == sum(sizes) * (64 + 10)
    assert found["parameters"] == sum(65 * H + (H + 1) * 10 for H in sizes)
    (line,) = (line for line in report.lines if line.startswith("Ensemble of "))
    accuracies = [f"{100 * found[name]:.1f} %" for name in ("oob_acc", "single_acc")]
    assert " against ".join(accuracies) + " for the best single model, both out of bag" in line
    for name in ("report.md", "report.html"):
        text = (report.folder / name).read_text()
        assert "best single model" in text
        assert f"{found['multiply_adds']:,}" in text
        assert "pipeline-promote --ensemble --sweep members" in text


def test_test_split_is_read_once_for_an_ensemble(
    store: Store, sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = analyse(store, sweep).ensemble
    monkeypatch.setattr("pipeline.analysis.ensemble.load_test", None)
    again = analyse(store, sweep).ensemble
    assert first is not None and again is not None
    assert first.test is not None
    assert first.test == again.test
    assert first.digest == again.digest
    history = store.client.get_metric_history(sweep.run_id, "ensemble_test_accuracy")
    assert [metric.value for metric in history] == [first.test.accuracy]


def test_test_split_of_an_incomplete_sweep_is_not_read(store: Store, tmp_path: Path) -> None:
    train_sweep(store, tmp_path, "unfinished", *JOBS[:2])
    planned = replace(queries.find_sweep(store, "unfinished"), num_jobs=3)
    found = analyse(store, planned)
    assert found.ensemble is not None
    assert found.ensemble.test is None
    assert found.chosen is not None and found.chosen.best.test_acc is None
    read = analyse(store, planned, read_test=True).ensemble
    assert read is not None and read.test is not None


def test_one_model_is_no_ensemble(store: Store, tmp_path: Path) -> None:
    found = analyse(store, train_sweep(store, tmp_path, "alone", JOBS[0], JOBS[0]))
    assert (found.ensemble, found.ensemble_problem) == (None, None)


def test_weights_without_their_recorded_accuracy_are_refused(store: Store, tmp_path: Path) -> None:
    sweep = train_sweep(store, tmp_path, "swapped", *JOBS[:2])
    runs: pd.DataFrame = queries.sweep_runs(store, sweep)
    worst = runs.loc[runs["metrics.best_val_acc"].idxmin()]
    path = store.artifacts.download(worst["run_id"], "weights.npz", tmp_path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    (tmp_path / "new").mkdir()
    np.savez(tmp_path / "new" / "weights.npz", **arrays | {"W2": -arrays["W2"]})
    store.artifacts.upload(worst["run_id"], tmp_path / "new")
    report = write_report(store, queries.find_sweep(store, "swapped"), tmp_path / "reports")
    facts = json.loads((report.folder / "report.json").read_text())
    assert facts["ensemble"] is None
    assert facts["best"] is not None
    text = (report.folder / "report.md").read_text()
    assert "There is no ensemble: the weights of H=" in text
    assert not [line for line in report.lines if line.startswith("Ensemble")]
