"""The model card names how a model was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.serving.card import training_method
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "plain mini-batch SGD"),
        ({"momentum": 0.9}, "mini-batch SGD with momentum 0.9"),
        ({"dropout": 0.25}, "mini-batch SGD with dropout 0.25"),
        (
            {"momentum": 0.9, "dropout": 0.5, "flip": True},
            "mini-batch SGD with momentum 0.9, dropout 0.5 and randomly mirrored images",
        ),
    ],
)
def test_card_states_momentum_dropout_and_flip(values: dict[str, Any], expected: str) -> None:
    assert training_method(replace(SMALL, **values)) == expected
