"""Ctrl-C and SIGTERM: the first ends in good order what goes on, the second ends it at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked: list[int] = []  # the signals that have come and were not answered yet
_held: list[int] = []  # of these, what has yet to take effect
_depth = 0  # how many `defer_signals` the main thread is in
_unwanted: list[Callable[[], bool]] = []  # asked besides


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM; the number of the signal is its argument."""


def listen() -> None:
    """Raise `Stopped` wherever the program is when the first signal comes."""
    for number in SIGNALS:
        signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let what the main thread has in hand end before Ctrl-C or SIGTERM take effect.

    To block the signals would not do: the system then hands them to any thread that does not block
    them, as those of BLAS, and Python still raises in the main thread.
    """
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never raise here
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _held and not _depth:
            raise Stopped(_held.pop())


@contextmanager
def block_signals() -> Iterator[None]:
    """Let the processes that start here ignore Ctrl-C and SIGTERM, which often reach a group."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check() -> None:
    """Raise `Stopped` if a signal has come whose exception a library has swallowed."""
    if _asked:
        raise Stopped(_asked[0])
    if any(unwanted() for unwanted in _unwanted):
        raise Stopped(signal.SIGTERM)


@contextmanager
def when(unwanted: Callable[[], bool]) -> Iterator[None]:
    """Let `check` stop what goes on also when nobody wants its result any more."""
    _unwanted.append(unwanted)
    try:
        yield
    finally:
        _unwanted.remove(unwanted)


@contextmanager
def reraise_pending_signal() -> Iterator[None]:
    """Raise `Stopped` where a library has made another error of it, as an import may."""
    try:
        yield
    except Exception:
        check()
        raise


def answer() -> None:
    """The signal has done what it should."""
    _asked.clear()


def restore_handlers() -> None:
    """Let a signal end the program at once: there is nothing left to put in order."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _unraisable(error: sys.UnraisableHookArgs) -> None:
    """Say nothing of a signal that came where nothing can be raised: `check` will see it."""
    if not isinstance(error.exc_value, Stopped):
        sys.__unraisablehook__(error)


def _stop(number: int, _: Any) -> None:
    restore_handlers()
    _asked.append(number)
    if _depth:
        _held.append(number)
    else:
        raise Stopped(number)
