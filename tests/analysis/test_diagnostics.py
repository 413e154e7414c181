"""Diagnostics of a trained model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.analysis.calibration import calibrate
from pipeline.analysis.diagnostics import SHOWN, diagnose
from pipeline.data.dataset import Dataset, as_images
from pipeline.nn.history import EpochEnd
from pipeline.nn.model import Params, forward, init_params, predict
from pipeline.nn.train import train
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def weights(digits: Dataset) -> Params:
    *_, last = train([SMALL], digits)
    assert isinstance(last, EpochEnd)
    assert last.result is not None
    assert last.result.best is not None
    return last.result.best


def loss_of(weights: Params, x: np.ndarray, label: int) -> float:
    S = forward(weights, x[None])[1][0, 0].astype(np.float64)
    return float(np.log(np.exp(S - S.max()).sum()) + S.max() - S[label])


def test_confusion_matrix_counts_the_predictions(weights: Params, digits: Dataset) -> None:
    measured = diagnose(weights, digits, 0.3, 1e-4, 100)
    guess = predict(weights, digits.X_val)[0]
    for true in range(10):
        for predicted in range(10):
            both = (digits.y_val == true) & (guess == predicted)
            assert measured.confusion[true, predicted] == both.sum()
    train_acc = (predict(weights, digits.X_train)[0] == digits.y_train).mean()
    assert measured.train_acc == pytest.approx(train_acc)
    assert measured.gap == pytest.approx(train_acc - (guess == digits.y_val).mean())


def test_baseline_is_the_most_frequent_class_of_the_training_examples(
    weights: Params, digits: Dataset
) -> None:
    found = diagnose(weights, digits, 0.3, 1e-4, 100).baseline
    assert found.label == np.bincount(digits.y_train).argmax()
    assert found.val_acc == (digits.y_val == found.label).mean()
    assert 0 < found.low < found.val_acc < found.high < 0.2


def test_mistakes_come_in_descending_confidence(weights: Params, digits: Dataset) -> None:
    mistakes = diagnose(weights, digits, 0.3, 1e-4, 100).mistakes
    assert len(mistakes) == min(
        SHOWN, int((predict(weights, digits.X_val)[0] != digits.y_val).sum())
    )
    assert len(mistakes) > 2
    sure = [mistake.probability for mistake in mistakes]
    assert sure == sorted(sure, reverse=True)
    for mistake in mistakes:
        assert mistake.label == digits.y_val[mistake.number] != mistake.predicted
        (image,) = as_images(digits.X_val[[mistake.number]], digits.image_shape)
        np.testing.assert_array_equal(mistake.image, image)
        S = forward(weights, digits.X_val[[mistake.number]])[1][0, 0].astype(np.float64)
        odds = np.exp(S - S.max())
        assert mistake.predicted == S.argmax()
        assert mistake.probability == pytest.approx(odds.max() / odds.sum(), rel=1e-5)


def test_saliency_is_the_gradient_of_the_loss_of_one_image(digits: Dataset) -> None:
    wide = init_params(64, 12, 10, 0.3, 0, "float64")
    mistake = diagnose(wide, digits, 0.3, 0.0, 100).mistakes[0]
    x = digits.X_val[mistake.number].astype(np.float64)
    for pixel in (10, 20, 43):
        step = np.zeros(64)
        step[pixel] = 1e-6
        slope = (
            loss_of(wide, x + step, mistake.label) - loss_of(wide, x - step, mistake.label)
        ) / 2e-6
        assert mistake.gradient.reshape(-1)[pixel] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_dead_units_are_zero_on_every_training_image(weights: Params, digits: Dataset) -> None:
    b1 = weights.b1.copy()
    b1[0, 0, :4] = -1e6
    measured = diagnose(weights._replace(b1=b1), digits, 0.3, 1e-4, 100)
    alive = (forward(weights, digits.X_train)[0][0, :, 4:] > 0).any(axis=0).sum()
    assert (measured.dead_units, measured.hidden_units) == (16 - alive, 16)


def test_the_update_ratio_is_that_of_one_step(weights: Params, digits: Dataset) -> None:
    lr, l2, n = 0.1, 0.02, 50
    measured = diagnose(weights, digits, lr, l2, n)
    X, y = digits.X_train[:n].astype(float), digits.y_train[:n]
    W1, b1, W2, b2 = (np.asarray(a[0], float) for a in weights)
    H = np.maximum(X @ W1 + b1, 0)
    odds = np.exp(H @ W2 + b2)
    dS = (odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[y]) / n
    dW2 = H.T @ dS + 2 * l2 * W2
    dW1 = X.T @ (dS @ W2.T * (H > 0)) + 2 * l2 * W1
    for ratio, dW, W in zip(measured.updates, (dW1, dW2), (W1, W2), strict=True):
        assert ratio == pytest.approx(lr * np.linalg.norm(dW) / np.linalg.norm(W), rel=1e-3)


def test_a_model_without_mistakes_has_none_to_show(weights: Params, digits: Dataset) -> None:
    agreed = replace(digits, y_val=predict(weights, digits.X_val)[0])
    measured = diagnose(weights, agreed, 0.3, 1e-4, 100)
    assert measured.mistakes == []
    assert measured.gap == pytest.approx(measured.train_acc - 1)


def test_calibration_error_is_the_weighted_gap_between_confidence_and_accuracy() -> None:
    # Two bins: 4 examples of confidence 0.9 of which 3 are right, 6 of 0.55 of which 3 are right.
    confidence = np.repeat([0.9, 0.55], [4, 6])
    correct = np.array([1, 1, 1, 0, 1, 1, 1, 0, 0, 0], bool)
    found = calibrate(confidence, correct)
    assert found.error == pytest.approx(0.4 * 0.15 + 0.6 * 0.05)
    assert [(b.size, b.accuracy) for b in found.bins] == [(6, 0.5), (4, 0.75)]
    assert found.bins[0].low < 0.55 <= found.bins[0].high
    sure = calibrate(np.ones(5), np.ones(5, bool))
    assert (sure.error, sure.bins[0].high) == (0, 1)


def test_calibrated_predictions_have_a_small_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.2, 1, 100_000)
    correct = random.random(100_000) < confidence
    assert calibrate(confidence, correct).error < 0.01
    assert calibrate(confidence**0.5, correct).error > 0.05
