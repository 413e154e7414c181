"""The sweep as a Python function: from pipeline import sweep."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from pipeline import sweep
from pipeline.errors import PipelineError

SMALL = ["hidden_size=8,16", "num_epochs=15", "batch_size=20", "learning_rate=0.3"]


def test_arrays_are_swept_and_the_chosen_model_predicts(outputs: Path) -> None:
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    result = sweep(SMALL, X=X, y=names.tolist(), name="wine")
    assert list(result.runs["hidden_size"]) in ([8, 16], [16, 8])
    assert len(result.configurations) == 2
    assert result.facts["best"]["run_id"] == result.runs["run_id"].iloc[0]
    assert result.best is not None
    assert result.best.values["data.name"] == "wine"
    assert result.best.val_acc > 0.9
    assert result.report.exists()
    assert (result.predict(X) == names).mean() > 0.9
    # The same call finds the finished runs, and a script in a thread gets the same result.
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(sweep(SMALL, X=X, y=names, name="wine")))
    thread.start()
    thread.join()
    assert found[0].best.run_id == result.best.run_id
    assert len(list((outputs / "data").iterdir())) == 1


def test_dataframe_is_swept_as_a_table(outputs: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=90), "colour": rng.choice(["red", "blue"], 90)})
    label = pd.Series(np.where(frame["colour"] == "red", "warm", "cold"), name="feeling")
    result = sweep([*SMALL, "batch_size=10"], X=frame, y=label)
    assert result.best is not None
    assert (result.predict(frame) == label).all()
    with pytest.raises(ValueError, match="'colour' is missing"):
        result.predict(frame[["size"]])


def test_unsuitable_data_and_values_are_one_sentence(outputs: Path) -> None:
    X, y = np.ones((30, 2)), np.arange(30) % 2
    for overrides, arrays, problem in (
        (["hidden_size=0"], {"X": X, "y": y}, "hidden_size"),
        ([], {"X": X.astype(object), "y": y}, "X contains Python objects"),
        ([], {"X": X, "y": y, "X_tset": X}, "unknown arguments X_tset"),
        (["batch_size=5"], {"X": X, "y": y * 0}, "one class only"),
    ):
        with pytest.raises(PipelineError, match=problem) as caught:
            sweep(overrides, **arrays)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
