"""The two-layer network and its training in PyTorch, as in its tutorials.

The images are one tensor in memory, and a mini-batch is an index into it. This is faster than the
DataLoader of the tutorials, which collates image by image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters


def network(job: Hyperparameters, D: int, C: int) -> nn.Sequential:
    """Create two layers with the initial distribution of this project."""
    torch.manual_seed(job.seed)
    net = nn.Sequential(nn.Linear(D, job.hidden_size), nn.ReLU(), nn.Linear(job.hidden_size, C))
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=job.weight_std)
        else:
            nn.init.zeros_(parameter)
    return net


def optimizer_of(net: nn.Module, job: Hyperparameters) -> torch.optim.SGD:
    """Plain SGD; the gradient of λ ΣW² is 2λ W, and biases have no penalty."""
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in net.named_parameters() if name.endswith("bias")]
    groups = [{"params": weights, "weight_decay": 2 * job.l2_reg}, {"params": biases}]
    return torch.optim.SGD(groups, lr=job.learning_rate)


def train(job: Hyperparameters, data: Dataset, weights: Path) -> Iterator[dict[str, float]]:
    """Train one model. Before the last yield, write the weights of the best epoch to a file.

    Yields:
        The metrics of each epoch.
    """
    X, y = torch.from_numpy(data.X_train), torch.from_numpy(data.y_train)
    X_val, y_val = torch.from_numpy(data.X_val), torch.from_numpy(data.y_val)
    net = network(job, X.shape[1], len(data.classes))
    optimizer = optimizer_of(net, job)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, job.learning_rate_decay)
    best, best_state = -1.0, net.state_dict()
    for epoch in range(1, job.num_epochs + 1):
        train_loss, train_acc = train_epoch(net, optimizer, X, y, job.batch_size)
        scheduler.step()
        val_loss, val_acc = evaluate(net, X_val, y_val)
        if val_acc > best:
            best, best_state = val_acc, copy.deepcopy(net.state_dict())
        if epoch == job.num_epochs:
            torch.save(best_state, weights)
        yield {
            "train_loss": train_loss,
            "train_acc": train_acc,
            "val_loss": val_loss,
            "val_acc": val_acc,
        }


def train_epoch(
    net: nn.Module, optimizer: torch.optim.SGD, X: Tensor, y: Tensor, batch_size: int
) -> tuple[float, float]:
    """Train one epoch in a random order. Return the mean loss and accuracy before each step."""
    net.train()
    loss_sum, hits = 0.0, 0
    for rows in torch.randperm(len(X)).split(batch_size):
        scores = net(X[rows])
        loss = nn.functional.cross_entropy(scores, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(rows)
        hits += int((scores.argmax(1) == y[rows]).sum())
    return loss_sum / len(X), hits / len(X)


def evaluate(net: nn.Module, X: Tensor, y: Tensor) -> tuple[float, float]:
    """Compute loss and accuracy on all images."""
    net.eval()
    with torch.no_grad():
        scores = net(X)
        loss = nn.functional.cross_entropy(scores, y)
    return loss.item(), float((scores.argmax(1) == y).float().mean())
