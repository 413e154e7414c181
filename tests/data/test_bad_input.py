"""Bad input of each kind gets one sentence with its row, column or key, and nothing is trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config import DataConfig
from pipeline.data import kinds
from pipeline.data.load import load
from pipeline.execution.job import JobRun
from pipeline.execution.spec import JobSpec, RunContext
from pipeline.outcomes import Outcome
from pipeline.paths import CONF
from pipeline.tracking import queries
from tests.conftest import SMALL, TRACKING, forbid_training, job, train

rng = np.random.default_rng(0)
N = 60
X, Y = rng.normal(size=(N, 3)), np.arange(N) % 2
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(label=Y)


def arrays(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    """An .npz file with other arrays."""

    def write(folder: Path) -> dict[str, Any]:
        np.savez(folder / "own.npz", **{"X": X, "y": Y, **changes})
        return {"kind": "npz", "file": str(folder / "own.npz")}

    return write


def table(content: bytes | pd.DataFrame, **values: Any) -> Callable[[Path], dict[str, Any]]:
    """A .csv file with other content."""

    def write(folder: Path) -> dict[str, Any]:
        path = folder / "own.csv"
        path.write_bytes(
            content if isinstance(content, bytes) else content.to_csv(index=False).encode()
        )
        return {"kind": "table", "file": str(path), "target": "label", **values}

    return write


def with_value(value: float) -> np.ndarray:
    return np.where(np.arange(X.size).reshape(X.shape) == 22, value, X)  # row 7, feature 1


CASES: Mapping[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "wrong shape": (arrays(X=X[:, 0]), "X has shape (60,)"),
    "wrong number of labels": (arrays(y=Y[:50]), "X has 60 rows, but y has 50 labels"),
    "NaN": (arrays(X=with_value(np.nan)), "the value in row 7, feature 1, is nan"),
    "infinity": (arrays(X=with_value(np.inf)), "the value in row 7, feature 1, is inf"),
    "infinity in a table": (
        table(FRAME.assign(b=with_value(np.inf)[:, 1])),
        "the value in row 7, column 'b', is inf",
    ),
    "one class only": (arrays(y=Y * 0), "y contains one class only (0)"),
    "class missing from a split": (
        arrays(X_val=X[:9], y_val=Y[:9] * 0),
        "the validation split has no row of class '1'",
    ),
    "class missing from a grouped split": (
        arrays(y=np.r_[np.zeros(54, int), np.ones(6, int)], group=np.arange(N) // 6),
        "split has no row of class '1'",
    ),
    "fewer rows than batch_size": (
        arrays(X=X[:30], y=Y[:30]),
        "batch_size=100 is larger than the training set of 18 examples: use at most 18",
    ),
    "duplicate columns": (
        table(b"a,a,label\n" + b"1,2,x\n3,4,y\n" * 30),
        "columns 1 and 2 of {file} are both named 'a'",
    ),
    "regression target": (table(FRAME.assign(label=X[:, 0])), "column 'label' contains "),
    "too many distinct labels": (
        table(FRAME.assign(label=np.arange(N))),
        "column 'label' has 60 distinct values in 60 rows",
    ),
    "missing label": (
        table(FRAME.assign(label=np.where(np.arange(N) == 4, np.nan, Y))),
        "column 'label' has no label in row 4",
    ),
    "object array": (arrays(X=X.astype(object)), "X in {file} contains Python objects"),
    "wrong delimiter": (
        table(FRAME.to_csv(index=False, sep=";").encode()),
        'set data.separator=";"',
    ),
    "Excel file": (table(b"PK\x03\x04" + bytes(99)), "an Excel or zip file"),
    "old Excel file": (table(b"\xd0\xcf\x11\xe0" + bytes(99)), "an Excel file"),
    "unknown target": (table(FRAME, target="class"), "data.target=class is not a column"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_sentence_and_nothing_is_trained(
    case: str, tmp_path: Path, place: RunContext, monkeypatch: pytest.MonkeyPatch, outputs: Path
) -> None:
    write, problem = CASES[case]
    values = write(tmp_path)
    if "group" in case:
        values["group"] = "group"
    data = DataConfig(name="own", **values)
    forbid_training(monkeypatch)
    spec = job(0, tmp_path / "0", SMALL)
    overrides = {"data": asdict(data), "tracking": TRACKING, "batch_size": 100}
    run: JobRun
    (run,) = train([JobSpec(0, {**spec.values, **overrides}, spec.folder, spec.log)], place)
    assert run.outcome is Outcome.FAILED
    sentence = str(run.error)
    assert problem.replace("{file}", str(data.file)) in sentence
    assert re.fullmatch(r"[^\n]+: [^\n]+", sentence), "failure: remedy"
    assert place.sweep is not None
    row = queries.sweep_runs(place.store, place.sweep).iloc[0]
    assert row["status"] == "FAILED"
    assert not [name for name in row.index if name.startswith("metrics.")]
    assert not list((outputs / "checkpoints").glob("*.npz"))


NEW_KIND = """
import numpy as np
from pipeline.data.arrays import Arrays, Labelled, split_arrays
from pipeline.data.raw import Rows

def read(config):
    X, y = np.arange(80.0).reshape(40, 2), np.arange(40) % 2
    return split_arrays(Arrays(Labelled(Rows.of(X), y)), config)
"""


def test_a_new_kind_is_one_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(NEW_KIND)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    kinds.kind_names.cache_clear()
    try:
        data = load(DataConfig(name="own", kind="counting"), "float32")
    finally:
        kinds.kind_names.cache_clear()
    assert [len(data.y_train), len(data.y_val)] == [24, 8]


def test_each_kind_has_one_configuration_file() -> None:
    assert sorted(path.stem for path in (CONF / "data").glob("*.yaml")) == list(kinds.kind_names())
