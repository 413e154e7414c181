"""Greedy ensemble selection from a library of models, evaluated out of bag.

Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection from libraries of models". A
bag is a bootstrap sample of the validation examples. In each bag, models are added one by one, with
replacement, so that the mean of their probabilities becomes as good as possible on the examples of
the bag. The ensemble is the mean over the bags.

About 37 % of the examples are outside of a bag (Breiman, 1996, "Out-of-bag estimation"). For each
example, the ensembles of the bags without it predict its class. Their accuracy is free of the
selection of the members, while the accuracy on the examples of the bags is not. The best single
model is chosen anew in each bag, and evaluated in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.selection import SelectBy

BAGS = 25
PICKS = 12  # models that are added in a bag, at most
CHUNK = 1 << 21  # probabilities that are added at once

Probabilities = NDArray[np.float32]  # (C, M, N): classes, models, examples


class Selection(NamedTuple):
    """An ensemble, and its predictions of the examples outside of the bags."""

    shares: NDArray[np.float64]  # (M,) of the models in the mean; their sum is 1
    hits: NDArray[np.bool_]  # (N,) whether the bags without an example predict its class
    single_hits: NDArray[np.float64]  # (N,) the share of these bags whose best model does
    is_covered: NDArray[np.bool_]  # (N,) whether there is a bag without the example


class Library(NamedTuple):
    """The probabilities of the models, and the labels."""

    probs: Probabilities
    true_probs: NDArray[np.float32]  # (M, N), of the correct class
    labels: NDArray[np.int64]  # (N,)

    @classmethod
    def of(cls, probs: Probabilities, labels: NDArray[np.int64]) -> Library:
        """The library of models with these probabilities."""
        return cls(probs, np.ascontiguousarray(probs[labels, :, np.arange(len(labels))].T), labels)


def select(
    probs: Probabilities, labels: NDArray[np.int64], select_by: SelectBy, seed: int = 0
) -> Selection:
    """Select an ensemble.

    Args:
        probs: the probabilities of each class (C, M, N).
        labels: the correct classes (N,).
        select_by: the metric that decides, with the tie-break of `pipeline.selection`.
        seed: of the bags. Equal seeds give equal ensembles.
    """
    C, M, N = probs.shape
    library = Library.of(probs, labels)
    rng = np.random.default_rng(seed)
    shares = np.zeros(M)
    votes = np.zeros((C, N), np.float32)
    single_hits, bags = np.zeros(N), np.zeros(N, np.int64)
    for _ in range(BAGS):
        counts = np.bincount(rng.integers(0, N, N), minlength=N)
        picks = _greedy(library, counts, select_by)
        own = np.bincount(picks, minlength=M) / len(picks)
        shares += own / BAGS
        outside = np.flatnonzero(counts == 0)
        for m in np.flatnonzero(own):
            votes[:, outside] += np.float32(own[m]) * probs[:, m, outside]
        best = probs[:, picks[0], outside].argmax(axis=0)  # the first pick is the best model
        single_hits[outside] += best == labels[outside]
        bags[outside] += 1
    covered = bags > 0
    return Selection(
        shares, votes.argmax(axis=0) == labels, single_hits / np.maximum(bags, 1), covered
    )


def _greedy(library: Library, counts: NDArray[np.int64], select_by: SelectBy) -> list[int]:
    """Add models one by one while this improves the mean of their probabilities in a bag.

    Args:
        library: of the models.
        counts: (N,) how often the bag contains each example.
        select_by: the metric that decides.

    Returns:
        The models in the order of their addition. The first one is the best single model.
    """
    C, M, N = library.probs.shape
    weights = _example_weights(library.labels, counts, select_by)
    total, total_true = np.zeros((C, N), np.float32), np.zeros(N, np.float32)
    size = max(1, CHUNK // (C * N))
    picks: list[int] = []
    keys: list[tuple[float, float]] = []
    for added in range(1, PICKS + 1):
        candidates: list[tuple[float, float]] = []
        for start in range(0, M, size):
            models = slice(start, start + size)
            highest = (total[:, None] + library.probs[:, models]).max(axis=0)
            own = total_true + library.true_probs[models]
            hits = np.einsum("mn,n->m", own >= highest, weights)
            log_probs = np.log(np.maximum(own / added, np.finfo(np.float32).tiny))
            loss = -np.einsum("mn,n->m", log_probs, counts.astype(np.float32))
            candidates += _keys(hits, loss, select_by)
        pick = max(range(M), key=lambda m: (candidates[m], -m))
        picks.append(pick)
        keys.append(candidates[pick])
        total += library.probs[:, pick]
        total_true += library.true_probs[pick]
    return picks[: keys.index(max(keys)) + 1]


def _example_weights(
    labels: NDArray[np.int64], counts: NDArray[np.int64], select_by: SelectBy
) -> NDArray[np.float64]:
    """Weights (N,) of the examples of a bag: the sum of the hits is proportional to the metric."""
    if select_by != "balanced_acc":
        return counts.astype(np.float64)  # whole numbers, so that equal accuracies are equal
    of_class = np.bincount(labels, counts)
    present = np.count_nonzero(of_class)
    return np.asarray(counts / np.maximum(of_class[labels], 1) / present, np.float64)


def _keys(
    hits: NDArray[np.float64], loss: NDArray[np.floating], select_by: SelectBy
) -> list[tuple[float, float]]:
    """The keys of candidates by the selection rule; the greater one is better."""
    hits = hits.round(9)
    first, second = (-loss, hits) if select_by == "val_loss" else (hits, -loss)
    return list(zip(first.tolist(), second.tolist(), strict=True))
