"""Expressions over the values of a job, such as ``hidden_size * num_epochs <= 20000``.

An expression is parsed by Python's `ast` module and computed by this one. It can contain numbers,
texts, names of values, arithmetic, comparisons, ``and``, ``or``, ``not``, ``in`` and the functions
of `FUNCTIONS`. Everything else is refused, so that an expression of a shared file is harmless.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import ConfigError

MAX_LENGTH = 500  # characters
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "log": math.log,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
BOOLEANS: Mapping[str, bool] = {"true": True, "false": False}
OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: float(base) ** exponent,  # of whole numbers, it could be huge
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}


@dataclass(frozen=True)
class Expression:
    """An expression that has been parsed.

    Raises:
        ConfigError: the text is no expression, or contains something that is not allowed.
    """

    text: str
    key: str  # that holds it, for messages

    def __post_init__(self) -> None:
        for node in ast.walk(self._tree):
            if not isinstance(node, ALLOWED):
                raise self._error(f"{_source(node)} is not allowed")
            if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
                raise self._error(f"{_source(node)} is neither a number nor a text")
            if isinstance(node, ast.Call) and not (
                isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords
            ):
                raise self._error(f"the functions are {', '.join(FUNCTIONS)}, not {_source(node)}")

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value of the expression for the values of a job.

        Raises:
            ConfigError: a name is unknown, or the expression does not fit the values.
        """
        try:
            return self._value(self._tree.body, values)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise self._error(str(error)) from None

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether the expression is true for the values of a job.

        Raises:
            ConfigError: as in `evaluate`, or the expression is neither true nor false.
        """
        value = self.evaluate(values)
        if not isinstance(value, bool):
            raise self._error(f"it is {value!r}, and neither true nor false: write a comparison")
        return value

    @cached_property
    def _tree(self) -> ast.Expression:
        if len(self.text) > MAX_LENGTH:
            raise self._error(f"it has more than {MAX_LENGTH} characters")
        try:
            return ast.parse(self.text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "msg", None) or type(error).__name__
            raise self._error(reason) from None

    def _value(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name() | ast.Attribute():
                return self._look_up(node, values)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return [self._value(part, values) for part in parts]
            case ast.UnaryOp(op=op, operand=operand):
                return OPERATORS[type(op)](self._value(operand, values))
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, self._value(left, values), self._value(right, values))
            case ast.BoolOp(op=op, values=parts):
                wanted = isinstance(op, ast.And)
                results = (bool(self._value(part, values)) for part in parts)
                return all(results) if wanted else any(results)
            case ast.Compare(left=left, ops=ops, comparators=parts):
                terms = [self._value(term, values) for term in (left, *parts)]
                pairs = zip(ops, terms, terms[1:], strict=False)
                return all(bool(OPERATORS[type(op)](a, b)) for op, a, b in pairs)
            case ast.Call(func=ast.Name(id=name), args=args):
                return FUNCTIONS[name](*[self._value(arg, values) for arg in args])
        raise self._error(f"{_source(node)} is not allowed")

    def _arithmetic(self, op: ast.operator, left: Any, right: Any) -> Any:
        for term in (left, right):
            if not isinstance(term, int | float):  # a text times a number could be huge
                raise self._error(f"{term!r} is no number")
        return OPERATORS[type(op)](left, right)

    def _look_up(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        name = _source(node)
        if name in BOOLEANS:
            return BOOLEANS[name]
        found: Any = values
        for part in name.split("."):
            if not isinstance(found, Mapping) or part not in found:
                known = ", ".join(str(key) for key in values if key != "hydra")
                raise self._error(f"{name} is no value of a job; the values are {known}")
            found = found[part]
        return found

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(f"{self.key}={self.text!r} cannot be computed: {reason}")


ALLOWED = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Attribute, ast.Load, ast.Tuple, ast.List),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Call),
    *OPERATORS,
)


def _source(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except (AttributeError, ValueError, RecursionError):
        return type(node).__name__
