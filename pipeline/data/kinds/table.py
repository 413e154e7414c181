"""A table in a CSV or Parquet file: one column is the target, the others are features."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from pipeline.config import DataConfig
from pipeline.data.arrays import TEST, TRAIN, VAL, assign_rows, describe_choices, parse_target
from pipeline.data.encoding import TableEncoder, as_text
from pipeline.data.files import own_file
from pipeline.data.raw import RawDataset, Rows, Split, no_test_split
from pipeline.errors import DataError

EXAMPLES = 2  # rows that the registered model shows
LISTED = 12  # columns that a message lists
# The first bytes of files that are no text.
FORMATS = {
    b"PK\x03\x04": "an Excel or zip file: save the table as CSV or Parquet",
    b"\xd0\xcf\x11\xe0": "an Excel file: save the table as CSV or Parquet",
    b"\x1f\x8b": "compressed: unpack it",
}


def read(config: DataConfig) -> RawDataset:
    """Read the table, split its rows, and encode its columns.

    Raises:
        DataError: the file is no table, or its columns are not suitable.
    """
    path = own_file(config, "a .csv or .parquet file")
    frame = read_frame(path, config.separator)
    return split_frame(frame, config, str(path))


def split_frame(frame: pd.DataFrame, config: DataConfig, source: str) -> RawDataset:
    """Split the rows of a table, and encode its columns.

    Args:
        frame: the table.
        config: the group `data`.
        source: of the table, for messages.

    Raises:
        DataError: the columns are not suitable.
    """
    where = f"{source} ({_listed(frame)})"
    if config.target is None:
        raise DataError(
            f"data={config.kind} needs the column of the labels: set data.target to a column of "
            f"{where}"
        )
    if config.scaling == "pixels":
        raise DataError("data.scaling=pixels is for images: use data.scaling=standard for a table")
    for key, name in (("target", config.target), ("group", config.group)):
        if name is not None and name not in frame:
            raise DataError(f"data.{key}={name} is not a column of {where}: choose one of these")
    if unknown := [name for name in config.exclude if name not in frame]:
        raise DataError(
            f"data.exclude names {', '.join(unknown)}, not a column of {where}: remove it"
        )
    names = {config.target, config.group, *config.exclude}
    features = frame[[name for name in frame.columns if name not in names]]
    if not len(features.columns):
        raise DataError(f"{where} has no feature column: add features")
    target = parse_target(_labels(frame[config.target]), f"column {config.target!r}")
    groups = (
        as_text(frame[config.group]).to_numpy(dtype=object).astype(str) if config.group else None
    )
    part = assign_rows(target, config, groups)
    encoder = TableEncoder.fit(features[part == TRAIN], features[part == VAL].head(EXAMPLES))
    _check_memory(len(frame), len(encoder.features))
    rows = Split(Rows.of(encoder.encode(features)), target.labels)
    test = rows.select(part == TEST)
    return RawDataset(
        classes=target.classes,
        train=rows.select(part == TRAIN),
        val=rows.select(part == VAL),
        read_test=lambda: test if len(test.labels) else no_test_split(),
        scaling=config.scaling,
        features=encoder.features,
        encoder=encoder,
        choices=describe_choices(config, True, True) | encoder.choices(),
    )


def read_frame(path: Path, separator: str) -> pd.DataFrame:
    """Read a CSV or Parquet file, recognised by its content.

    Raises:
        DataError: the file is damaged, of another format, or has no proper header.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    for magic, remedy in FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"{path} is {remedy}")
    is_parquet = start.startswith(b"PAR1")
    if b"\0" in start and not is_parquet:
        raise DataError(f"{path} is not a text file: save the table as CSV in UTF-8 or as Parquet")
    try:
        frame = _read_parquet(path) if is_parquet else _read_csv(path, separator)
    except DataError:
        raise
    except Exception as error:  # pandas and pyarrow raise many types for damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} cannot be read as a table ({reason}): write it again as CSV in UTF-8 or as "
            "Parquet, and set data.separator to its delimiter"
        ) from error
    if not len(frame):
        raise DataError(f"{path} has no rows: write a header line and one line per row")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path).reset_index(drop=True)
    frame.columns = frame.columns.map(str)
    _check_names(path, list(frame.columns))
    return frame


def _read_csv(path: Path, separator: str) -> pd.DataFrame:
    header = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, compression=None)
    names = ["" if pd.isna(name) else str(name) for name in header.iloc[0]]
    if len(names) == 1:
        other = next((c for c in ";\t|," if c in names[0] and c != separator), None)
        if other is not None:
            raise DataError(
                f"{path} has one column {names[0]!r} when it is split at {separator!r}: set "
                f'data.separator="{other}"'
            )
    _check_names(path, names)
    with warnings.catch_warnings():
        # Lines that are longer than the header would be cut, with a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(path, sep=separator, index_col=False, compression=None, low_memory=False)


def _check_names(path: Path, names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise DataError(
                f"column {number} of {path} has no name: name it in the header, or write the "
                "table without its index"
            )
        if name in names[: number - 1]:
            first = names.index(name) + 1
            raise DataError(
                f"columns {first} and {number} of {path} are both named {name!r}: rename one"
            )


def _labels(values: pd.Series) -> np.ndarray:
    """Return the target (N,) as numbers or text; the message for a missing label names its row."""
    missing = np.flatnonzero(values.isna())
    if len(missing):
        raise DataError(
            f"column {values.name!r} has no label in row {missing[0]} (counted from 0): add the "
            "label or remove the row"
        )
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.to_numpy()
    return as_text(values).to_numpy(dtype=object)


def _check_memory(rows: int, columns: int) -> None:
    need, free = rows * columns * 8, psutil.virtual_memory().available
    if need > free:
        raise DataError(
            f"the encoded table of {rows:,} × {columns:,} numbers needs {need / 1e9:.3g} GB, more "
            "than the free memory: exclude text columns with many values (data.exclude)"
        )


def _listed(frame: pd.DataFrame) -> str:
    names = [str(name) for name in frame.columns]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"columns {', '.join(names[:LISTED])}{more}"
