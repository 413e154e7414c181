"""One SGD step of many models, by each contender of `benchmarks.step`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.peers.naive import TwoLayerNet
from pipeline.data.dataset import Dataset, Scaler
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.train import steps

BATCH = 200
CLASSES = 10
Step = Callable[[], Any]  # takes one step with every model


def grid(sizes: Sequence[int]) -> list[Hyperparameters]:
    """16 models of each hidden size: four values of l2_reg and four learning rates."""
    return [
        Hyperparameters(
            hidden_size=H,
            l2_reg=l2_reg,
            learning_rate=learning_rate,
            learning_rate_decay=1.0,
            batch_size=BATCH,
            num_epochs=1,
            weight_std=0.02,
            seed=0,
            dtype="float32",
            momentum=0.0,
            dropout=0.0,
            flip=False,
        )
        for H, l2_reg, learning_rate in itertools.product(
            sizes, (0.0, 1e-5, 1e-4, 1e-3), (0.003, 0.01, 0.03, 0.1)
        )
    ]


def random_data(D: int, images: int) -> Dataset:
    """Create images of D random values around 0, in float32."""
    rng = np.random.default_rng(0)
    X = rng.random((images, D), np.float32) - np.float32(0.5)
    y = rng.integers(CLASSES, size=images)
    classes = tuple(map(str, range(CLASSES)))
    scaler = Scaler("none", np.zeros(D), np.ones(D))
    return Dataset("random", classes, (D, 1, 1), "", X, y, X[:BATCH], y[:BATCH], scaler)


def population(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """This project's trainer, including the gather of the mini-batch."""
    return partial(next, steps(jobs, data))


def floor(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """The two largest matrix products of each model, X W1 and Xᵀ dH0, and nothing else."""
    X, D = data.X_train[:BATCH].copy(), data.X_train.shape[1]
    rng = np.random.default_rng(0)
    weights = [rng.random((D, job.hidden_size), np.float32) for job in jobs]
    sizes = {job.hidden_size for job in jobs}
    hidden = {H: np.empty((BATCH, H), np.float32) for H in sizes}
    gradient = {H: np.empty((D, H), np.float32) for H in sizes}

    def step() -> None:
        for W1 in weights:
            H = W1.shape[1]
            np.matmul(X, W1, out=hidden[H])
            np.matmul(X.T, hidden[H], out=gradient[H])

    return step


def naive(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """A plain NumPy loop over the models, each with its own mini-batch."""
    models = [TwoLayerNet(job, data.X_train.shape[1], CLASSES) for job in jobs]
    rng = np.random.default_rng(0)

    def step() -> None:
        for model in models:
            rows = rng.choice(len(data.X_train), BATCH)
            model.step(data.X_train[rows], data.y_train[rows])

    return step


def pytorch(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """nn.Sequential, CrossEntropyLoss and optim.SGD: one model after another."""
    import torch

    from benchmarks.peers.pytorch import network, optimizer_of

    X, y = torch.from_numpy(data.X_train), torch.from_numpy(data.y_train)
    nets = [network(job, X.shape[1], CLASSES) for job in jobs]
    optimizers = [optimizer_of(net, job) for net, job in zip(nets, jobs, strict=True)]
    loss = torch.nn.CrossEntropyLoss()

    def step() -> None:
        for net, optimizer in zip(nets, optimizers, strict=True):
            rows = torch.randint(len(X), (BATCH,))
            optimizer.zero_grad()
            loss(net(X[rows]), y[rows]).backward()
            optimizer.step()

    return step


def pytorch_bmm(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """PyTorch with a model axis: batched products over models of one hidden size."""
    from benchmarks.peers.pytorch_batched import BmmStack, steps_of

    return steps_of(BmmStack, data, jobs)


def pytorch_vmap(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """PyTorch's method for ensembles: stack_module_state, functional_call and vmap."""
    from benchmarks.peers.pytorch_batched import VmapStack, steps_of

    return steps_of(VmapStack, data, jobs)


def parallel_mlps(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """ParallelMLPs (Farias et al., 2023): the hidden units of all models form one wide layer."""
    from benchmarks.peers.parallel_mlps import ParallelMLPs

    return ParallelMLPs(data, jobs).step


def jax_vmap(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """JAX: the compiled gradient of one model, mapped over models of one hidden size."""
    from benchmarks.peers.jax_vmap import step_of

    return step_of(data, jobs)


def scikit_learn(data: Dataset, jobs: Sequence[Hyperparameters]) -> Step:
    """One call of MLPClassifier.partial_fit per model: a single step on 200 images."""
    from benchmarks.peers.sklearn_grid import classifier

    X, y = data.X_train, data.y_train
    models = [
        classifier(job).partial_fit(X[:BATCH], y[:BATCH], classes=range(CLASSES)) for job in jobs
    ]
    starts = itertools.cycle(range(0, len(X) - BATCH + 1, BATCH))

    def step() -> None:
        for model in models:
            start = next(starts)
            model.partial_fit(X[start : start + BATCH], y[start : start + BATCH])

    return step


MAKERS = {
    maker.__name__: maker
    for maker in (
        population,
        floor,
        naive,
        pytorch,
        pytorch_bmm,
        pytorch_vmap,
        parallel_mlps,
        jax_vmap,
        scikit_learn,
    )
}


def set_threads(maker: str, threads: int) -> None:
    """Set the number of threads of a contender's own library, before it is imported."""
    if maker in ("pytorch", "pytorch_bmm", "pytorch_vmap", "parallel_mlps"):
        import torch

        torch.set_num_threads(threads)
    elif maker == "jax_vmap":  # XLA has as many threads as the process may use cores
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
