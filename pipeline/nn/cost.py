"""The cost of a two-layer network, in multiply-adds of its matrix products.

One image of D features, H hidden units and C classes costs:

    forward    X W1: D H         H W2: H C
    backward   Xᵀ dH0: D H       Hᵀ dS: H C       dS W2ᵀ: H C

The gradient of the input, dH0 W1ᵀ, is not needed for training. A multiply-add is two FLOPs.
The functions accept integers and pandas or NumPy columns of integers.
"""

from __future__ import annotations

from typing import Any

from pipeline.nn.population import tile_columns
from pipeline.nn.tile import rows_per_block


def prediction_cost(hidden_size: Any, D: int, C: int) -> Any:
    """Multiply-adds to predict one image."""
    return hidden_size * (D + C)


def num_parameters(hidden_size: int, D: int, C: int) -> int:
    """The number of weights and biases of a model."""
    return (D + 1) * hidden_size + (hidden_size + 1) * C


def training_cost(
    hidden_size: Any, num_epochs: Any, num_train: Any, num_val: Any, D: int, C: int
) -> Any:
    """Multiply-adds to train a model and to evaluate it on the validation split every epoch."""
    one_image = hidden_size * (2 * D + 3 * C)
    return num_epochs * (num_train * one_image + num_val * prediction_cost(hidden_size, D, C))


def serial_share(hidden_size: int, D: int, momentum: float, threads: int) -> float:
    """The share of the time of a model's step that remains with any number of free threads.

    The forward pass of a tile is the work of one thread. The backward pass takes about as long; it
    can be divided into blocks, unless the model has momentum.
    """
    tiles = tile_columns(hidden_size)
    width = -(-hidden_size // len(tiles))
    blocks = 1 if momentum else -(-D // rows_per_block(width))
    return width / hidden_size * (1 + 1 / min(threads, blocks)) / 2
