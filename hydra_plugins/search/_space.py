"""Hydra's sweep syntax → search spaces of Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep, Transformer

from pipeline.errors import ConfigError
from pipeline.ranges import Range, expanded, plain, read_range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from pipeline.search.space import Space

MAX_VALUES = 1_000_000  # of a range


def split(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """The search space, and the overrides that are the same for all trials.

    If a key is given more than once, the last override counts.

    Raises:
        ConfigError: a space cannot be searched, or there is none.
    """
    given = {override.get_key_element().lstrip("+"): override for override in overrides}
    ranges = {key: read_range(override) for key, override in given.items()}
    last = dict(zip(given, expanded(list(given.values())), strict=True))
    space = {
        override.get_key_element(): _distribution(override, ranges[key])
        for key, override in last.items()
        if override.is_sweep_override()
    }
    if not space:
        raise ConfigError(
            "hydra/sweeper=optuna has nothing to search: give it a space, as "
            "'learning_rate=tag(log, interval(0.01, 1))' or hidden_size=32,64"
        )
    fixed = [str(o.input_line) for o in last.values() if not o.is_sweep_override()]
    return space, fixed


def _distribution(override: Override, inclusive: Range | None) -> BaseDistribution:
    """The distribution of a swept value.

    Args:
        override: of the value. The `range(…)` of Hydra's grammar does not hold its end.
        inclusive: the range START:STOP:STEP that the user wrote; None: something else.
    """
    from optuna.distributions import CategoricalDistribution

    swept: Any = override.value()
    key, text = override.get_key_element(), override.input_line
    if inclusive is not None:
        ends = sorted([inclusive.values()[0], inclusive.values()[-1]])
        return _numbers(key, text, ends[0], ends[1], abs(plain(inclusive.step)), log=False)
    log = isinstance(swept, Sweep) and "log" in swept.tags
    if isinstance(swept, Sweep) and swept.tags - {"log"}:
        unknown = ", ".join(sorted(swept.tags - {"log"}))
        raise ConfigError(f"{text}: the only tag that is known is log, not {unknown}")
    if isinstance(swept, IntervalSweep):
        assert swept.start is not None and swept.end is not None
        return _numbers(key, text, swept.start, swept.end, None, log)
    if isinstance(swept, RangeSweep):
        assert swept.start is not None and swept.stop is not None
        if swept.step and abs((swept.stop - swept.start) / swept.step) > MAX_VALUES:
            raise ConfigError(f"{text}: a range of over a million values: use an interval")
        values = sorted(swept.range()) if swept.step else []
        if not values:
            raise ConfigError(f"{text}: this range holds no value")
        return _numbers(key, text, values[0], values[-1], abs(swept.step), log)
    if log:
        raise ConfigError(f"{text}: only an interval or a range can have the tag log")
    choices = [_plain(value) for value in override.sweep_iterator()]
    return CategoricalDistribution(list(dict.fromkeys(choices)))


def _numbers(
    key: str, text: str | None, low: float, high: float, step: float | None, log: bool
) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{text}: the ends of an interval are finite numbers")
    if step is None and low >= high:
        raise ConfigError(f"{text}: an interval goes from a smaller to a larger number")
    if log and low <= 0:
        raise ConfigError(f"{text}: on a log scale {key} must begin above 0")
    if log and step is not None:
        raise ConfigError(f"{text}: a range has no log scale: use an interval")
    if all(isinstance(value, int) for value in (low, high, step or 1)):
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _plain(value: Any) -> Any:
    """A number as it is; all else as the text of an override."""
    return value if isinstance(value, bool | int | float) else Transformer.str(value)
