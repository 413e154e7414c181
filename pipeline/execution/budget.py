"""Budgets of a sweep: a time, or a number of multiply-adds, and the jobs that fit."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.blas import one_thread
from pipeline.config import Job
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution.dry_run import format_duration, images_per_epoch, seconds_per_image
from pipeline.nn.cost import training_cost

KEY = "hydra.sweeper.budget"
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}  # in seconds
FIRST_SHARE = 0.5  # of the time that is left; jobs that fit into it start together


@dataclass(frozen=True)
class Budget:
    """A limit for the training of a sweep. One of the values is set."""

    seconds: float | None = None
    multiply_adds: float | None = None

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"budget of {format_duration(self.seconds)}"
        return f"budget of {self.multiply_adds:.3g} multiply-adds"


def parse_budget(value: str | float) -> Budget:
    """Read ``hydra.sweeper.budget``: a time such as 90s, 10min, 1.5h or 2d, or a number.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?) *(s|min|h|d)", value.strip())
        number = float(match[1]) * UNITS[match[2]] if match else 0.0
    else:
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(
            f"{KEY} must be a time such as 90s, 10min, 1.5h or 2d, or a number of multiply-adds "
            f"above 0, not {value!r}"
        )
    return Budget(seconds=number) if isinstance(value, str) else Budget(multiply_adds=number)


class Meter:
    """Compares the price of jobs with the rest of a budget.

    The price of a job is its number of multiply-adds, or, for a time, an estimate of the seconds
    that one core needs. The estimate is measured on the data before the first job starts, and is
    corrected after each group of jobs.
    """

    def __init__(
        self,
        budget: Budget,
        data: Dataset,
        cores: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock.

        Args:
            budget: the limit.
            data: the dataset of all jobs.
            cores: threads that train at the same time.
            clock: the time in seconds.
        """
        self.budget = budget
        self._clock, self._start, self._cores = clock, clock(), cores
        self._data = data
        self._spent = 0.0  # multiply-adds
        self._slowdown = 1.0  # the measured time of jobs, relative to the estimate
        self._per_image: dict[int, float] = {}  # seconds by hidden size

    def price(self, job: Job) -> float:
        """The price of a job: multiply-adds, or seconds of one core."""
        hyper = job.hyperparameters
        if self.budget.seconds is None:
            (num_train, D), num_val = self._data.X_train.shape, len(self._data.y_val)
            C = len(self._data.classes)
            sizes = hyper.hidden_size, hyper.num_epochs, num_train, num_val, D, C
            return float(training_cost(*sizes))
        H = hyper.hidden_size
        if H not in self._per_image:
            with one_thread():
                self._per_image[H] = seconds_per_image(hyper, self._data)
        images = images_per_epoch(self._data)
        return float(self._slowdown * hyper.num_epochs * images * self._per_image[H])

    def fits(self, jobs: Sequence[Job]) -> bool:
        """Whether all of these jobs fit into the rest of the budget."""
        return len(self.affordable(jobs)) == len(jobs)

    def affordable(self, jobs: Sequence[Job]) -> list[int]:
        """The indices of jobs that fit into the rest of the budget, in ascending order.

        The jobs are visited in a random order, the same one for each number of jobs, so that the
        affordable part of a grid covers all of its dimensions.
        """
        return self._select(jobs, self._rest())

    def next_group(self, jobs: Sequence[Job]) -> list[int]:
        """The indices of the jobs to train next, in ascending order. Empty: no job fits.

        A time is divided: the first group fits into half of it, the next one into half of the rest.
        A wrong estimate is thus corrected before it costs more than the budget.
        """
        if self.budget.seconds is None:
            return self.affordable(jobs)
        found = self._select(jobs, FIRST_SHARE * self._rest())
        return found or self.affordable(jobs)[:1]

    def spend(self, multiply_adds: float) -> None:
        """Take the price of jobs from the budget; a time elapses by itself."""
        self._spent += multiply_adds

    @contextmanager
    def measured(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Measure the time of a group of jobs, and correct the estimate of the next ones by it."""
        if self.budget.seconds is None:
            yield
            return
        expected = sum(map(self.price, jobs)) / self._cores / self._slowdown
        start = self._clock()
        yield
        self._slowdown = max(1.0, (self._clock() - start) / expected)

    def correct(self, trained: float) -> None:
        """Correct the estimate of the next jobs by the time since the start.

        Args:
            trained: the price of the jobs that were trained in this time.
        """
        if self.budget.seconds is not None and trained > 0:
            expected = trained / self._cores / self._slowdown
            self._slowdown = max(1.0, (self._clock() - self._start) / expected)

    def describe(self, price: float) -> str:
        """A price in words."""
        if self.budget.seconds is None:
            return f"{price:.3g} multiply-adds"
        return f"about {format_duration(price)}"

    def _rest(self) -> float:
        """The rest of the budget: multiply-adds, or seconds of all cores together."""
        if self.budget.seconds is None:
            return (self.budget.multiply_adds or 0.0) - self._spent
        return (self._start + self.budget.seconds - self._clock()) * self._cores

    def _select(self, jobs: Sequence[Job], rest: float) -> list[int]:
        # One core trains a job, unless the others are idle.
        longest = rest if self.budget.seconds is None else rest / self._cores
        found = []
        for i in np.random.default_rng(0).permutation(len(jobs)).tolist():
            price = self.price(jobs[i])
            if price <= min(rest, longest):
                found.append(i)
                rest -= price
        return sorted(found)
