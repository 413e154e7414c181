"""A sweep on the digits, its champion, and a server of the champion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.runs import rank, tabulate
from pipeline.data.dataset import as_images
from pipeline.data.kinds import read_raw
from pipeline.serving.promotion import promote
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.conftest import DIGITS
from tests.serving.server import Server, serving
from tests.sweeps import train_sweep

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def ranking(store: Store, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two good models that do not differ significantly, and a bad one."""
    folder = tmp_path_factory.mktemp("promoted")
    jobs = [{"learning_rate": lr, "num_epochs": 4} for lr in (0.3, 0.31, 0.001)]
    return rank(tabulate(queries.sweep_runs(store, train_sweep(store, folder, "champions", *jobs))))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """The test images as they are in the file."""
    return as_images(np.concatenate([*read_raw(DIGITS).read_test().rows.pieces()]), SHAPE)


@pytest.fixture(scope="module")
def model(store: Store, ranking: pd.DataFrame) -> Any:
    """The best model, as MLflow loads it from the registry."""
    champion = promote(store, ranking.iloc[0])
    mlflow.set_tracking_uri(store.uri)
    return mlflow.pyfunc.load_model(f"models:/{champion.name}@champion")


@pytest.fixture(scope="module")
def server(model: Any, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the champion in its own process."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving("--name", "digits", "--tracking-uri", store.uri, log=log) as started:
        yield started
