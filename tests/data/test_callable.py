"""Arrays from a function of the user (data=callable)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.data import prepared
from pipeline.data.load import load, load_test
from pipeline.data.prepared import file_override
from pipeline.errors import DataError
from tests.commands import report_of, succeed

MODULE = """
import numpy as np

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 3))
y = ["blue" if x > 0 else "red" for x in X[:, 0]]


def pair():
    return X, y


def splits():
    return {"X": X, "y": y, "X_val": X[:9], "y_val": y[:9], "X_test": X[:5], "y_test": y[:5]}


def fails():
    raise KeyError("no such table")


def nothing():
    return None


def ragged():
    return np.array([{}, {}]), y


number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_arrays.py").write_text(MODULE)
    monkeypatch.setattr(prepared, "START_DIR", tmp_path)
    sys.modules.pop("own_arrays", None)


def config(name: str) -> DataConfig:
    override = file_override(["-m", "data=callable", f"data.target=own_arrays:{name}"])
    assert override is not None
    file = override.removeprefix("data.file=").strip('"')
    return DataConfig(name="own", kind="callable", file=file)


def test_arrays_are_saved_once_under_their_content(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two versions of a module of equal size and time have the same bytecode file.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    data = load(config("pair"), "float32")
    assert data.classes == ("blue", "red")
    assert [len(data.y_train), len(data.y_val)] == [120, 40]
    first = config("pair").file
    assert list((outputs / "data").iterdir()) == [Path(str(first))]
    (tmp_path / "own_arrays.py").write_text(MODULE.replace("default_rng(0)", "default_rng(1)"))
    del sys.modules["own_arrays"]
    assert config("pair").file != first  # another result is another dataset


def test_a_dict_may_contain_splits() -> None:
    data, (X_test, _) = load(config("splits"), "float64"), load_test(config("splits"), "float64")
    assert [len(data.y_train), len(data.y_val), len(X_test)] == [200, 9, 5]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("own_arrays", "names no function: write data.target=MODULE:FUNCTION"),
        ("own_arrays:", "names no function"),
        ("own_arrays:a.b", "names no function"),
        ("no_such_module:load", "cannot be imported (ModuleNotFoundError: No module named"),
        ("own_arrays:absent", "cannot be imported (AttributeError: "),
        ("own_arrays:fails", "failed (KeyError: 'no such table', "),
        ("own_arrays:number", "failed (TypeError: 'int' object is not callable"),
        ("own_arrays:nothing", "returned a NoneType: return (X, y), or a dict with the arrays"),
        ("own_arrays:ragged", "X contains Python objects"),
    ],
)
def test_wrong_targets_get_one_sentence(target: str, problem: str) -> None:
    with pytest.raises(DataError, match=re.escape(problem)) as caught:
        file_override(["data=callable", f"data.target={target}"])
    assert "\n" not in str(caught.value)


def test_function_is_not_called_where_the_command_line_does_not_name_it() -> None:
    target = "data.target=own_arrays:pair"
    for words in (["data=table", target], [target], ["data=callable"]):
        assert file_override(words) is None
    assert file_override(["data=callable", target, "--help"]) is None
    with pytest.raises(DataError, match=r"remove data\.file"):
        file_override(["data=callable", target, "data.file=x.npz"])
    # A configuration from a store names a function, but reading it imports nothing.
    stored = DataConfig(name="own", kind="callable", target="own_arrays:pair")
    with pytest.raises(DataError, match=r"add data\.target=MODULE:FUNCTION to the command line"):
        load(stored, "float32")
    assert "own_arrays" not in sys.modules


def test_promote_needs_neither_the_module_nor_the_directory(outputs: Path, tmp_path: Path) -> None:
    words = ["data=callable", "data.target=own_arrays:pair", "data.name=own"]
    succeed(outputs, "-m", *words, "hidden_size=4", "num_epochs=2", "batch_size=20")
    assert report_of(outputs)["dataset"] == "own"
    (tmp_path / "own_arrays.py").write_text("raise SystemExit('imported')")
    (tmp_path / "elsewhere").mkdir()
    done = succeed(outputs, module="pipeline.promote", cwd=tmp_path / "elsewhere")
    assert "own version 1 is the champion" in done.stdout
