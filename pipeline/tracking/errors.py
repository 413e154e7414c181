"""Calls to MLflow: patience with a locked store, and one sentence for whatever they raise."""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from pipeline.errors import PipelineError
from pipeline.shutdown import defer_signals

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # `translate_errors` says it

LOCK_SECONDS = 60  # how long another program may lock a sqlite store


class TrackingError(PipelineError):
    """The store cannot be reached, or does not hold what was asked for."""


# ImportError: of the driver of another kind of database.
STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)


class HasUri(Protocol):
    """What is asked of a store here."""

    uri: str


S = TypeVar("S", bound=HasUri)
P = ParamSpec("P")
T = TypeVar("T")


def translate_errors(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Wait for a locked store, and turn what else it may raise into one sentence."""

    @functools.wraps(method)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                with defer_signals():
                    return method(self, *args, **kwargs)
            except STORE_ERRORS as error:
                said = reason(error)
                if "database is locked" in said and time.monotonic() < until:
                    continue  # it has been waiting for seconds already
                task = method.__name__.replace("_", " ")
                raise TrackingError(
                    f"MLflow at {self.uri} failed to {task} ({said}): "
                    "mend it, then start the same command again"
                ) from error

    return wrapped


def reason(error: BaseException) -> str:
    """What the first of a chain of errors says: those wrapped around it say less in more words."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
