"""Errors of MLflow as sentences, and retries while a sqlite store is locked."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import PipelineError
from pipeline.shutdown import defer_signals
from pipeline.uris import redact

LOCK_SECONDS = 60  # of retries while another program has locked a sqlite store


class TrackingError(PipelineError):
    """The store cannot be reached, or does not hold the requested item."""

    def __init__(self, sentence: str) -> None:
        """Keep the sentence without the passwords of its URIs."""
        super().__init__(redact(sentence))


# A database other than sqlite raises ImportError if its driver is not installed.
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)


class HasUri(Protocol):
    """An object that talks to a store."""

    uri: str


S = TypeVar("S", bound=HasUri)
P = ParamSpec("P")
T = TypeVar("T")
Function = Callable[Concatenate[S, P], T]


def translate_errors(task: str) -> Callable[[Function[S, P, T]], Function[S, P, T]]:
    """Decorate a function that talks to the store which is its first argument.

    The function is called again while the store is locked, for up to `LOCK_SECONDS`. Every other
    error of MLflow becomes a `TrackingError`. A signal that arrives during the call is handled
    after it.

    Args:
        task: completes the sentence "could not …" in the error message.
    """

    def decorate(function: Function[S, P, T]) -> Function[S, P, T]:
        @functools.wraps(function)
        def wrapped(store: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            until = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    with defer_signals():
                        return function(store, *args, **kwargs)
                except STORE_ERRORS as error:
                    cause = reason(error)
                    if "database is locked" in cause and time.monotonic() < until:
                        continue  # sqlite itself has waited for some seconds
                    raise TrackingError(
                        f"could not {task} in the MLflow store at {store.uri} ({cause}): "
                        "fix the store, then rerun the same command"
                    ) from error

        return wrapped

    return decorate


def reason(error: BaseException) -> str:
    """The first line of the original error in a chain; later ones repeat it in more words."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
