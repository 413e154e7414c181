"""The model card names the training method, the input and the accuracy of a model."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import pytest

from pipeline.config import parse_job
from pipeline.data.kinds import read_raw
from pipeline.serving.card import card, training_method
from tests.conftest import DIGITS, SMALL, TRACKING


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
        (
            {"schedule": "cosine", "warmup_epochs": 2},
            "mini-batch SGD with a cosine learning rate schedule and 2 epochs of warm-up",
        ),
        (
            {"ema": 0.99, "mixup": 0.2},
            "mini-batch SGD with an exponential average of the weights (0.99) and mixup 0.2",
        ),
    ],
)
def test_card_states_the_training_method(values: dict[str, Any], expected: str) -> None:
    assert training_method(replace(SMALL, **values)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "images (n, 8, 8, 1) of raw pixels, whole numbers from 0 to 16"),
        ({"scaling": "standard"}, "numbers (n, 8, 8, 1)"),
        ({"image_shape": None}, "numbers (n, 64)"),
        ({"scaling": "standard", "image_shape": None}, "numbers (n, 64)"),
    ],
)
def test_card_states_the_input(changes: dict[str, Any], expected: str) -> None:
    assert f"- Input: {expected}. Output: " in card_of(changes, {})


def test_card_states_the_test_accuracy_if_it_was_measured() -> None:
    assert "test rows: not measured." in card_of({}, {})
    assert "test rows: 93.8 %." in card_of({}, {"test_acc": 0.9375})


def card_of(raw: dict[str, Any], run: dict[str, Any]) -> str:
    """The card of a model of the digits, with changes of the dataset and of the run."""
    values = {"num_train": 1078, "num_val": 359, "dataset_digest": "0", "best_val_acc": 0.9}
    job = parse_job({**asdict(SMALL), "data": asdict(DIGITS), "tracking": TRACKING})
    row = pd.Series({**values, "best_epoch": 2, "test_acc": float("nan"), **run}, dtype=object)
    return card(row, job, replace(read_raw(DIGITS), **raw))
