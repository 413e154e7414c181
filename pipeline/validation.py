"""Frozen configuration classes, checked by pydantic, with one sentence for each wrong value."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

import annotated_types
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from pipeline.errors import ConfigError

T = TypeVar("T")

# "1" is no number, 1 is not true, and NaN and infinity are refused.
STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")


def checked(cls: type[T]) -> type[T]:
    """Let a frozen dataclass check its values by its annotations when it is created.

    Creating one raises pydantic.ValidationError for a wrong value; `parse` turns that into a
    sentence.
    """
    return cast(type[T], pydantic_dataclass(cls, config=STRICT, frozen=True))


def parse(cls: type[T], values: Any, prefix: str = "") -> T:
    """Build a class that `checked` has decorated from a group of a composed configuration.

    Args:
        cls: the class of the group.
        values: the group.
        prefix: of its keys in messages, as "tracking.".

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{prefix.rstrip('.')} must be a group of values, not {values!r}: set "
            f"{' or '.join(prefix + name for name in known)}"
        )
    for key in values:
        if key not in known:
            raise ConfigError(unknown_key(key, known, prefix))
    for field in fields(cls):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values:
            raise ConfigError(
                f"{prefix}{field.name} is missing: set it with {prefix}{field.name}=…"
            )
    try:
        return cls(**values)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        sentence = f"{prefix}{key} must be {allowed(cls, key)}, not {values[key]!r}"
    raise ConfigError(sentence)


def unknown_key(key: str, known: Sequence[str], prefix: str = "") -> str:
    """A sentence about a key that does not exist, with the nearest one or with all of them."""
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key {prefix}{key}: did you mean {prefix}{near[0]}?"
    return f"unknown key {prefix}{key}: the keys are {', '.join(known)}"


def allowed(cls: type[Any], key: str) -> str:
    """The values that a field may have, as "a whole number of at least 1"."""
    return _in_words(annotation(cls, key))


def description(cls: type[Any], key: str) -> str:
    """The meaning of a field: the text that --help, the JSON Schema and conf/ show."""
    return next(
        info.description or "" for info in metadata(cls, key) if isinstance(info, FieldInfo)
    )


def annotation(cls: type[Any], key: str) -> Any:
    """The type of a field, with its metadata."""
    return _annotations(cls)[key]  # type: ignore[arg-type]  # a class is hashable


@cache
def _annotations(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def metadata(cls: type[Any], key: str) -> tuple[Any, ...]:
    """The metadata of a field."""
    return get_args(annotation(cls, key))[1:]


def _in_words(kind: Any, limits: Sequence[Any] = ()) -> str:
    if get_origin(kind) is Annotated:
        kind, *extras = get_args(kind)
        limits = [m for info in extras if isinstance(info, FieldInfo) for m in info.metadata]
        return _in_words(kind, limits)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_words(part, limits) for part in get_args(kind))
    return "null" if kind is NoneType else _bounded(kind, limits)


def _bounded(kind: Any, limits: Sequence[Any]) -> str:
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}" if others else last
    if kind is bool:
        return "true or false"
    if kind is str:
        empty = any(isinstance(limit, annotated_types.MinLen) for limit in limits)
        return "a text that is not empty" if empty else "a text"
    if kind in (int, float):
        number = "a whole number" if kind is int else "a finite number"
        return " ".join([number, " and ".join(map(_limit, limits))]).strip()
    if get_origin(kind) is Sequence and get_args(kind) == (int,):
        return "a list of whole numbers"
    return "a group of texts" if get_args(kind)[-1:] == (str,) else "a group of values"


def _limit(limit: Any) -> str:
    match limit:
        case annotated_types.Ge(ge=bound):
            return f"of at least {bound}"
        case annotated_types.Gt(gt=bound):
            return f"above {bound}"
        case annotated_types.Le(le=bound):
            return f"of at most {bound}"
        case annotated_types.Lt(lt=bound):
            return f"below {bound}"
    raise AssertionError(f"{limit} has no words yet")
