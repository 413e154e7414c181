"""The division of a population into stacks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn import population
from pipeline.nn.population import group_into_stacks

Hyper = Callable[..., Hyperparameters]


def test_models_that_take_the_same_kind_of_step_share_a_stack(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [hyper(), hyper(hidden_size=8), hyper(momentum=0.9), hyper(l2_reg=0), hyper(dropout=0.5)]
    assert group_into_stacks(jobs, digits) == [[1], [0, 3], [4], [2]]
    size = 16 * (64 + 2 * 100) * 4  # of a model with 16 hidden units
    monkeypatch.setattr(population, "STACK_BYTES", 3 * size - 1)
    assert group_into_stacks([hyper()] * 5, digits) == [[0, 1], [2, 3], [4]]
    monkeypatch.setattr(population, "STACK_BYTES", 3 * size)
    assert group_into_stacks([hyper()] * 5, digits) == [[0, 1, 2], [3, 4]]


def test_each_model_is_a_stack_of_its_own_for_several_threads(
    digits: Dataset, hyper: Hyper
) -> None:
    jobs = [hyper(hidden_size=size) for size in (8, 32, 16)]
    assert group_into_stacks(jobs, digits, threads=2) == [[1], [2], [0]]
