"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline import shutdown


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in shutdown.SIGNALS}
    shutdown.listen()
    yield
    shutdown.answer()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", shutdown.SIGNALS)
def test_a_signal_raises_where_the_program_is_and_the_next_one_ends_it(number: int) -> None:
    with pytest.raises(shutdown.Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.args == (number,)
    assert [signal.getsignal(each) for each in shutdown.SIGNALS] == [signal.SIG_DFL] * 2


def test_a_signal_that_is_swallowed_is_not_lost() -> None:
    shutdown.check()
    with suppress(BaseException):  # what a library may do
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(shutdown.Stopped):
        shutdown.check()
    shutdown.answer()
    shutdown.check()


def test_what_is_in_hand_ends_before_a_signal_takes_effect() -> None:
    done = []
    over = threading.Event()
    beside = threading.Thread(target=over.wait)  # the system may hand a signal to any thread
    beside.start()
    try:
        with pytest.raises(shutdown.Stopped) as stopped, shutdown.defer_signals():
            with shutdown.defer_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append(sum(range(1000)))
            time.sleep(0.1)
            done.append(2)
    finally:
        over.set()
        beside.join()
    assert stopped.value.args == (signal.SIGTERM,)
    assert len(done) == 2
    with shutdown.defer_signals():  # to put things in order
        done.append(3)


def test_what_a_library_makes_of_a_signal_is_seen_through() -> None:
    with pytest.raises(shutdown.Stopped), shutdown.reraise_pending_signal():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except shutdown.Stopped as error:
            raise ImportError("a module cannot be imported") from error
    shutdown.answer()
    with pytest.raises(ImportError), shutdown.reraise_pending_signal():
        raise ImportError("really")
