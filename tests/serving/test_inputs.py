"""The input of a served model, parsed from JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pipeline.serving.inputs import BadRequestError, InputSpec

PIXELS = InputSpec((2, 1), largest=16)
NUMBERS = InputSpec((2,))
TABLE = InputSpec(columns=("age", "port", "fare"))


def parse(spec: InputSpec, **request: Any) -> Any:
    return spec.parse(json.dumps(request).encode())


def test_one_item_and_several_items_become_an_array() -> None:
    pixels = parse(PIXELS, inputs=[[0], [16]])
    assert (pixels.shape, pixels.dtype, pixels.tolist()) == ((1, 2, 1), np.uint8, [[[0], [16]]])
    numbers = parse(NUMBERS, inputs=[[1, -2.5], [1e9, 0]])
    assert (numbers.dtype, numbers.tolist()) == (np.float64, [[1, -2.5], [1e9, 0]])
    table = parse(TABLE, dataframe_records=[{"age": 3, "port": None, "fare": 1.5, "other": 0}])
    assert table.to_dict("records") == [{"age": 3, "port": None, "fare": 1.5}]
    split = {"columns": ["fare", "port", "age"], "data": [[1.5, "Cork", 3]]}
    table = parse(TABLE, dataframe_split=split)
    assert table.to_dict("records") == [{"age": 3, "port": "Cork", "fare": 1.5}]


@pytest.mark.parametrize(
    ("spec", "request_", "problem"),
    [
        (PIXELS, {"inputs": [[0], [-1]]}, "whole numbers from 0 to 16, but range from -1 to 0"),
        (PIXELS, {"inputs": [[0], [17]]}, "whole numbers from 0 to 16, but range from 0 to 17"),
        (PIXELS, {"inputs": [[0], [0.5]]}, "whole numbers from 0 to 16, but range from 0.0 to 0.5"),
        (PIXELS, {"inputs": [[0], [1, 2]]}, "equally long lists"),
        (PIXELS, {"inputs": []}, "send one item"),
        (NUMBERS, {"inputs": [1, 10**400]}, "nested lists of numbers only"),
        (TABLE, {"dataframe_split": {"columns": ["age"]}}, "must have the keys columns and data"),
        (TABLE, {"dataframe_split": [1]}, "must have the keys columns and data"),
        (TABLE, {"dataframe_records": [{"age": 3}]}, "column 'port' is missing in a row"),
    ],
)
def test_wrong_input_is_a_bad_request(spec: InputSpec, request_: Any, problem: str) -> None:
    with pytest.raises(BadRequestError, match=problem) as caught:
        parse(spec, **request_)
    assert caught.value.status == 400


def test_body_that_is_no_json_is_a_bad_request() -> None:
    for body in (b"", b"nonsense", b"\xff", b"[" * 100_000):
        with pytest.raises(BadRequestError, match="the request is not JSON"):
            PIXELS.parse(body)
