"""Search spaces: Optuna's distributions by the key of the value that they give."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    Space = dict[str, BaseDistribution]


def exact(value: Any, distribution: BaseDistribution) -> Any:
    """The value of a trial without the rounding error of low + i · step: 0.3 for 0.1 + 2 · 0.1."""
    from optuna.distributions import FloatDistribution

    if not isinstance(distribution, FloatDistribution) or not distribution.step:
        return value
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))
    return float(low + round((value - distribution.low) / distribution.step) * step)


def exact_values(values: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """The values of a trial, each without its rounding error."""
    return {key: exact(value, space[key]) for key, value in values.items()}


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """The values of a trial as overrides of the command line; a float keeps all of its digits."""
    return [f"{key}={value}" for key, value in values.items()]


def bounds(space: Mapping[str, BaseDistribution]) -> dict[str, dict[str, Any]]:
    """The ends and the scale of each interval, for the report; nothing for other spaces."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, dict[str, Any]] = {}
    for key, values in space.items():
        found[key] = {}
        if isinstance(values, CategoricalDistribution):
            continue
        assert isinstance(values, FloatDistribution | IntDistribution)
        if values.step in (None, 1):
            found[key] = {"low": values.low, "high": values.high, "log": values.log}
    return found


def extremes(distribution: BaseDistribution) -> list[Any]:
    """The choices of a list; the lowest and the highest value of an interval or range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [distribution.low, distribution.high]


def levels(space: Mapping[str, BaseDistribution]) -> dict[str, list[Any]]:
    """All values of each choice and range, for a grid.

    Raises:
        ConfigError: an interval has no such list.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, list[Any]] = {}
    for key, values in space.items():
        if isinstance(values, CategoricalDistribution):
            found[key] = list(values.choices)
        elif isinstance(values, IntDistribution) and not values.log:
            found[key] = list(range(values.low, values.high + 1, values.step))
        elif isinstance(values, FloatDistribution) and values.step:
            count = round((values.high - values.low) / values.step)
            numbers = (values.low + i * values.step for i in range(count + 1))
            found[key] = [exact(number, values) for number in numbers]
        else:
            raise ConfigError(
                f"hydra.sweeper.sampler=grid cannot try all values of an interval: give {key} a "
                "list or a range(…)"
            )
    return found
