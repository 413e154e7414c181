"""The input of a served model: JSON from a client becomes an array or a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOT_NUMBERS = "inputs must be nested lists of numbers only"
FORMS = ("dataframe_records", "dataframe_split")  # of a table, as in MLflow's servers
MAX_ITEMS = 1000  # images or rows that fit into one body
MIN_BYTES, MAX_BYTES = 1 << 18, 1 << 22  # Python needs up to 25 times the memory of a JSON text
PIXEL_BYTES, FLOAT_BYTES, TEXT_BYTES = 8, 26, 60  # of JSON per value
MAX_CELLS = 10_000_000  # of a table in one request


class BadRequestError(Exception):
    """One sentence about a wrong request."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        """Keep the sentence and the HTTP status of the answer."""
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class InputSpec:
    """The input that a model takes: a table with columns, or an array (n, *shape)."""

    shape: tuple[int, ...] = ()  # of one item
    largest: int | None = None  # pixel value; None: any number
    columns: tuple[str, ...] = ()  # of a table; (): the input is an array

    @property
    def max_bytes(self) -> int:
        """The limit of a body: `MAX_ITEMS` items, but no more than `MAX_BYTES` and at least one."""
        if self.columns:
            item = sum(len(name) + TEXT_BYTES for name in self.columns)
        else:
            item = math.prod(self.shape) * (FLOAT_BYTES if self.largest is None else PIXEL_BYTES)
        return max(MIN_BYTES, item * max(1, min(MAX_ITEMS, MAX_BYTES // max(1, item))))

    def describe(self) -> dict[str, Any]:
        """Describe the input for GET /."""
        if self.columns:
            return {"columns": list(self.columns)}
        bounds = {} if self.largest is None else {"from": 0, "to": self.largest}
        return {"shape": ["n", *self.shape], **bounds}

    @property
    def example(self) -> str:
        """The form of a request."""
        return '{"dataframe_records": [{column: value, …}, …]}' if self.columns else '{"inputs": …}'

    def parse(self, body: bytes) -> NDArray[Any] | pd.DataFrame:
        """Parse the body of a request.

        Raises:
            BadRequestError: it is not such an input.
        """
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            reason = str(error).partition(";")[0]
            raise BadRequestError(f"the request is not JSON ({reason})") from None
        keys = set(FORMS) if self.columns else {"inputs"}
        if not isinstance(request, dict) or len(request) != 1 or not set(request) <= keys:
            raise BadRequestError(f"the request must be {self.example}, with no other key")
        ((key, value),) = request.items()
        if self.columns:
            return self._table(key, value)
        if b"true" in body or b"false" in body:  # NumPy would convert them to 1 and 0
            raise BadRequestError(NOT_NUMBERS)
        return self._array(value)

    def _array(self, inputs: Any) -> NDArray[Any]:
        try:
            values = np.array(inputs)
        except (ValueError, OverflowError, RecursionError) as error:
            reason = str(error).partition(".")[0]
            raise BadRequestError(
                f"inputs must be numbers in equally long lists ({reason})"
            ) from None
        if values.dtype.kind not in "iuf":
            raise BadRequestError(NOT_NUMBERS)
        if values.shape == self.shape:
            values = values[None]
        if values.shape[1:] != self.shape or not len(values):
            wanted = ", ".join(map(str, self.shape))
            raise BadRequestError(
                f"inputs have the shape {values.shape}: send one item ({wanted}) or several "
                f"(n, {wanted})"
            )
        if not np.isfinite(values).all():
            raise BadRequestError("inputs contain NaN or infinity: send finite numbers")
        if self.largest is None:
            return values.astype(np.float64)
        if (values < 0).any() or (values > self.largest).any() or (values % 1 != 0).any():
            raise BadRequestError(
                f"inputs must be raw pixels, whole numbers from 0 to {self.largest}, but range "
                f"from {values.min()} to {values.max()}"
            )
        return values.astype(np.uint8)

    def _table(self, form: str, value: Any) -> pd.DataFrame:
        if form == "dataframe_split":
            if not isinstance(value, Mapping) or not {"columns", "data"} <= set(value):
                raise BadRequestError("dataframe_split must have the keys columns and data")
            names, rows = value["columns"], value["data"]
            if not isinstance(names, list) or not _is_list_of(rows, list):
                raise BadRequestError("columns must be a list of names, and data a list of rows")
            if any(len(row) != len(names) for row in rows):
                raise BadRequestError(f"each row of data must have {len(names)} values")
            rows = [dict(zip(map(str, names), row, strict=True)) for row in rows]
        elif _is_list_of(value, dict):
            rows = value
        else:
            raise BadRequestError(f"the request must be {self.example}")
        if not rows or len(rows) * len(self.columns) > MAX_CELLS:
            most = MAX_CELLS // len(self.columns)
            raise BadRequestError(f"send at least 1 and at most {most:,} rows at once")
        if missing := [name for name in self.columns if any(name not in row for row in rows)]:
            raise BadRequestError(
                f"column {missing[0]!r} is missing in a row: send null for a missing value"
            )
        for row in rows:
            for name in self.columns:
                if not isinstance(row[name], str | int | float | None):
                    raise BadRequestError(f"column {name!r} must contain text, numbers or null")
        return pd.DataFrame({name: [row[name] for row in rows] for name in self.columns})


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)
