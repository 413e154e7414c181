"""Columns of a table become numbers: text is one-hot encoded, and missing values are imputed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import DataError

MISSING = "missing"  # the category of a text that is missing
MAX_CATEGORIES = 1000
FEW = 20  # a text column with at most so many values is never taken for an identifier
TEXT_LENGTH = 500  # of a parameter of a run


@dataclass(frozen=True)
class Column:
    """A column of the table, and how it is encoded."""

    name: str
    fill: float = 0.0  # replaces a missing number: the median of the training rows
    categories: tuple[str, ...] | None = None  # of a text column, in order; None: it has numbers
    imputed: bool = False  # whether a training row has no value


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """How rows of a table become rows of numbers. It is fitted on the training rows."""

    columns: tuple[Column, ...]
    examples: pd.DataFrame  # some rows, with the original columns

    @staticmethod
    def fit(train: pd.DataFrame, examples: pd.DataFrame) -> TableEncoder:
        """Choose the categories and the imputed values from the training rows.

        Raises:
            DataError: a column can be neither a number nor a category.
        """
        columns = tuple(_fit_column(str(name), train[name]) for name in train.columns)
        return TableEncoder(columns, examples)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the encoded columns (D,): the column, or column=category."""
        names: list[str] = []
        for column in self.columns:
            texts = column.categories
            names += [column.name] if texts is None else [f"{column.name}={t}" for t in texts]
        return tuple(names)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the original column of each encoded column (D,)."""
        return tuple(
            column.name
            for column in self.columns
            for _ in range(1 if column.categories is None else len(column.categories))
        )

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return rows of numbers (n, D). A category that is unknown gets zeros only."""
        parts = []
        for column in self.columns:
            if column.categories is None:
                numbers = frame[column.name].astype(np.float64).fillna(column.fill)
                parts.append(numbers.to_numpy()[:, None])
            else:
                texts = as_text(frame[column.name]).to_numpy(dtype=object)
                parts.append(texts[:, None] == np.array(column.categories, object))
        return np.concatenate(parts, axis=1).astype(np.float64)

    def to_json(self) -> str:
        """Return the columns as JSON, which `pipeline.serving.champion` reads."""
        return json.dumps(
            [
                {"name": column.name, "fill": column.fill}
                if column.categories is None
                else {"name": column.name, "categories": column.categories}
                for column in self.columns
            ]
        )

    def choices(self) -> dict[str, str]:
        """Return the choices of the encoding, as parameters of a run."""
        numeric = [column for column in self.columns if column.categories is None]
        counts = f"{len(numeric)} numeric, {len(self.columns) - len(numeric)} text (one-hot)"
        filled = [
            f"{column.name}={column.fill:g} (median)"
            if column.categories is None
            else f"{column.name}={MISSING}"
            for column in self.columns
            if column.imputed
        ]
        text = ", ".join(filled) or "none"
        short = text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]}…"
        return {"data.columns": counts, "data.imputed": short}


def as_text(values: pd.Series) -> pd.Series:
    """Return the values as text, and `MISSING` for each missing value."""
    return values.astype(object).where(values.notna(), MISSING).map(str)


def _fit_column(name: str, values: pd.Series) -> Column:
    missing = bool(values.isna().any())
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        if pd.api.types.is_complex_dtype(values):
            raise DataError(f"column {name!r} has complex numbers: exclude it with data.exclude")
        numbers = values.astype(np.float64)
        if numbers.isna().all():
            raise DataError(
                f"column {name!r} has no value in the training rows: exclude it with data.exclude"
            )
        return Column(name, fill=float(numbers.median()), imputed=missing)
    kinds = {type(value) for value in values[values.notna()]}
    if not kinds <= {str, bool, int, float}:
        raise DataError(
            f"column {name!r} contains values of type {_names(kinds)}: convert them to numbers or "
            "text, or exclude the column with data.exclude"
        )
    texts = np.unique(as_text(values).to_numpy(dtype=object).astype(str))
    if len(texts) > MAX_CATEGORIES or (len(texts) > FEW and 2 * len(texts) > len(values)):
        raise DataError(
            f"text column {name!r} has {len(texts)} distinct values in {len(values)} training "
            "rows, too many for one-hot encoding: exclude it with data.exclude, or convert it to "
            "numbers"
        )
    return Column(name, categories=tuple(map(str, texts)), imputed=missing)


def _names(kinds: Sequence[type] | set[type]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))
