"""The description of a sweep before it starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from pipeline.config import parse_job
from pipeline.data.dataset import Dataset
from pipeline.errors import ConfigError
from pipeline.execution import dry_run
from pipeline.execution.backend import Resources
from pipeline.execution.run import dry_run as dry_run_jobs
from pipeline.hyperparameters import Hyperparameters
from tests.conftest import DIGITS, TRACKING

Hyper = Callable[..., Hyperparameters]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (59.4, "59 s"),
        (60, "1 min"),
        (59.4 * 60, "59 min"),
        (60 * 60, "1 h 0 min"),
        (119 * 60, "1 h 59 min"),
        (125 * 60, "2 h 5 min"),
    ],
)
def test_the_time_is_given_in_the_unit_that_fits(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch, seconds: float, text: str
) -> None:
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: seconds)
    *_, line = dry_run.describe([hyper()], digits, Resources(1, 1 << 30))
    assert line == f"time: about {text}, if no model diverges"


def test_the_memory_is_that_of_both_splits_and_of_the_weights(
    digits: Dataset, hyper: Hyper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 1.0)
    large = replace(
        digits,
        X_train=np.zeros((20_000, 100), np.float32),
        X_val=np.zeros((15_000, 100), np.float32),
    )
    lines = list(dry_run.describe([hyper(hidden_size=5000)] * 3, large, Resources(1, 1 << 30)))
    # 8 MB and 6 MB of images; of each model the current and the best weights
    assert 3 * 2 * 4 * (100 * 5000 + 5000 + 5000 * 10 + 10) == 13_320_240
    assert lines[2] == "memory: 14 MB of data, up to 13 MB of weights"


@pytest.mark.parametrize("cores", [1, 2])
def test_one_job_is_described_in_five_lines(digits: Dataset, hyper: Hyper, cores: int) -> None:
    jobs = [hyper(num_epochs=1)]
    data, plan, memory, cost, time = dry_run.describe(jobs, digits, Resources(cores, 1 << 30))
    sizes = f"{len(digits.y_train)} training and {len(digits.y_val)} validation examples"
    assert data == f"digits: {sizes} of 64 values"
    assert plan == f"1 job, 1 group with shared mini-batches, 1 stack, 1 shard, {cores} at once"
    assert memory.startswith("memory: ") and cost.startswith("cost: ")
    assert re.fullmatch(r"time: about \d+ s, if no model diverges", time)


def test_a_job_that_cannot_be_trained_is_refused(digits: Dataset, hyper: Hyper) -> None:
    size = len(digits.y_train)
    groups = {"data": asdict(DIGITS), "tracking": TRACKING}
    fits, larger = (parse_job({**asdict(hyper(batch_size=n)), **groups}) for n in (size, size + 1))
    assert dry_run_jobs([fits], Resources(1, 1 << 30))
    with pytest.raises(ConfigError, match=f"batch_size={size + 1} is larger"):
        dry_run_jobs([fits, larger], Resources(1, 1 << 30))
