"""Deterministic splits.

Their pseudo-random numbers are the raw output of PCG64, which NumPy guarantees never to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError


def deal(labels: NDArray[Any], parts: int) -> NDArray[np.int64]:
    """Assign rows to equal parts like cards: class after class, each in the order of the file.

    Each part gets its share of every class. No random generator is involved.

    Returns:
        The part of each row (N,), from 0 to parts − 1.
    """
    part = np.empty(len(labels), np.int64)
    part[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % parts
    return part


def stratified(
    labels: NDArray[np.int64], fractions: Sequence[float], seed: int, classes: Sequence[str]
) -> NDArray[np.int64]:
    """Assign rows to parts at random, so that each part has about the same share of every class.

    Args:
        labels: (N,) indices into `classes`.
        fractions: of the rows, for part 1, 2, …; part 0 gets the remaining rows.
        seed: of the order in which the rows of a class are assigned.
        classes: names, for messages.

    Returns:
        The part of each row (N,). Part p gets max(1, round(fraction × n)) of the n rows of a class.

    Raises:
        DataError: a class has too few rows for a row in each part.
    """
    part = np.zeros(len(labels), np.int64)
    order = _random_order(len(labels), seed)
    for label, name in enumerate(classes):
        rows = order[labels[order] == label]
        counts = [max(1, round(fraction * len(rows))) for fraction in fractions]
        if sum(counts) >= len(rows):
            raise DataError(
                f"class {name!r} has too few rows ({len(rows)}) for a row in each of the "
                f"{len(counts) + 1} splits: add rows, remove the class, or use smaller fractions"
            )
        start = 0
        for number, count in enumerate(counts, 1):
            part[rows[start : start + count]] = number
            start += count
    return part


def grouped(
    labels: NDArray[np.int64], groups: NDArray[Any], fractions: Sequence[float], seed: int
) -> NDArray[np.int64]:
    """Assign rows to parts so that all rows of a group are in the same part.

    Groups are assigned one after another, the largest first and equal ones in random order. Each
    goes to the part where the counts of classes come closest to their targets (the idea of
    scikit-learn's StratifiedGroupKFold).

    Args:
        labels: (N,) class indices.
        groups: (N,) one value per group.
        fractions: of the rows, for part 1, 2, …; part 0 gets the remaining rows.
        seed: of the order of equally large groups.

    Returns:
        The part of each row (N,).

    Raises:
        DataError: there are fewer groups than parts.
    """
    values, group = np.unique(groups, return_inverse=True)
    shares = np.array([1 - sum(fractions), *fractions])
    if len(values) < len(shares):
        raise DataError(
            f"there are {len(values)} groups for {len(shares)} splits: use a column with more "
            "groups, or split without data.group"
        )
    C = int(labels.max()) + 1
    counts = np.zeros((len(values), C))  # rows of each class in each group
    np.add.at(counts, (group, labels), 1)
    totals = np.maximum(counts.sum(axis=0), 1)
    missing = shares[:, None] * counts.sum(axis=0)  # rows that each part still lacks
    chosen = np.empty(len(values), np.int64)
    order = _random_order(len(values), seed)
    for g in order[np.argsort(-counts[order].sum(axis=1), kind="stable")]:
        before, after = (missing / totals) ** 2, ((missing - counts[g]) / totals) ** 2
        chosen[g] = int((after - before).sum(axis=1).argmin())
        missing[chosen[g]] -= counts[g]
    return chosen[group]


def _random_order(n: int, seed: int) -> NDArray[np.int64]:
    keys = np.random.PCG64(seed).random_raw(n)
    return np.argsort(keys, kind="stable").astype(np.int64)
