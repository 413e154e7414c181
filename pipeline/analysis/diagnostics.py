"""The chosen model, looked at: what it confuses, where it looks, and how its training stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.choice import ReportError, read_config
from pipeline.data.dataset import Dataset, as_images
from pipeline.data.load import load
from pipeline.nn.model import Array, Labels, Params, forward, loss_and_grads
from pipeline.tracking.store import Store

SHOWN = 8  # most confidently wrong images
CHUNK = 1000  # images predicted at once


class Mistake(NamedTuple):
    """A validation image that the model takes for another class."""

    number: int  # of the image in the validation split
    label: int
    predicted: int
    probability: float  # that the model gives the predicted class
    image: NDArray[np.floating]  # (height, width, channels), preprocessed
    gradient: NDArray[np.floating]  # ∂L/∂x of it, in the same shape


@dataclass(frozen=True)
class Diagnostics:
    """What one model does with the training and validation images."""

    train_acc: float  # of the weights of the best epoch, on all training images
    gap: float  # that minus validation accuracy: the generalisation gap
    dead: float  # share of hidden units that are 0 on every training image
    updates: tuple[float, float]  # ‖η ∂L/∂W‖ ÷ ‖W‖ of W1 and W2, in one step on a mini-batch
    confusion: NDArray[np.int64]  # (C, C) validation images: a row a class, a column a prediction
    mistakes: list[Mistake]  # the most confident ones, the surest first


def diagnose_run(
    store: Store, run_id: str, weights: Params, epoch: int
) -> tuple[Diagnostics, Dataset]:
    """Look at the model of a run, with its data.

    Args:
        store: holds the run.
        run_id: of the run.
        weights: of its best epoch.
        epoch: the best one.

    Raises:
        PipelineError: the run's configuration or its images cannot be read.
    """
    job = read_config(store, run_id)
    values = job.hyperparameters
    data = load(job.data, values.dtype)
    if weights.W1.shape[1] != data.X_train.shape[1] or weights.W2.shape[2] != len(data.classes):
        raise ReportError(f"the weights of run {run_id} do not fit the images of {data.name}")
    learning_rate = values.learning_rate * values.learning_rate_decay ** (epoch - 1)
    return diagnose(weights, data, learning_rate, values.l2_reg, values.batch_size), data


def diagnose(
    params: Params, data: Dataset, learning_rate: float, l2_reg: float, batch_size: int
) -> Diagnostics:
    """Look at one model (K = 1).

    Args:
        params: its weights.
        data: that it was trained on.
        learning_rate: η, as it was in its best epoch.
        l2_reg: λ.
        batch_size: of the step that `updates` is measured on.
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
        sure.append(_softmax(S[0]).max(axis=1))
    guess, probability = np.concatenate(predicted), np.concatenate(sure)
    C = len(data.classes)
    confusion = np.bincount(data.y_val * C + guess, minlength=C * C).reshape(C, C)
    train_acc = right / len(data.y_train)
    return Diagnostics(
        train_acc=train_acc,
        gap=train_acc - float(np.trace(confusion)) / len(guess),
        dead=1 - float(alive.mean()),
        updates=_updates(params, data, learning_rate, l2_reg, batch_size),
        confusion=confusion,
        mistakes=list(_mistakes(params, data, guess, probability)) if data.image_shape else [],
    )


def _chunks(X: Array, y: Labels) -> Iterator[tuple[Array, Labels]]:
    for start in range(0, len(y), CHUNK):
        yield X[start : start + CHUNK], y[start : start + CHUNK]


def _softmax(S: Array) -> Array:
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
