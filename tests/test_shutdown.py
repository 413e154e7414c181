"""Ctrl-C and SIGTERM in one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline import shutdown


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in shutdown.SIGNALS}
    shutdown.install_handlers()
    yield
    shutdown.acknowledge()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", shutdown.SIGNALS)
def test_first_signal_raises_stopped_and_restores_the_handlers(number: int) -> None:
    with pytest.raises(shutdown.Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.args == (number,)
    assert [signal.getsignal(each) for each in shutdown.SIGNALS] == [signal.SIG_DFL] * 2


def test_check_raises_a_signal_that_a_library_has_swallowed() -> None:
    shutdown.check()
    with suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(shutdown.Stopped):
        shutdown.check()
    shutdown.acknowledge()
    shutdown.check()


def test_deferred_signal_takes_effect_after_the_outermost_block() -> None:
    done = []
    over = threading.Event()
    other = threading.Thread(target=over.wait)  # the system may deliver a signal to any thread
    other.start()
    try:
        with pytest.raises(shutdown.Stopped) as stopped, shutdown.defer_signals():
            with shutdown.defer_signals():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append(sum(range(1000)))
            time.sleep(0.1)
            done.append(2)
    finally:
        over.set()
        other.join()
    assert stopped.value.args == (signal.SIGTERM,)
    assert len(done) == 2
    with shutdown.defer_signals():  # raises nothing: the signal has taken effect
        done.append(3)


def test_signal_is_raised_in_place_of_the_error_that_a_library_made_of_it() -> None:
    with pytest.raises(shutdown.Stopped), shutdown.reraise_pending_signal():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except shutdown.Stopped as error:
            raise ImportError("a module cannot be imported") from error
    shutdown.acknowledge()
    with pytest.raises(ImportError), shutdown.reraise_pending_signal():
        raise ImportError("really")


def test_condition_cancels_only_inside_its_block() -> None:
    with shutdown.cancel_when(lambda: False):
        shutdown.check()
    with shutdown.cancel_when(lambda: True), pytest.raises(shutdown.Stopped):
        shutdown.check()
    shutdown.check()


def test_process_that_starts_with_blocked_signals_survives_them() -> None:
    code = "import os, signal; [os.kill(os.getpid(), n) for n in (2, 15)]; print('alive')"
    command = [sys.executable, "-c", code]
    with shutdown.block_signals():
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.stdout == "alive\n"
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.stdout == ""
