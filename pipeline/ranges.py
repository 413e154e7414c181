"""Ranges and SI suffixes for the numbers of a sweep, in the notation of HydraFlow.

    hidden_size=64:256:64        64, 128, 192, 256
    learning_rate=0.1:0.3:0.1    0.1, 0.2, 0.3
    learning_rate=1:3:m,0.5      0.001, 0.002, 0.003, 0.5
    num_epochs=1k                1000

A range is START:STOP or START:STOP:STEP. It includes STOP if a step leads there. Decimal arithmetic
gives exactly the numbers that a list would contain, so their jobs reuse each other's runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Transformer

from pipeline.errors import ConfigError
from pipeline.hyperparameters import HYPERPARAMETERS

SUFFIXES = {"T": 12, "G": 9, "M": 6, "k": 3, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
NUMBER = re.compile(rf"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{{1,3}})?)([{''.join(SUFFIXES)}]?)")
MAX_VALUES = 1_000_000  # of a range
FORM = "write START:STOP or START:STOP:STEP, as 64:256:64"


@dataclass(frozen=True)
class Range:
    """Numbers with equal distances, at least one."""

    start: Decimal
    step: Decimal  # not 0
    count: int

    def values(self) -> list[int | float]:
        """The numbers in their order."""
        return [plain(self.start + i * self.step) for i in range(self.count)]


def expanded(overrides: Sequence[Override]) -> list[Override]:
    """Overrides with the numbers in place of ranges and suffixes.

    Raises:
        ConfigError: a range is malformed or holds no value.
    """
    return [_expand(override) for override in overrides]


def read_range(override: Override) -> Range | None:
    """The range of an override; None: its value is not one range of several numbers.

    Raises:
        ConfigError: the range is malformed or holds no value.
    """
    items = _items(override)
    found = _read(items[0], override) if len(items) == 1 else None
    return None if found is None or found.count == 1 else found


def plain(number: Decimal) -> int | float:
    """A number as Hydra reads it: whole numbers are int."""
    return int(number) if number == number.to_integral_value() else float(number)


def _expand(override: Override) -> Override:
    items = _items(override)
    found = [_read(item, override) for item in items]
    if not any(found):
        return override
    values = [
        value
        for item, numbers in zip(items, found, strict=True)
        for value in ([item] if numbers is None else numbers.values())
    ]
    texts = [Transformer.str(value) for value in values]
    line = f"{override.get_key_element()}={','.join(texts)}"
    return OverridesParser.create().parse_override(line)


def _items(override: Override) -> list[Any]:
    """The value of a hyperparameter that is a number, or the values of a list."""
    each = HYPERPARAMETERS.get(override.key_or_group)
    if each is None or each.type not in (int, float):
        return []
    value: Any = override.value()
    if isinstance(value, ChoiceSweep):
        return [] if value.shuffle or value.tags else list(value.list)
    return [value]


def _read(item: Any, override: Override) -> Range | None:
    """Read a range, or a number with a suffix; None: the item is something else."""
    if not isinstance(item, str) or "$" in item:  # an interpolation can contain a colon
        return None
    *parts, last = item.split(":")
    scale = SUFFIXES.get(last, 0) if parts else 0
    if not parts or last not in SUFFIXES:
        parts.append(last)
    numbers = [_number(part) for part in parts]
    if ":" not in item and numbers[0] is None:
        return None  # another text, such as he
    known = [number for number in numbers if number is not None]
    where = f"{override.input_line}: {item}"
    if len(known) < len(numbers) or len(known) > 3:
        raise ConfigError(f"{where} is no range of numbers: {FORM}")
    if len(known) == 2 and any(number != number.to_integral_value() for number in known):
        raise ConfigError(f"{where} has no step: write START:STOP:STEP, as 0.1:0.3:0.1")
    start, *others = (number.scaleb(scale) for number in known)
    stop = others[0] if others else start
    step = others[1] if len(others) > 1 else Decimal(1).scaleb(scale)
    if step == 0 or (stop - start) / step < 0:
        raise ConfigError(
            f"{where} holds no number: choose a step that leads from the first number to the "
            "second one, as in 64:256:64 or 256:64:-64"
        )
    count = int((stop - start) / step) + 1
    if count > MAX_VALUES:
        raise ConfigError(f"{where} has more than a million numbers: choose a larger step")
    return Range(start, step, count)


def _number(text: str) -> Decimal | None:
    """The number of a text, with or without a suffix; None: it is no number."""
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    return Decimal(match[1]).scaleb(SUFFIXES.get(match[2], 0))
