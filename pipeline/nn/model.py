"""The two-layer network: the equations of docs/model.md over a leading axis of K models.

Shapes: X is (N, D) and y is (N,), shared by all models. H and dH0 are (K, N, H). The scores S and
their gradient dS are (K, N, C). Functions take optional output buffers, so that the training loop
allocates no large array.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.floating]
Labels = NDArray[np.int64]


class Params(NamedTuple):
    """The parameters of K models, or arrays of the same shapes such as their gradients."""

    W1: Array  # (K, D, H)
    b1: Array  # (K, 1, H)
    W2: Array  # (K, H, C)
    b2: Array  # (K, 1, C)


class Weights(NamedTuple):
    """The weights of hidden units: the parameters without b2, which belongs to no hidden unit."""

    W1: Array  # (K, D, H)
    b1: Array  # (K, 1, H)
    W2: Array  # (K, H, C)


class Mixture(NamedTuple):
    """The labels of a mini-batch that mixup has mixed: ℓ onehot(y) + (1 − ℓ) onehot(partners)."""

    partners: Labels  # (N,) the classes of the images that were added
    share: float  # ℓ, at least 0.5


def init_params(
    D: int, H: int, C: int, weight_std: float | Literal["he"], seed: int, dtype: DTypeLike
) -> Params:
    """Draw the weights of one model (K = 1) from N(0, weight_std²); the biases are 0.

    `weight_std="he"` stands for √(2 / D) in the first layer and √(2 / H) in the second (He et al.,
    2015). The numbers are drawn in float64, so that both dtypes start from the same weights.
    """
    rng = np.random.default_rng(seed)
    first, second = (math.sqrt(2 / n) if weight_std == "he" else weight_std for n in (D, H))
    W1 = rng.normal(0, first, (1, D, H)).astype(dtype)
    W2 = rng.normal(0, second, (1, H, C)).astype(dtype)
    return Params(W1, np.zeros((1, 1, H), dtype), W2, np.zeros((1, 1, C), dtype))


def hidden_units(W1: Array, b1: Array, X: Array, out: Array | None = None) -> Array:
    """Compute max(0, X W1 + b1), (K, N, H)."""
    H = np.matmul(X, W1, out=out)
    # max(X W1, −b1) + b1 has the same bits as max(0, X W1 + b1) and is faster: NumPy's maximum
    # of an array and a scalar does not use vector instructions.
    np.maximum(H, -b1, out=H)
    H += b1
    return H


def forward(params: Params, X: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """Compute H = max(0, X W1 + b1) ∘ mask and S = H W2 + b2.

    Args:
        params: the parameters of K models.
        X: images (N, D).
        mask: the dropout mask (K, N, H); None means no dropout.

    Returns:
        H (K, N, H) and S (K, N, C).
    """
    H = hidden_units(params.W1, params.b1, X)
    if mask is not None:
        H *= mask
    S = np.matmul(H, params.W2)
    S += params.b2
    return H, S


def cross_entropy(
    S: Array, y: Labels, smoothing: Array | None = None, mixture: Mixture | None = None
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Compute the data loss −log softmax(S)[y] of each image, and its gradient dS.

    The scores are shifted by their row maximum before exp, so that no finite score overflows.
    Label smoothing (Szegedy et al., 2016) replaces onehot(y) by q = (1 − ε) onehot(y) + ε / C, and
    the loss by −Σ_j q_j log softmax(S)_j. Mixup (Zhang et al., 2018) replaces onehot(y) by
    ℓ onehot(y) + (1 − ℓ) onehot(partners) in both.

    Args:
        S: scores (K, N, C); overwritten. The function is fastest if the images are adjacent in
            memory, that is if S is a view of a contiguous array (K, C, N).
        y: classes (N,).
        smoothing: ε (K, 1, 1); None means 0.
        mixture: ℓ and the partners; None means ℓ = 1.

    Returns:
        The losses (K, N); whether argmax_j S_j equals y (K, N); and
        dS = (softmax(S) − onehot(y)) / N (K, N, C), in the memory of S.
    """
    K, N, C = S.shape
    S = S.swapaxes(1, 2)  # (K, C, N)
    S -= S.max(axis=1, keepdims=True)
    flat, images = S.reshape(K, C * N), np.arange(N)
    true_scores = np.take(flat, y * N + images, axis=1)
    label_scores = true_scores  # Σ_j S_j onehot(y)_j
    if mixture is not None:
        others = flat[:, mixture.partners * N + images]
        label_scores = mixture.share * true_scores + (1 - mixture.share) * others
    is_max = S == 0
    mean_scores = S.mean(axis=1) if smoothing is not None else None
    exp = np.exp(S, out=S)
    total = exp.sum(axis=1, keepdims=True)
    hits = true_scores == 0
    if np.count_nonzero(is_max) != K * N or np.isnan(total).any():
        hits = is_max.argmax(axis=1) == y  # of equal scores the first one counts
    probs = np.divide(exp, total, out=S)
    dS = probs
    onehot = np.equal.outer(np.arange(C), y)
    if mixture is not None:
        partners = np.equal.outer(np.arange(C), mixture.partners)
        onehot = (mixture.share * onehot + (1 - mixture.share) * partners).astype(S.dtype)
    if smoothing is None or mean_scores is None:
        losses = np.log(total[:, 0]) - label_scores
        dS -= onehot
    else:
        ε = smoothing[:, 0]  # (K, 1)
        losses = np.log(total[:, 0]) - (1 - ε) * label_scores - ε * mean_scores
        dS -= (1 - smoothing) * onehot + smoothing / C
    dS /= N
    return losses, hits, dS.swapaxes(1, 2)


