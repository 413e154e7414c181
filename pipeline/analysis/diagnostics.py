"""Diagnostics of the chosen model: confusion, mistakes, saliency, dead units, update sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.calibration import Calibration, calibrate
from pipeline.analysis.intervals import wilson
from pipeline.data.dataset import Dataset, as_images
from pipeline.nn.model import (
    Array,
    Labels,
    Params,
    balanced_accuracy,
    forward,
    loss_and_grads,
)

SHOWN = 8  # most confidently wrong images
CHUNK = 1000  # images predicted at once


class Mistake(NamedTuple):
    """A validation image that the model assigns to a wrong class."""

    number: int  # of the image in the validation split
    label: int
    predicted: int
    probability: float  # of the predicted class
    image: NDArray[np.floating]  # (height, width, channels), preprocessed
    gradient: NDArray[np.floating]  # ∂L/∂x of its own loss, in the same shape


class Baseline(NamedTuple):
    """A constant prediction: the most frequent class of the training examples."""

    label: int
    val_acc: float
    low: float  # 95 % interval (Wilson)
    high: float


@dataclass(frozen=True)
class Diagnostics:
    """Measurements of one model on the training and validation images."""

    train_acc: float  # of the stored weights, on all training images
    gap: float  # train_acc − validation accuracy: the generalisation gap
    dead_units: int  # hidden units that are 0 on every training image
    hidden_units: int
    updates: tuple[
        float, float
    ]  # ‖η ∂L/∂W‖ ÷ ‖W‖ of W1 and W2, in one step on the first mini-batch
    confusion: NDArray[
        np.int64
    ]  # (C, C) validation images: a row per class, a column per prediction
    recalls: list[float | None]  # accuracy on each class; None: the class has no validation image
    recall_ci95: list[tuple[float, float] | None]  # Wilson
    calibration: Calibration  # on the validation examples
    baseline: Baseline
    balanced_acc: float  # the mean of the recalls
    mistakes: list[Mistake]  # the most confident ones, in descending confidence


def diagnose(
    params: Params, data: Dataset, learning_rate: float, l2_reg: float, batch_size: int
) -> Diagnostics:
    """Measure one model (K = 1).

    Args:
        params: its weights.
        data: the data on which it was trained.
        learning_rate: η in its best epoch.
        l2_reg: λ.
        batch_size: the size of the mini-batch on which `updates` is measured.
    """
    alive = np.zeros(params.b1.shape[2], np.bool_)
    right = 0
    for X, y in _chunks(data.X_train, data.y_train):
        H, S = forward(params, X)
        alive |= (H[0] > 0).any(axis=0)
        right += int((S[0].argmax(axis=1) == y).sum())
    predicted, sure = [], []
    for X, _ in _chunks(data.X_val, data.y_val):
        _, S = forward(params, X)
        predicted.append(S[0].argmax(axis=1))
        sure.append(softmax(S[0]).max(axis=1))
    guess, probability = np.concatenate(predicted), np.concatenate(sure)
    C = len(data.classes)
    confusion = np.bincount(data.y_val * C + guess, minlength=C * C).reshape(C, C)
    train_acc = right / len(data.y_train)
    per_class = list(zip(confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True))
    return Diagnostics(
        train_acc=train_acc,
        gap=train_acc - float(np.trace(confusion)) / len(guess),
        dead_units=int((~alive).sum()),
        hidden_units=len(alive),
        updates=_updates(params, data, learning_rate, l2_reg, batch_size),
        confusion=confusion,
        recalls=[own / total if total else None for own, total in per_class],
        recall_ci95=[wilson(own, total) if total else None for own, total in per_class],
        calibration=calibrate(probability, guess == data.y_val),
        baseline=majority_class(data),
        balanced_acc=balanced_accuracy(guess == data.y_val, data.y_val),
        mistakes=list(_mistakes(params, data, guess, probability)) if data.image_shape else [],
    )


def majority_class(data: Dataset) -> Baseline:
    """The accuracy of the most frequent class; of equally frequent ones, the first."""
    label = int(np.bincount(data.y_train, minlength=len(data.classes)).argmax())
    hits, n = int((data.y_val == label).sum()), len(data.y_val)
    return Baseline(label, hits / n, *wilson(hits, n))


def _chunks(X: Array, y: Labels) -> Iterator[tuple[Array, Labels]]:
    for start in range(0, len(y), CHUNK):
        yield X[start : start + CHUNK], y[start : start + CHUNK]


def softmax(S: Array) -> Array:
    """Probabilities (N, C) of scores S (N, C)."""
    shifted = np.exp(S - S.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _updates(
    params: Params, data: Dataset, learning_rate: float, l2_reg: float, batch_size: int
) -> tuple[float, float]:
    batch = slice(0, batch_size)
    column = np.full((1, 1, 1), l2_reg, params.W1.dtype)
    _, gradients, _ = loss_and_grads(params, data.X_train[batch], data.y_train[batch], column)

    def ratio(gradient: Array, W: Array) -> float:
        size = float(np.linalg.norm(W))
        return learning_rate * float(np.linalg.norm(gradient)) / size if size else 0.0

    return ratio(gradients.W1, params.W1), ratio(gradients.W2, params.W2)


def _mistakes(
    params: Params, data: Dataset, guess: Labels, probability: Array
) -> Iterator[Mistake]:
    wrong = np.flatnonzero(guess != data.y_val)
    worst = wrong[np.argsort(-probability[wrong], kind="stable")][:SHOWN]
    if not len(worst):
        return
    X, y = data.X_val[worst], data.y_val[worst]
    assert data.image_shape is not None
    no_penalty = np.zeros((1, 1, 1), params.W1.dtype)
    _, _, dX = loss_and_grads(params, X, y, no_penalty)
    images, gradients = (as_images(rows, data.image_shape) for rows in (X, dX[0] * len(worst)))
    for i, number in enumerate(worst):
        yield Mistake(
            number=int(number),
            label=int(y[i]),
            predicted=int(guess[number]),
            probability=float(probability[number]),
            image=images[i],
            gradient=gradients[i],
        )
