"""Many two-layer networks of one hidden size in PyTorch: by batched products, or by vmap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.peers.pytorch import network
from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters


def steps_of(
    stack: type[BmmStack] | type[VmapStack], data: Dataset, jobs: Sequence[Hyperparameters]
) -> Callable[[], None]:
    """Return a function that takes one step with all jobs, on one mini-batch."""
    X, y = torch.from_numpy(data.X_train), torch.from_numpy(data.y_train)
    groups = groupby(jobs, lambda job: job.hidden_size)
    stacks = [stack(list(group), X.shape[1], len(data.classes)) for _, group in groups]

    def step() -> None:
        rows = torch.randint(len(X), (jobs[0].batch_size,))
        X_batch, y_batch = X[rows], y[rows]
        for each in stacks:
            each.step(X_batch, y_batch)

    return step


class BmmStack:
    """Weights with a leading model axis, batched products, autograd, and manual SGD."""

    def __init__(self, jobs: Sequence[Hyperparameters], D: int, C: int) -> None:
        """Draw the weights."""
        K, H = len(jobs), jobs[0].hidden_size
        self.W1 = (torch.randn(K, D, H) * jobs[0].weight_std).requires_grad_()
        self.b1 = torch.zeros(K, 1, H, requires_grad=True)
        self.W2 = (torch.randn(K, H, C) * jobs[0].weight_std).requires_grad_()
        self.b2 = torch.zeros(K, 1, C, requires_grad=True)
        self.learning_rate, self.l2_reg = _columns(jobs)

    def step(self, X: Tensor, y: Tensor) -> None:
        """Take one step of SGD with all models."""
        K = len(self.W1)
        params = (self.W1, self.b1, self.W2, self.b2)
        hidden = torch.baddbmm(self.b1, X.expand(K, -1, -1), self.W1).relu()
        scores = torch.baddbmm(self.b2, hidden, self.W2)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), y.repeat(K), reduction="sum")
        grads = torch.autograd.grad(loss / len(y), params)
        with torch.no_grad():
            for parameter, gradient in zip(params, grads, strict=True):
                if parameter is self.W1 or parameter is self.W2:
                    parameter *= 1 - 2 * self.learning_rate * self.l2_reg
                parameter -= self.learning_rate * gradient


class VmapStack:
    """The method of torch.func's tutorial: the gradient of a model, mapped over stacked weights."""

    def __init__(self, jobs: Sequence[Hyperparameters], D: int, C: int) -> None:
        """Stack the weights of ordinary modules."""
        nets = [network(job, D, C) for job in jobs]
        base = copy.deepcopy(nets[0]).to("meta")
        self.params, _ = stack_module_state(nets)

        def loss(params: dict[str, Tensor], X: Tensor, y: Tensor) -> Tensor:
            return nn.functional.cross_entropy(functional_call(base, params, (X,)), y)

        self.gradients = vmap(grad(loss), in_dims=(0, None, None))
        self.learning_rate, self.l2_reg = _columns(jobs)

    def step(self, X: Tensor, y: Tensor) -> None:
        """Take one step of SGD with all models."""
        with torch.no_grad():
            grads = self.gradients(self.params, X, y)
            for name, parameter in self.params.items():
                if name.endswith("weight"):
                    parameter *= 1 - 2 * self.learning_rate * self.l2_reg
                    parameter -= self.learning_rate * grads[name]
                else:
                    parameter -= self.learning_rate[:, 0] * grads[name]


def _columns(jobs: Sequence[Hyperparameters]) -> tuple[Tensor, Tensor]:
    """The learning rates and λ, (K, 1, 1)."""
    rates = torch.tensor([job.learning_rate for job in jobs])
    return rates[:, None, None], torch.tensor([job.l2_reg for job in jobs])[:, None, None]
