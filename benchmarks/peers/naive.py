"""A plain two-layer network in NumPy, as in course assignments: one model, one step at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.hyperparameters import Hyperparameters


class TwoLayerNet:
    """The parameters in a dictionary, and a loss that returns their gradients."""

    def __init__(self, job: Hyperparameters, D: int, C: int) -> None:
        """Small random weights, zero biases."""
        rng = np.random.default_rng(job.seed)
        self.reg, self.learning_rate = job.l2_reg, job.learning_rate
        self.params = {
            "W1": (job.weight_std * rng.standard_normal((D, job.hidden_size))).astype(job.dtype),
            "b1": np.zeros(job.hidden_size, job.dtype),
            "W2": (job.weight_std * rng.standard_normal((job.hidden_size, C))).astype(job.dtype),
            "b2": np.zeros(C, job.dtype),
        }

    def scores(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Class scores (N, C)."""
        p = self.params
        return np.maximum(0, X @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]

    def loss(
        self, X: NDArray[np.floating], y: NDArray[np.int64]
    ) -> tuple[float, dict[str, NDArray[np.floating]]]:
        """The loss and the gradients on a mini-batch."""
        W1, b1, W2, b2 = self.params.values()
        N = len(X)
        hidden = np.maximum(0, X @ W1 + b1)
        scores = hidden @ W2 + b2
        scores -= np.max(scores, axis=1, keepdims=True)
        exp_scores = np.exp(scores)
        probs = exp_scores / np.sum(exp_scores, axis=1, keepdims=True)
        loss = -np.sum(np.log(probs[np.arange(N), y])) / N
        loss += self.reg * (np.sum(W1 * W1) + np.sum(W2 * W2))

        dscores = probs
        dscores[np.arange(N), y] -= 1
        dscores /= N
        dhidden = dscores @ W2.T
        dhidden[hidden <= 0] = 0
        grads = {
            "W1": X.T @ dhidden + 2 * self.reg * W1,
            "b1": np.sum(dhidden, axis=0),
            "W2": hidden.T @ dscores + 2 * self.reg * W2,
            "b2": np.sum(dscores, axis=0),
        }
        return float(loss), grads

    def step(self, X: NDArray[np.floating], y: NDArray[np.int64]) -> float:
        """Take one step of SGD. Return the loss before the step."""
        loss, grads = self.loss(X, y)
        for name in self.params:
            self.params[name] -= self.learning_rate * grads[name]
        return loss
