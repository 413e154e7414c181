"""Which features the chosen model uses: the size of its weights, and permutation importance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.data.dataset import Dataset, fold_whitening
from pipeline.nn.model import Array, Labels, Params, balanced_accuracy
from pipeline.selection import SelectBy

SHOWN = 20  # features and columns in the report
PERMUTED = 100  # columns at most, the ones with the largest weights
REPEATS = 5  # permutations of each column
HIDDEN_BYTES = 1 << 26  # of X W1 + b1: the first validation rows whose values fit are used
CHUNK = 1000  # rows processed at once


@dataclass(frozen=True)
class Weight:
    """The size of the first-layer weights of a feature."""

    feature: str
    size: float  # see `weight_sizes`


@dataclass(frozen=True)
class Permutation:
    """How much accuracy the model loses if the values of a column are shuffled."""

    column: str
    loss: float  # the mean over `REPEATS` permutations
    std: float  # over the permutations


@dataclass(frozen=True)
class Features:
    """The most influential features of a model, in descending order."""

    weights: Sequence[Weight]
    permutations: Sequence[Permutation]
    num_features: int
    num_columns: int  # of the original table; a text column has several features
    num_permuted: int  # columns that were permuted


def measure_features(params: Params, data: Dataset, select_by: SelectBy) -> Features:
    """Measure the influence of the features on a model (K = 1).

    Args:
        params: its weights.
        data: the data on which it was trained.
        select_by: `balanced_acc` measures the loss of balanced accuracy, others that of accuracy.
    """
    params, data = _without_whitening(params, data)
    sizes = weight_sizes(params, data)
    names = data.features or tuple(f"feature {d}" for d in range(len(sizes)))
    columns = _columns(data, names)
    order = sorted(columns, key=lambda name: -sizes[columns[name]].max())  # equal sizes keep order
    permuted = {name: columns[name] for name in order[:PERMUTED]}
    permutations = _permutations(params, data, permuted, select_by)
    largest = np.argsort(-sizes, kind="stable")[:SHOWN]
    return Features(
        weights=[Weight(names[d], float(sizes[d])) for d in largest],
        permutations=sorted(permutations, key=lambda each: -each.loss)[:SHOWN],
        num_features=len(sizes),
        num_columns=len(columns),
        num_permuted=len(permuted),
    )


def _without_whitening(params: Params, data: Dataset) -> tuple[Params, Dataset]:
    """The same predictions from scaled features, each of which has a meaning of its own."""
    Z = data.scaler.whitening
    if Z is None:
        return params, data
    inverse = np.linalg.inv(Z).astype(data.X_val.dtype)
    scaler = replace(data.scaler, whitening=None)
    scaled = {name: getattr(data, name) @ inverse for name in ("X_train", "X_val")}
    W1 = fold_whitening(params.W1, data.scaler)
    return params._replace(W1=W1), replace(data, scaler=scaler, **scaled)


def weight_sizes(params: Params, data: Dataset) -> NDArray[np.float64]:
    """Compute σ_d · (1/H) Σ_h |W1[d, h]| of each feature d, (D,).

    σ_d is the standard deviation of the feature over the training rows as the network sees them. It
    makes features of different units comparable; with data.scaling=standard it is 1.
    """
    X = data.X_train
    mean = X.mean(axis=0, dtype=np.float64)
    squares = np.zeros(X.shape[1])
    for rows in _chunks(len(X)):
        squares += ((X[rows] - mean) ** 2).sum(axis=0)
    sizes: NDArray[np.float64] = np.abs(params.W1[0]).mean(axis=1, dtype=np.float64)
    return np.sqrt(squares / len(X)) * sizes


def _columns(data: Dataset, names: Sequence[str]) -> dict[str, list[int]]:
    """The features of each original column. A text column has one feature per category."""
    sources = data.encoder.sources if data.encoder is not None else names
    columns: dict[str, list[int]] = {}
    for d, source in enumerate(sources):
        columns.setdefault(source, []).append(d)
    return columns


def _permutations(
    params: Params, data: Dataset, columns: dict[str, list[int]], select_by: SelectBy
) -> Iterator[Permutation]:
    """Permutation importance (Breiman, 2001; Fisher, Rudin and Dominici, 2019).

    The features of a column are shuffled together over the validation rows. Only their part of
    X W1 is computed again.
    """
    W1, b1, W2, b2 = (array[0] for array in params)
    count = max(CHUNK, HIDDEN_BYTES // b1.nbytes)
    X, y = data.X_val[:count], data.y_val[:count]
    H0 = np.concatenate([X[rows] @ W1 + b1 for rows in _chunks(len(y))])
    score = _score(y, select_by)
    before = score(_predict(H0, W2, b2))
    random = np.random.default_rng(0)
    orders = [random.permutation(len(y)) for _ in range(REPEATS)]  # the same for each column
    for name, features in columns.items():
        values, weights = np.ascontiguousarray(X[:, features]), W1[features]
        losses = []
        for order in orders:
            shuffled = [
                _predict(H0[rows] + (values[order[rows]] - values[rows]) @ weights, W2, b2)
                for rows in _chunks(len(y))
            ]
            losses.append(before - score(np.concatenate(shuffled)))
        yield Permutation(name, float(np.mean(losses)), float(np.std(losses)))


def _predict(H0: Array, W2: Array, b2: Array) -> Labels:
    return np.asarray((np.maximum(H0, 0) @ W2 + b2).argmax(axis=1))


def _score(y: Labels, select_by: SelectBy) -> Callable[[Labels], float]:
    if select_by == "balanced_acc":
        return lambda guess: balanced_accuracy(guess == y, y)
    return lambda guess: float((guess == y).mean())


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK):
        yield slice(start, start + CHUNK)
