"""Many two-layer networks in JAX: the step of one model, mapped over a model axis and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters

Params = dict[str, Array]


def step_of(data: Dataset, jobs: Sequence[Hyperparameters]) -> Callable[[], None]:
    """Return a function that takes one step with all jobs, on one mini-batch."""
    rng = np.random.default_rng(0)
    groups = [list(group) for _, group in groupby(jobs, lambda job: job.hidden_size)]
    D, C = data.X_train.shape[1], len(data.classes)
    stacks = [_init(group, D, C) for group in groups]
    rates = [jnp.array([job.learning_rate for job in group]) for group in groups]
    l2_regs = [jnp.array([job.l2_reg for job in group]) for group in groups]

    def step() -> None:
        rows = rng.integers(len(data.X_train), size=jobs[0].batch_size)
        X, y = data.X_train[rows], data.y_train[rows]
        for i, params in enumerate(stacks):
            stacks[i] = sgd_step(params, X, y, rates[i], l2_regs[i])
        jax.block_until_ready(stacks)

    return step


def _init(jobs: Sequence[Hyperparameters], D: int, C: int) -> Params:
    """Draw the weights of models of one hidden size."""
    K, H = len(jobs), jobs[0].hidden_size
    first, second = jax.random.split(jax.random.key(jobs[0].seed))
    return {
        "W1": jax.random.normal(first, (K, D, H)) * jobs[0].weight_std,
        "b1": jnp.zeros((K, H)),
        "W2": jax.random.normal(second, (K, H, C)) * jobs[0].weight_std,
        "b2": jnp.zeros((K, C)),
    }


def loss(params: Params, X: Array, y: Array, l2_reg: Array) -> Array:
    """The objective of one model."""
    hidden = jax.nn.relu(X @ params["W1"] + params["b1"])
    scores = hidden @ params["W2"] + params["b2"]
    data_loss = -jax.nn.log_softmax(scores)[jnp.arange(len(y)), y].mean()
    return data_loss + l2_reg * ((params["W1"] ** 2).sum() + (params["W2"] ** 2).sum())


def _one_step(params: Params, X: Array, y: Array, rate: Array, l2_reg: Array) -> Params:
    grads = jax.grad(loss)(params, X, y, l2_reg)
    return {name: params[name] - rate * grads[name] for name in params}


# The parameters are donated, so that XLA updates them in place.
sgd_step = jax.jit(jax.vmap(_one_step, in_axes=(0, None, None, 0, 0)), donate_argnums=0)
