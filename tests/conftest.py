"""What several tests need: small real data, and hyperparameters with one of them changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import DataConfig, Hyperparameters
from pipeline.data import Dataset, load

DIGITS = DataConfig(name="digits", dir=None, url=None, files={})
SMALL = Hyperparameters(
    hidden_size=16,
    l2_reg=1e-4,
    learning_rate=0.3,
    learning_rate_decay=0.9,
    batch_size=100,
    num_epochs=3,
    weight_std=0.1,
    seed=0,
    dtype="float32",
)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load(DIGITS, "float32")


@pytest.fixture
def hyper() -> Callable[..., Hyperparameters]:
    def change(**values: Any) -> Hyperparameters:
        return replace(SMALL, **values)

    return change


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for everything that a run writes."""
    monkeypatch.setenv("PIPELINE_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"
