"""Ctrl-C and SIGTERM.

The first signal stops the command in an orderly way. The handler raises `Stopped` in the main
thread, which ends the training loop: the workers finish their current step and save checkpoints,
the runs end as KILLED, the report is written, and the command exits with 128 + the signal's number.
The first signal also restores the system's handlers, so a second signal ends the process at once.

A library can swallow the exception or replace it. Long loops therefore call `check`, which raises
`Stopped` as long as a signal is pending. Writes to the store run in `defer_signals`, which raises
`Stopped` only after the write. Worker processes ignore both signals (`block_signals`): a terminal
sends Ctrl-C to all processes of a group, and workers must stay alive to save their checkpoints.

These modules take part. `hydra_compat` and `callback` let `Stopped` pass through Hydra.
`execution.group` stops the backend: `execution.local` sets the stop flag of
`execution.shared_metrics`, which `execution.shard_trainer` reads in the processes of
`execution.workers`; on a cluster, `execution.dask.trainer` cancels its shards, which
stops `execution.dask.worker`. `execution.run` ends the runs, and `session` the sweep.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM. The number of the signal is the argument."""


@dataclass
class _State:
    """The signals of this process. There is one state, because handlers belong to a process."""

    pending: list[int] = field(default_factory=list)  # received and not yet acknowledged
    deferred: list[int] = field(
        default_factory=list
    )  # pending signals that wait for the main thread
    depth: int = 0  # nested `defer_signals` blocks of the main thread
    conditions: list[Callable[[], bool]] = field(default_factory=list)  # of `cancel_when`


_state = _State()


def install_handlers() -> None:
    """Let the first signal raise `Stopped` in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _handle)
    sys.unraisablehook = _ignore_stopped


def restore_handlers() -> None:
    """Let a signal end the process at once."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Finish the block before a signal takes effect; then raise `Stopped`.

    Blocking the signals in the main thread is not enough: the system delivers them to any other
    thread, for example one of BLAS, and Python still runs the handler in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs handlers in the main thread only
        return
    _state.depth += 1
    try:
        yield
    finally:
        _state.depth -= 1
        if _state.deferred and not _state.depth:
            raise Stopped(_state.deferred.pop())


@contextmanager
def block_signals() -> Iterator[None]:
    """Let processes that start in the block ignore Ctrl-C and SIGTERM."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check() -> None:
    """Raise `Stopped` if a signal is pending, or a condition of `cancel_when` is true."""
    if _state.pending:
        raise Stopped(_state.pending[0])
    if any(condition() for condition in _state.conditions):
        raise Stopped(signal.SIGTERM)


@contextmanager
def cancel_when(condition: Callable[[], bool]) -> Iterator[None]:
    """Let `check` raise `Stopped` in the block as soon as a condition is true."""
    _state.conditions.append(condition)
    try:
        yield
    finally:
        _state.conditions.remove(condition)


@contextmanager
def reraise_pending_signal() -> Iterator[None]:
    """Raise `Stopped` if a signal is pending and a library has turned it into another error."""
    try:
        yield
    except Exception:
        check()
        raise


def acknowledge() -> None:
    """Forget the pending signal, after the command has reacted to it."""
    _state.pending.clear()


def _ignore_stopped(error: sys.UnraisableHookArgs) -> None:
    """Print nothing if `Stopped` was raised in a destructor; `check` raises it again."""
    if not isinstance(error.exc_value, Stopped):
        sys.__unraisablehook__(error)


def _handle(number: int, _: Any) -> None:
    restore_handlers()
    _state.pending.append(number)
    if not _state.depth:
        raise Stopped(number)
    _state.deferred.append(number)
