"""ParallelMLPs: the hidden units of all models as one wide layer, in PyTorch.

Farias et al. (2023), "Embarrassingly Parallel Independent Training of Multi-Layer Perceptrons with
Heterogeneous Architectures". One matrix product computes the hidden units of all models. Each unit
is multiplied by its weights of the second layer, and the products are added per model by a
scatter-add.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters


class ParallelMLPs:
    """K models with ΣH hidden units in total."""

    def __init__(self, data: Dataset, jobs: Sequence[Hyperparameters]) -> None:
        """Draw the weights."""
        self.X, self.y = torch.from_numpy(data.X_train), torch.from_numpy(data.y_train)
        self.batch_size, C = jobs[0].batch_size, len(data.classes)
        sizes = torch.tensor([job.hidden_size for job in jobs])
        units, std = int(sizes.sum()), jobs[0].weight_std
        self.owner = torch.repeat_interleave(torch.arange(len(jobs)), sizes)  # the model of a unit
        self.W1 = (torch.randn(self.X.shape[1], units) * std).requires_grad_()
        self.b1 = torch.zeros(units, requires_grad=True)
        self.W2 = (torch.randn(C, units) * std).requires_grad_()
        self.b2 = torch.zeros(C, len(jobs), requires_grad=True)
        self.model_rates = torch.tensor([job.learning_rate for job in jobs])
        self.unit_rates = self.model_rates[self.owner]
        self.l2_reg = torch.tensor([job.l2_reg for job in jobs])[self.owner]

    def scores(self, X: Tensor) -> Tensor:
        """Compute the scores (N, C, K)."""
        hidden = (X @ self.W1 + self.b1).relu()
        products = hidden[:, None, :] * self.W2
        zeros = torch.zeros(len(X), *self.b2.shape)
        return zeros.index_add(2, self.owner, products) + self.b2

    def step(self) -> None:
        """Take one step of SGD with every model."""
        rows = torch.randint(len(self.X), (self.batch_size,))
        scores, y = self.scores(self.X[rows]), self.y[rows]
        labels = y[:, None].expand(-1, scores.shape[2])
        loss = nn.functional.cross_entropy(scores, labels, reduction="sum") / len(y)
        grads = torch.autograd.grad(loss, (self.W1, self.b1, self.W2, self.b2))
        with torch.no_grad():
            for W, grad in zip((self.W1, self.W2), (grads[0], grads[2]), strict=True):
                W *= 1 - 2 * self.unit_rates * self.l2_reg
                W -= self.unit_rates * grad
            self.b1 -= self.unit_rates * grads[1]
            self.b2 -= self.model_rates * grads[3]
