"""ZCA whitening: a linear map after which the features of the training split are uncorrelated.

Bell and Sejnowski (1997), with the regularisation of Coates, Ng and Lee (2011). Of all maps that
whiten the features, ZCA's changes them least, so that whitened images can still be mirrored and
shifted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.blas import one_thread
from pipeline.errors import DataError

COPIES = 4  # D×D matrices in memory at once


def describe(epsilon: float) -> str:
    """The method in words. The text enters the digests: another one would invalidate results."""
    return f"whitened by ZCA, with {epsilon!r} of the mean variance added to each variance"


def fit_whitening(
    pieces: Iterator[NDArray[np.floating]], D: int, N: int, epsilon: float
) -> NDArray[np.float64]:
    """Compute Z (D, D), with which X Z has about the identity as its covariance matrix.

    With the covariance matrix U diag(v) Uᵀ of the features, Z = U diag(1 / √(v + ε v̄)) Uᵀ. The
    result is symmetric. BLAS uses one thread, so that Z has the same bits with any number of cores.

    Args:
        pieces: the training rows (n, D), whose mean is 0, in parts.
        D: the number of features.
        N: the number of rows.
        epsilon: ε > 0. The larger it is, the less are directions of small variance amplified.

    Raises:
        DataError: the matrices are larger than the memory.
    """
    need, total = COPIES * 8 * D * D, psutil.virtual_memory().total
    if need > total:
        raise DataError(
            f"data.whiten needs {need / 1e9:.3g} GB for {D} features, and this machine has "
            f"{total / 1e9:.3g} GB: set data.whiten=null, or use fewer features"
        )
    covariance = np.zeros((D, D))
    with one_thread(), np.errstate(all="ignore"):
        for piece in pieces:
            covariance += piece.T @ piece
        variances, U = np.linalg.eigh(covariance / N)
        variances = np.maximum(variances, 0)  # rounding may leave a small negative variance
        mean = variances.mean() or 1.0  # all features are constant: each scale is the same
        scales: NDArray[np.float64] = 1 / np.sqrt(variances + epsilon * mean)
        return np.asarray((U * scales) @ U.T)