def l2_penalty(params: Params, l2_reg: Array) -> Array:
    """Compute λ ΣW1² + λ ΣW2² of each model. There is no ½, and biases are not regularised.

    Args:
        params: the parameters of K models.
        l2_reg: λ (K, 1, 1).

    Returns:
        The penalties (K,).
    """
    return np.asarray(l2_reg[:, 0, 0] * (sum_of_squares(params.W1) + sum_of_squares(params.W2)))


def sum_of_squares(W: Array) -> Array:
    """Compute ΣW² of each model, (K,)."""
    flat = W.reshape(len(W), -1)
    return np.asarray(np.vecdot(flat, flat))


def dropout_mask(noise: Array, dropout: Array) -> Array:
    """Compute the mask of inverted dropout: 0 with probability p, otherwise 1 / (1 − p).

    The factor keeps the expected value of H (Srivastava et al., 2014).

    Args:
        noise: uniform numbers in [0, 1), (N, H), shared by all models.
        dropout: p (K, 1, 1).

    Returns:
        The masks (K, N, H).
    """
    return (noise >= dropout) / (1 - dropout)


def backward(W2: Array, H: Array, dS: Array, out: Array | None = None) -> Array:
    """Compute dH0 = (dS W2ᵀ) ∘ 1(H0 > 0), (K, N, H). The ReLU gradient at 0 is 0.

    With dropout, H > 0 holds exactly where H0 > 0 and the mask is not 0. The caller multiplies the
    result by the mask.
    """
    dH0 = np.matmul(dS, W2.swapaxes(1, 2), out=out)
    dH0 *= H > 0
    return dH0


def sum_over_images(array: Array) -> Array:
    """Sum (K, N, M) over N as a matrix product, which BLAS computes for each model separately."""
    ones = np.ones((1, array.shape[1]), array.dtype)
    return np.asarray(ones @ array)


def loss_and_grads(
    params: Params,
    X: Array,
    y: Labels,
    l2_reg: Array,
    mask: Array | None = None,
    smoothing: Array | None = None,
    mixture: Mixture | None = None,
) -> tuple[Array, Params, Array]:
    """Compute the objective L of each model and its gradients, as docs/model.md states them.

    Args:
        params: the parameters of K models.
        X: images (N, D).
        y: classes (N,).
        l2_reg: λ (K, 1, 1).
        mask: the dropout mask (K, N, H); None means no dropout.
        smoothing: ε of label smoothing (K, 1, 1); None means 0.
        mixture: the labels of mixup; None means onehot(y).

    Returns:
        L (K,), the gradients with respect to the parameters, and with respect to X (K, N, D).
    """
    H, S = forward(params, X, mask=mask)
    losses, _, dS = cross_entropy(S, y, smoothing, mixture)
    dH0 = backward(params.W2, H, dS)
    if mask is not None:
        dH0 *= mask
    grads = Params(
        W1=X.T @ dH0 + 2 * l2_reg * params.W1,
        b1=dH0.sum(axis=1, keepdims=True),
        W2=H.swapaxes(1, 2) @ dS + 2 * l2_reg * params.W2,
        b2=dS.sum(axis=1, keepdims=True),
    )
    dX = dH0 @ params.W1.swapaxes(1, 2)
    return losses.mean(axis=1) + l2_penalty(params, l2_reg), grads, dX


def balanced_accuracy(hits: NDArray[np.bool_], y: Labels) -> float:
    """Compute the mean over the classes of the share of their images that were hits.

    Args:
        hits: (N,) whether each image was predicted correctly.
        y: (N,) the classes. A class without an image does not count.
    """
    counts = np.bincount(y)
    found = np.bincount(y[hits], minlength=len(counts))
    return float((found[counts > 0] / counts[counts > 0]).mean())


def predict(params: Params, X: Array) -> Labels:
    """Compute argmax_j S_j of each image, (K, N). Of equal scores the first class wins."""
    _, S = forward(params, X)
    return np.asarray(S.argmax(axis=2))
