"""Whitening of the inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.data.load import load, load_test
from pipeline.errors import DataError
from tests.conftest import DIGITS

EPSILON = 0.05
WHITENED = replace(DIGITS, whiten=EPSILON)


def own(path: Path, X: np.ndarray, **values: object) -> DataConfig:
    """A dataset of rows X, whose first 60 train, and whose other rows validate."""
    y = np.arange(len(X)) % 2
    np.savez(path, X=X[:60], y=y[:60], X_val=X[60:], y_val=y[60:])
    return DataConfig(name="own", kind="npz", file=str(path), whiten=0.01, **values)  # type: ignore[arg-type]


def test_whitened_rows_are_the_zca_of_the_scaled_training_rows() -> None:
    scaled, whitened = load(DIGITS, "float64"), load(WHITENED, "float64")
    X = scaled.X_train
    _, singular, V = np.linalg.svd(X, full_matrices=False)
    variances = singular**2 / len(X)
    Z = V.T @ np.diag(1 / np.sqrt(variances + EPSILON * variances.mean())) @ V
    np.testing.assert_allclose(whitened.X_train, X @ Z, atol=1e-9)
    np.testing.assert_allclose(whitened.X_val, scaled.X_val @ Z, atol=1e-9)
    test, _ = load_test(DIGITS, "float64")
    np.testing.assert_allclose(load_test(WHITENED, "float64")[0], test @ Z, atol=1e-9)
    covariance = np.cov(whitened.X_train.T, bias=True)
    expected = V.T @ np.diag(variances / (variances + EPSILON * variances.mean())) @ V
    np.testing.assert_allclose(covariance, expected, atol=1e-9)
    assert np.linalg.eigvalsh(covariance)[-20:] == pytest.approx(1, abs=0.1)


def test_whitening_is_fitted_on_the_training_rows_only(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(80, 5)) @ np.triu(np.ones((5, 5)))
    first = load(own(tmp_path / "a.npz", X), "float64")
    X[60:] *= 100
    second = load(own(tmp_path / "a.npz", X), "float64")
    assert np.array_equal(first.X_train, second.X_train)
    assert not np.array_equal(first.X_val, second.X_val)


def test_constant_and_equal_features_stay_finite(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(80, 4))
    X[:, 1], X[:, 2] = 7, X[:, 0]
    data = load(own(tmp_path / "a.npz", X), "float64")
    np.testing.assert_allclose(data.X_train[:, 1], 0, atol=1e-12)
    np.testing.assert_allclose(data.X_train[:, 0], data.X_train[:, 2], atol=1e-9)
    still = load(own(tmp_path / "a.npz", np.ones((80, 4))), "float64")
    assert not still.X_train.any() and not still.X_val.any()


def test_whitened_data_have_a_digest_and_a_parameter_of_their_own() -> None:
    plain, whitened = load(DIGITS, "float32"), load(WHITENED, "float32")
    other = load(replace(DIGITS, whiten=0.1), "float32")
    assert len({plain.digest, whitened.digest, other.digest}) == 3
    assert whitened.choices == {"data.whiten": "0.05"}
    assert whitened.X_train.dtype == np.float32
    assert np.array_equal(load(WHITENED, "float32").X_train, whitened.X_train)


def test_whitening_that_is_impossible_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(0).normal(size=(80, 300))
    with pytest.raises(DataError, match=r"data.whiten needs scaled rows: set data.scaling"):
        load(own(tmp_path / "a.npz", X, scaling="none"), "float32")
    memory = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(total=1_000_000))
    monkeypatch.setattr("pipeline.data.whitening.psutil", memory)
    with pytest.raises(DataError, match=r"needs 0.00288 GB for 300 features.* data.whiten=null"):
        load(own(tmp_path / "a.npz", X), "float32")
