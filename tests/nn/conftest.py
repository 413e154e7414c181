"""Train a population in this process, and compare the results bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.history import EpochEnd
from pipeline.nn.model import Params
from pipeline.nn.train import train


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with threadpool_limits(1, "blas"):
        yield


def run(
    jobs: Sequence[Hyperparameters], data: Dataset, threads: int = 1
) -> dict[int, list[EpochEnd]]:
    """Train models to their end, and return the events of each."""
    ends: dict[int, list[EpochEnd]] = {k: [] for k in range(len(jobs))}
    for end in train(jobs, data, threads=threads):
        assert isinstance(end, EpochEnd)  # no snapshot is due
        ends[end.model].append(end)
    return ends


def best_of(ends: Sequence[EpochEnd]) -> Params | None:
    """Return the weights of the best epoch."""
    result = ends[-1].result
    assert result is not None
    assert result.outcome == ends[-1].outcome
    assert [row.metrics for row in result.curve] == [end.row.metrics for end in ends]
    return result.best


def same_bits(a: Sequence[EpochEnd], b: Sequence[EpochEnd]) -> bool:
    """Whether two models have the same metrics in every epoch, and the same best weights."""
    metrics = np.array_equal(_numbers(a), _numbers(b), equal_nan=True)
    ends = [(e.epoch, e.outcome) for e in a] == [(e.epoch, e.outcome) for e in b]
    best = best_of(a), best_of(b)
    if best[0] is None or best[1] is None:
        return metrics and ends and best[0] is best[1]
    weights = zip(*best, strict=True)
    return metrics and ends and all(np.array_equal(x, y) for x, y in weights)


def _numbers(ends: Sequence[EpochEnd]) -> list[list[float]]:
    return [end.row.metrics.as_row() for end in ends]
