"""The two-layer network: the equations of DESIGN.md ("The model") over a leading axis of K models.

Shapes: X is (N, D) and y is (N,), shared by all models; H is (K, N, H), scores and probs are
(K, N, C). Functions take buffers (`out=…`) so that training allocates nothing in its loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating]
Labels = NDArray[np.int64]


class Params(NamedTuple):
    """The weights of K models, or arrays of the same shapes that hold their gradients."""

    W1: Array  # (K, D, H)
    b1: Array  # (K, 1, H)
    W2: Array  # (K, H, C)
    b2: Array  # (K, 1, C)


def init_params(D: int, H: int, C: int, weight_std: float, seed: int, dtype: DTypeLike) -> Params:
    """Draw one model's weights (K = 1) from N(0, weight_std²); biases are 0.

    The draw is made in float64, so that both dtypes start from the same weights.
    """
    rng = np.random.default_rng(seed)
    W1 = rng.normal(0, weight_std, (1, D, H)).astype(dtype)
    W2 = rng.normal(0, weight_std, (1, H, C)).astype(dtype)
    return Params(W1, np.zeros((1, 1, H), dtype), W2, np.zeros((1, 1, C), dtype))


def empty_params(K: int, D: int, H: int, C: int, dtype: DTypeLike) -> Params:
    """Room for K models."""
    shapes = ((K, D, H), (K, 1, H), (K, H, C), (K, 1, C))
    return Params(*(np.empty(shape, dtype) for shape in shapes))


def forward(
    params: Params,
    X: Array,
    hidden: Array | None = None,
    scores: Array | None = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """H = max(0, X W1 + b1) ∘ mask and S = H W2 + b2; without a mask (K, N, H) it is all ones.

    Returns:
        H (K, N, H) and S (K, N, C), in the buffers `hidden` and `scores` if these are given.
    """
    H = np.matmul(X, params.W1, out=hidden)
    # The same bits as max(0, X W1 + b1), faster: NumPy's maximum with a scalar is not vectorised.
    np.maximum(H, -params.b1, out=H)
    H += params.b1
    if mask is not None:
        H *= mask
    S = np.matmul(H, params.W2, out=scores)
    S += params.b2
    return H, S


def cross_entropy(S: Array, y: Labels) -> tuple[Array, NDArray[np.bool_], Array]:
    """The data loss −log softmax(S)[y] of each image, and its gradient with respect to S.

    Scores are shifted by their row maximum before exp, so no finite score overflows.

    Args:
        S: scores (K, N, C), overwritten.
        y: classes (N,).

    Returns:
        The losses (K, N); whether argmax_j S_j is y (K, N); and dS = (softmax(S) − onehot(y)) / N
        (K, N, C), which takes S's place.
    """
    images = np.arange(len(y))
    S -= S.max(axis=2, keepdims=True)
    correct = S[:, images, y]
    best = S == 0
    hits = correct == 0
    if best.sum(axis=2, dtype=np.uint16).max() > 1:  # equal scores; argmax is exact, but slower
        hits = best.argmax(axis=2) == y
    np.exp(S, out=S)
    total = S.sum(axis=2, keepdims=True)
    losses = np.log(total[..., 0]) - correct
    S /= total
    S[:, images, y] -= 1
    S /= len(y)
    return losses, hits, S


def penalty(params: Params, l2_reg: Array) -> Array:
    """λ ΣW1² + λ ΣW2² of each model; no ½, and biases are not regularised.

    Args:
        params: the weights.
        l2_reg: λ (K, 1, 1).

    Returns:
        (K,)
    """
    return np.asarray(l2_reg[:, 0, 0] * (sum_of_squares(params.W1) + sum_of_squares(params.W2)))


def sum_of_squares(W: Array) -> Array:
    """ΣW² of each model, (K,)."""
    flat = W.reshape(len(W), -1)
    return np.asarray(np.vecdot(flat, flat))


def dropout_mask(noise: Array, dropout: Array) -> Array:
    """0 for a unit that is off, with probability p, and 1 / (1 − p) for one that is on.

    Inverted dropout (Srivastava et al., 2014): the mean of H is what it is without dropout.

    Args:
        noise: uniform in [0, 1), (N, H), shared by all models.
        dropout: p (K, 1, 1).

    Returns:
        (K, N, H)
    """
    return (noise >= dropout) / (1 - dropout)


def backward(
    params: Params, H: Array, dS: Array, out: Array | None = None, mask: Array | None = None
) -> Array:
    """dH0 = (dS W2ᵀ) ∘ mask ∘ 1(H0 > 0), (K, N, H); the ReLU gradient at 0 is 0.

    H > 0 exactly where H0 > 0 and the mask is not 0, so H0 need not be kept.
    """
    dH0 = np.matmul(dS, params.W2.swapaxes(1, 2), out=out)
    dH0 *= H > 0
    if mask is not None:
        dH0 *= mask
    return dH0


def loss_and_gradients(
    params: Params, X: Array, y: Labels, l2_reg: Array, mask: Array | None = None
) -> tuple[Array, Params, Array]:
    """The objective L of each model and its gradients, written out in full.

    Returns:
        L (K,), the gradients with respect to the weights, and with respect to X (K, N, D).
    """
    H, S = forward(params, X, mask=mask)
    losses, _, dS = cross_entropy(S, y)
    dH0 = backward(params, H, dS, mask=mask)
    gradients = Params(
        W1=X.T @ dH0 + 2 * l2_reg * params.W1,
        b1=dH0.sum(axis=1, keepdims=True),
        W2=H.swapaxes(1, 2) @ dS + 2 * l2_reg * params.W2,
        b2=dS.sum(axis=1, keepdims=True),
    )
    return losses.mean(axis=1) + penalty(params, l2_reg), gradients, dH0 @ params.W1.swapaxes(1, 2)


def predict(params: Params, X: Array) -> Labels:
    """argmax_j S_j of each image, (K, N); the first class where scores are equal."""
    return np.asarray(forward(params, X)[1].argmax(axis=2))
