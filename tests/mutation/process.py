"""Runs pytest on a copy of the checkout, in a forked process that has imported the libraries.

Importing MLflow, pandas and SciPy takes longer than most tests.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import coverage
import hydra  # noqa: F401
import mlflow  # noqa: F401
import pandas  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import sklearn.datasets  # noqa: F401

OWN = ("pipeline", "hydra_plugins", "tests")  # packages that a child imports from the copy


class Run:
    """A run of some tests in a process of its own, which ends at the first failure.

    Attributes:
        output: the file with the output of pytest.
        process: the process; its exit code is that of pytest.
    """

    def __init__(
        self,
        tests: Sequence[str],
        checkout: Path,
        settings: Path | None = None,
        durations: Path | None = None,
    ) -> None:
        """Start the run.

        Args:
            tests: files or tests.
            checkout: the copy to test.
            settings: measure coverage with this configuration, and run all tests.
            durations: receives the seconds of each test that passed.
        """
        handle, name = tempfile.mkstemp()
        os.close(handle)
        self.output = Path(name)
        self.started = time.monotonic()
        self.process = multiprocessing.get_context("fork").Process(
            target=_run, args=(list(tests), checkout, self.output, settings, durations)
        )
        self.process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for the end, or stop the run after some seconds; return the exit code of pytest."""
        self.process.join(seconds)
        pid = self.process.pid
        assert pid is not None
        code = self.process.exitcode
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # also the processes that the tests have left
        self.process.join()
        return code


def _run(
    tests: list[str],
    checkout: Path,
    output: Path,
    settings: Path | None,
    durations: Path | None,
) -> None:
    os.setsid()
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(checkout)
    # Processes that a test starts import the copy too, from any working directory. They use its
    # byte code, but write none: a file could be mutated and restored within one second.
    os.environ |= {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    for module in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[module]
    sys.path.insert(0, str(checkout))
    options = ["-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # libraries are imported before
    if settings is None:
        _exit(pytest.main(["-x", *options, *tests]))
    os.environ["COVERAGE_PROCESS_START"] = str(settings)
    measured = coverage.Coverage(config_file=str(settings), data_suffix=True)
    measured.start()
    recorder = _Recorder()
    code = pytest.main([*options, *tests], plugins=[recorder])
    measured.stop()
    measured.save()
    if durations is not None:
        durations.write_text(json.dumps(recorder.passed()))
    _exit(code)


def _exit(code: int) -> None:
    """End without waiting for worker processes, which may never end; `Run.wait` kills them."""
    sys.stdout.flush()
    os._exit(code)


class _Recorder:
    """A plugin of pytest that tells coverage.py which test runs, and records durations."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._failed: set[str] = set()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        _enter(item.nodeid.partition("::")[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        _enter(item.nodeid.partition("[")[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        _enter(item.nodeid.partition("::")[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        name = test if report.when == "call" else test.partition("::")[0]
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration
        if report.failed:
            self._failed.add(test)

    def passed(self) -> dict[str, float]:
        return {name: s for name, s in self._seconds.items() if name not in self._failed}


def _enter(context: str) -> None:
    os.environ["MUTATION_TEST"] = context
    current = coverage.Coverage.current()
    if current is not None:
        current.switch_context(context)
