"""Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline import stop


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in stop.SIGNALS}
    stop.listen()
    yield
    stop.answer()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", stop.SIGNALS)
def test_a_signal_raises_where_the_program_is_and_the_next_one_ends_it(number: int) -> None:
    with pytest.raises(stop.Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.args == (number,)
    assert [signal.getsignal(each) for each in stop.SIGNALS] == [signal.SIG_DFL] * 2


def test_a_signal_that_is_swallowed_is_not_lost() -> None:
    stop.check()
    with suppress(BaseException):  # what a library may do
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(stop.Stopped):
        stop.check()
    stop.answer()
    stop.check()


def test_what_is_in_hand_ends_before_a_signal_takes_effect() -> None:
    done = []
    over = threading.Event()
    beside = threading.Thread(target=over.wait)  # the system may hand a signal to any thread
    beside.start()
    try:
        with pytest.raises(stop.Stopped) as stopped, stop.uninterrupted():
            with stop.uninterrupted():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append(sum(range(1000)))
            time.sleep(0.1)
            done.append(2)
    finally:
        over.set()
        beside.join()
    assert stopped.value.args == (signal.SIGTERM,)
    assert len(done) == 2
    with stop.uninterrupted():  # to put things in order
        done.append(3)


def test_what_a_library_makes_of_a_signal_is_seen_through() -> None:
    with pytest.raises(stop.Stopped), stop.unmistaken():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except stop.Stopped as error:
            raise ImportError("a module cannot be imported") from error
    stop.answer()
    with pytest.raises(ImportError), stop.unmistaken():
        raise ImportError("really")
