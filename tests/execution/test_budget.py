"""Budgets: how they are written, which jobs fit, and how a wrong estimate is corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.config import Job, parse_tracking
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution import budget
from pipeline.execution.budget import Budget, Meter, parse_budget
from pipeline.hyperparameters import Hyperparameters
from tests.conftest import DIGITS, SMALL, TRACKING

Hyper = Callable[..., Hyperparameters]
ONE_IMAGE = 16 * (2 * 64 + 3 * 10), 16 * (64 + 10)  # multiply-adds to train and to predict it
ONE_JOB = 3 * (1079 * ONE_IMAGE[0] + 359 * ONE_IMAGE[1])  # of `SMALL`


def jobs(*epochs: int) -> list[Job]:
    hypers = [replace(SMALL, num_epochs=n) for n in epochs]
    return [Job(hyper, DIGITS, parse_tracking(TRACKING)) for hyper in hypers]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Budget(seconds=90)),
        ("10min", Budget(seconds=600)),
        ("1.5 h", Budget(seconds=5400)),
        ("2d", Budget(seconds=172800)),
        (1e12, Budget(multiply_adds=1e12)),
        (5, Budget(multiply_adds=5)),
    ],
)
def test_budget_is_a_time_or_a_number_of_multiply_adds(text: str | float, expected: Budget) -> None:
    assert parse_budget(text) == expected


@pytest.mark.parametrize("text", ["10", "ten min", "-5min", "0s", "1e400h", 0, -1.0, "1e12"])
def test_a_malformed_budget_is_an_error(text: str | float) -> None:
    with pytest.raises(ConfigError, match="must be a time such as 90s, 10min"):
        parse_budget(text)


def test_price_of_a_job_is_its_number_of_multiply_adds(digits: Dataset) -> None:
    meter = Meter(Budget(multiply_adds=1e12), digits, cores=2)
    assert meter.price(jobs(3)[0]) == ONE_JOB
    assert meter.price(jobs(6)[0]) == 2 * ONE_JOB


def test_jobs_of_a_number_of_multiply_adds_fit_until_it_is_spent(digits: Dataset) -> None:
    meter = Meter(Budget(multiply_adds=4.5 * ONE_JOB), digits, cores=2)
    first = meter.next_group(jobs(*[3] * 9))
    assert len(first) == 4 and first == sorted(first)
    assert first != [0, 1, 2, 3]  # they cover the grid
    assert Meter(meter.budget, digits, cores=1).next_group(jobs(*[3] * 9)) == first
    assert meter.fits(jobs(3, 3, 3, 3)) and not meter.fits(jobs(3, 3, 3, 3, 3))
    meter.spend(4 * ONE_JOB)
    assert meter.next_group(jobs(*[3] * 5)) == []
    assert meter.next_group(jobs(3, 1, 3)) == [1]  # a smaller job still fits


def test_time_is_divided_and_a_wrong_estimate_is_corrected(
    monkeypatch: pytest.MonkeyPatch, digits: Dataset
) -> None:
    monkeypatch.setattr(budget, "seconds_per_image", lambda *_: 1 / (3 * (1079 + 359 / 3)))
    now = [0.0]
    meter = Meter(Budget(seconds=8), digits, cores=2, clock=lambda: now[0])
    rest = jobs(*[3] * 32)  # one second of one core each
    assert len(meter.affordable(rest)) == 16
    group = meter.next_group(rest)
    assert len(group) == 8  # half of the time of both cores
    with meter.measured([rest[i] for i in group]):
        now[0] += 6  # and not 4: each job takes 1.5 seconds
    assert len(meter.affordable(rest)) == 2
    assert len(meter.next_group(rest)) == 1
    assert meter.next_group(jobs(*[30] * 5)) == []
    now[0] += 2
    assert meter.next_group(rest) == []
