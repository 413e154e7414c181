"""Own tables in CSV and Parquet files (data=table)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load, load_test
from pipeline.errors import DataError

rng = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "age": np.where(np.arange(N) % 10 == 3, np.nan, rng.integers(20, 60, N)),
        "paid": rng.random(N) < 0.5,
        "port": np.where(np.arange(N) % 7 == 2, None, rng.choice(["Cork", "Rome"], N)),
        "id": [f"x{i}" for i in range(N)],
        "house": np.arange(N) // 3,
        "class": np.array(["yes", "no", "no"] * (N // 3)),
    }
)
USUAL = {"target": "class", "exclude": ["id", "house"]}


def config(path: Path, **values: Any) -> DataConfig:
    return DataConfig(name="own", kind="table", file=str(path), **{**USUAL, **values})


def test_file_must_be_set() -> None:
    with pytest.raises(DataError, match=r"needs a .csv or .parquet file: set data.file=FILE"):
        load(DataConfig(name="own", kind="table", target="class"), "float32")


def csv(folder: Path, frame: pd.DataFrame = FRAME, **options: Any) -> Path:
    frame.to_csv(folder / "own.csv", index=False, **options)
    return folder / "own.csv"


def text(folder: Path, content: str) -> Path:
    (folder / "own.csv").write_text(content, encoding="utf-8")
    return folder / "own.csv"


def raw(data: Dataset) -> np.ndarray:
    """The encoded training rows before scaling."""
    return data.X_train * data.scaler.scale + data.scaler.mean


def test_numbers_are_imputed_and_texts_become_one_column_per_category(tmp_path: Path) -> None:
    data = load(config(csv(tmp_path)), "float64")
    assert data.features == ("age", "paid", "port=Cork", "port=Rome", "port=missing")
    assert data.classes == ("no", "yes")
    assert [len(data.y_train), len(data.y_val)] == [36, 12]
    rows = raw(data)
    train = FRAME.iloc[positions(data)]
    median = train["age"].median()
    np.testing.assert_allclose(rows[:, 0], train["age"].fillna(median))
    np.testing.assert_allclose(rows[:, 1], train["paid"])
    for column, port in ((2, "Cork"), (3, "Rome")):
        np.testing.assert_allclose(rows[:, column], train["port"] == port, atol=1e-12)
    np.testing.assert_allclose(rows[:, 4], train["port"].isna(), atol=1e-12)
    assert data.choices["data.columns"] == "2 numeric, 1 text (one-hot)"
    assert data.choices["data.imputed"] == f"age={median:g} (median), port=missing"


def positions(data: Dataset) -> list[int]:
    """The positions of the training rows in the file, from the random split."""
    from pipeline.data.arrays import TRAIN, assign_rows, parse_target

    target = parse_target(FRAME["class"].to_numpy(dtype=object), "class")
    defaults = DataConfig(name="own", kind="table")
    return np.flatnonzero(assign_rows(target, defaults) == TRAIN).tolist()


def test_csv_and_parquet_give_the_same_data(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "own.parquet")
    first = load(config(csv(tmp_path)), "float32")
    second = load(config(tmp_path / "own.parquet"), "float32")
    assert first.digest == second.digest
    np.testing.assert_array_equal(first.X_train, second.X_train)


def test_nullable_and_categorical_columns_are_read(tmp_path: Path) -> None:
    frame = FRAME.convert_dtypes()
    frame["port"] = frame["port"].astype("category")
    frame.to_parquet(tmp_path / "own.parquet")
    assert load(config(tmp_path / "own.parquet"), "float32").digest == (
        load(config(csv(tmp_path)), "float32").digest
    )


def test_statistics_come_from_the_training_rows_only(tmp_path: Path) -> None:
    data = load(config(csv(tmp_path)), "float64")
    other = FRAME.copy()
    held_out = other.index.difference(positions(data))
    other.loc[held_out, "age"] = 1e6
    other.loc[held_out, "port"] = "Oslo"
    again = load(config(csv(tmp_path, other)), "float64")
    assert again.features == data.features
    np.testing.assert_array_equal(again.X_train, data.X_train)
    oslo = again.X_val[:, 2:] * again.scaler.scale[2:] + again.scaler.mean[2:]
    np.testing.assert_allclose(oslo, 0, atol=1e-12)  # an unknown category is none of the known


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    settings = config(csv(tmp_path), group="house", exclude=["id"], scaling="none")
    data, (X_test, _) = load(settings, "float64"), load_test(settings, "float64")
    assert [len(data.y_train), len(data.y_val), len(X_test)] == [36, 12, 12]
    assert "house" not in data.features


def test_labels_may_be_whole_numbers_or_truth_values(tmp_path: Path) -> None:
    for labels in (np.arange(N) % 3, np.arange(N) % 2 == 0, (np.arange(N) % 3).astype(float)):
        data = load(config(csv(tmp_path, FRAME.assign(**{"class": labels}))), "float32")
        assert data.classes in (("0", "1", "2"), ("False", "True"))


def test_other_delimiters_are_set_with_data_separator(tmp_path: Path) -> None:
    path = csv(tmp_path, sep=";")
    with pytest.raises(DataError, match=re.escape('set data.separator=";"')):
        load(config(path), "float32")
    assert len(load(config(path, separator=";"), "float32").features) == 5


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"target": None}, "set data.target to a column of"),
        ({"target": "y"}, "data.target=y is not a column of {file} (columns age, paid, port, id,"),
        ({"group": "y"}, "data.group=y is not a column"),
        ({"exclude": ["y", "age"]}, "data.exclude names y, not a column of"),
        ({"exclude": ["age", "paid", "port", "id", "house"]}, "no feature column"),
        ({"exclude": []}, "text column 'id' has 36 distinct values in 36 training rows"),
        ({"target": "age"}, "column 'age' has no label in row 3"),
        ({"target": "id"}, "column 'id' has 60 distinct values in 60 rows"),
        ({"scaling": "pixels"}, "data.scaling=pixels"),
    ],
)
def test_unsuitable_choices_are_refused(
    tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    path = csv(tmp_path)
    with pytest.raises(DataError) as caught:
        load(config(path, **values), "float32")
    assert problem.replace("{file}", str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


ROWS = "".join(f"{i},{i % 3},{'ab'[i % 2]}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "No columns to parse"),
        ("x,z,class\n", "has no rows"),
        ("x,x,class\n" + ROWS, "columns 1 and 2 of {file} are both named 'x'"),
        (",z,class\n" + ROWS, "column 1 of {file} has no name"),
        ("x,z,class\n1,2,a,b\n" + ROWS, "cannot be read as a table"),
        ("x,z,class\n" + ROWS + "1,2,3,4\n", "cannot be read as a table"),
        ("x|z|class\n" + ROWS.replace(",", "|"), 'set data.separator="|"'),
        ("x\tz\tclass\n" + ROWS.replace(",", "\t"), 'set data.separator="\t"'),
        ("x,z,class\n" + ROWS.replace("a", "", 1), "column 'class' has no label in row 0"),
        ("x,z,class\n" + ROWS.replace("5,2", "inf,2", 1), "row 5, column 'x', is inf"),
        (
            "x,z,class\n" + re.sub(r",\d,", ",,", ROWS),
            "column 'z' has no value in the training",
        ),
        ("x,z,class\n" + ROWS.replace(",b", ",a"), "column 'class' contains one class only (a)"),
        ("x,z,class\n" + ROWS.replace("0,0,a", "0,0,c"), "class 'c' has too few rows (1)"),
        ('x,z,class\n1,"2,a\n' + ROWS, "cannot be read as a table"),
    ],
)
def test_unsuitable_csv_files_are_refused_in_one_sentence(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = text(tmp_path, content)
    with pytest.raises(DataError) as caught:
        load(config(path, exclude=[]), "float32")
    assert problem.replace("{file}", str(path)).replace("\t", "\\t") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK\x03\x04excel", "an Excel or zip file: save the table as CSV"),
        (b"\xd0\xcf\x11\xe0excel", "an Excel file"),
        (b"\x1f\x8bgz", "compressed: unpack it"),
        (b"PAR1 but no more", "cannot be read as a table"),
        ("x,class\nü,a\n".encode("latin-1"), "cannot be read as a table ('utf-8' codec can't"),
        (b"\0\1\2\3" * 100, "not a text file"),
    ],
)
def test_files_of_other_formats_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "own.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(config(tmp_path / "own.csv"), "float32")
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (pd.date_range("2020-01-01", periods=N), "values of type Timestamp"),
        ([[1, 2]] * N, "values of type ndarray"),
        ([b"x"] * N, "values of type bytes"),
        (np.arange(N) + 1j, "complex|type"),
    ],
)
def test_columns_that_are_no_features_are_refused(
    tmp_path: Path, values: Any, problem: str
) -> None:
    frame = FRAME.assign(extra=pd.Series(values))
    try:
        frame.to_parquet(tmp_path / "own.parquet")
    except Exception:
        pytest.skip("Parquet cannot store this type")
    with pytest.raises(DataError, match=problem):
        load(config(tmp_path / "own.parquet"), "float32")
