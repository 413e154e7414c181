"""The influence of features: the size of weights, and permutation importance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import permutation_importance

from pipeline.analysis.features import REPEATS, measure_features, weight_sizes
from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.nn.model import Params, predict

rng = np.random.default_rng(0)
N = 400
FRAME = pd.DataFrame(
    {
        "noise": rng.normal(size=N),
        "signal": 100 * rng.normal(size=N),
        "colour": rng.choice(["red", "green", "blue"], N),
    }
)
LIMIT = np.where(FRAME["colour"] == "red", 283, -142)
FRAME["class"] = np.where(FRAME["signal"] > LIMIT, "no", "yes")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("features") / "own.csv"
    FRAME.to_csv(path, index=False)
    return load(DataConfig(name="own", kind="table", file=str(path), target="class"), "float64")


def network() -> Params:
    """The class is no if signal > 2 red, in standardised features."""
    W1 = np.zeros((5, 2))
    W1[1] = 1, -1  # signal
    W1[4] = -2, 2  # colour=red
    W2 = np.array([[1.0, 0.0], [0.0, 1.0]])
    return Params(W1[None], np.zeros((1, 1, 2)), W2[None], np.zeros((1, 1, 2)))


def test_weights_are_scaled_by_the_deviation_of_the_feature(data: Dataset) -> None:
    assert data.features == ("noise", "signal", "colour=blue", "colour=green", "colour=red")
    np.testing.assert_allclose(weight_sizes(network(), data), [0, 1, 0, 0, 2])
    wider = replace(data, X_train=data.X_train * [1, 3, 1, 1, 1])
    np.testing.assert_allclose(weight_sizes(network(), wider), [0, 3, 0, 0, 2])
    found = measure_features(network(), data, "val_acc")
    assert [each.feature for each in found.weights[:2]] == ["colour=red", "signal"]


def test_features_of_whitened_data_are_those_of_the_scaled_data(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "own.csv", index=False)
    config = DataConfig(name="own", kind="table", file=str(tmp_path / "own.csv"), target="class")
    plain, whitened = (load(replace(config, whiten=ε), "float64") for ε in (None, 0.01))
    assert whitened.scaler.whitening is not None
    folded = network()._replace(W1=np.linalg.solve(whitened.scaler.whitening, network().W1))
    found = measure_features(folded, whitened, "val_acc")
    expected = measure_features(network(), plain, "val_acc")
    assert found.permutations == expected.permutations
    for one, other in zip(found.weights[:2], expected.weights[:2], strict=True):
        assert (one.feature, one.size) == (other.feature, pytest.approx(other.size))


def test_columns_are_shuffled_as_a_whole_and_the_result_is_repeatable(data: Dataset) -> None:
    found = measure_features(network(), data, "val_acc")
    assert found == measure_features(network(), data, "val_acc")
    losses = {each.column: each.loss for each in found.permutations}
    assert set(losses) == {"noise", "signal", "colour"}
    assert losses["noise"] == 0
    assert losses["signal"] > 0.1 and losses["colour"] > 0.1
    assert (found.num_features, found.num_columns, found.num_permuted) == (5, 3, 3)


def test_permutation_importance_agrees_with_scikit_learn(data: Dataset) -> None:
    class Model:
        def fit(self, X: np.ndarray, y: np.ndarray) -> None: ...

        def score(self, X: np.ndarray, y: np.ndarray) -> float:
            return float((predict(network(), X)[0] == y).mean())

    theirs = permutation_importance(Model(), data.X_val, data.y_val, n_repeats=200, random_state=0)
    ours = {each.column: each for each in measure_features(network(), data, "val_acc").permutations}
    error = 5 * theirs.importances_std[1] / REPEATS**0.5
    assert ours["signal"].loss == pytest.approx(theirs.importances_mean[1], abs=error)


def test_balanced_accuracy_is_used_where_it_is_the_metric(tmp_path: Path) -> None:
    X = rng.normal(size=(N, 3))
    y = (X[:, 0] > 1.2).astype(int)  # class 1 is rare
    np.savez(tmp_path / "own.npz", X=X, y=y)
    data = load(DataConfig(name="own", kind="npz", file=str(tmp_path / "own.npz")), "float64")
    W1 = np.zeros((3, 1))
    W1[0] = 1
    threshold = (1.2 - data.scaler.mean[0]) / data.scaler.scale[0]
    params = Params(
        W1[None],
        np.full((1, 1, 1), -threshold),
        np.array([[[0.0, 1.0]]]),
        np.array([[[1e-9, 0.0]]]),
    )
    accuracy = measure_features(params, data, "val_acc").permutations[0]
    balanced = measure_features(params, data, "balanced_acc").permutations[0]
    assert accuracy.column == balanced.column == "feature 0"
    assert balanced.loss > 1.5 * accuracy.loss > 0
