"""Ranges and SI suffixes: the numbers that they stand for, and malformed ones."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.errors import ConfigError
from pipeline.ranges import expanded


def values_of(text: str) -> list[Any]:
    """The values of an override after its ranges are expanded."""
    (override,) = expanded(OverridesParser.create().parse_overrides([text]))
    if override.is_sweep_override():
        return list(override.sweep_iterator())
    return [override.value()]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("hidden_size=64:256:64", [64, 128, 192, 256]),
        ("hidden_size=1:4", [1, 2, 3, 4]),
        ("hidden_size=1:10:4", [1, 5, 9]),  # no step leads to 10
        ("hidden_size=256:64:-64", [256, 192, 128, 64]),
        ("hidden_size=7:7", [7]),
        ("learning_rate=0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("learning_rate=1:2:0.5", [1, 1.5, 2]),
        ("learning_rate=1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]),
        ("seed=0:1,8", [0, 1, 8]),
        ("hidden_size=choice(1:3,8)", [1, 2, 3, 8]),
        ("weight_std=0.1:0.2:0.1,he", [0.1, 0.2, "he"]),
        ("num_epochs=1k", [1000]),
        ("hidden_size=1k:2k:500", [1000, 1500, 2000]),
        ("hidden_size=1:3:k", [1000, 2000, 3000]),
        ("learning_rate=10:30:10:m", [0.01, 0.02, 0.03]),
        ("l2_reg=1u,10u,0.5m", [1e-6, 1e-5, 5e-4]),
    ],
)
def test_notation_gives_exact_numbers(text: str, numbers: list[Any]) -> None:
    assert [(type(value), value) for value in values_of(text)] == [
        (type(number), number) for number in numbers
    ]


@pytest.mark.parametrize(
    "text",
    ["hidden_size=1,2", "weight_std=he", "dtype=float32", "data.name=1:3", "seed=${calc:1 + 2}"],
)
def test_other_values_stay_as_they_are(text: str) -> None:
    assert expanded(found := OverridesParser.create().parse_overrides([text])) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hidden_size=4:1", "4:1 holds no number: choose a step that leads from the first"),
        ("hidden_size=1:4:-1", "1:4:-1 holds no number"),
        ("hidden_size=1:4:0", "1:4:0 holds no number"),
        ("learning_rate=0.1:0.3", "0.1:0.3 has no step: write START:STOP:STEP"),
        ("hidden_size=1:2:3:4", "1:2:3:4 is no range of numbers: write START:STOP or"),
        ("hidden_size=1::2", "1::2 is no range of numbers"),
        ("hidden_size=8,few:many", "few:many is no range of numbers"),
        ("hidden_size=1:1e9", "1:1e9 has more than a million numbers: choose a larger step"),
    ],
)
def test_malformed_range_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        values_of(text)
    assert str(caught.value).startswith(f"{text}: ")
