"""Run the tests against mutants, several at a time, each in a copy of the checkout."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from tests.mutation.process import Run
from tests.mutation.reach import Reach
from tests.mutation.sample import Mutant

QUICK_SECONDS = 1.0
MAX_SECONDS = 120.0  # of tests for a mutant, unless its own test file takes longer
PATIENCE = 5.0  # a run that takes this multiple of the unmutated one, and `GRACE`, has timed out
GRACE = 60.0  # seconds


@dataclass(frozen=True)
class Verdict:
    """The result of testing a mutant."""

    mutant: str  # its key
    result: str  # "killed", "timeout" (counts as killed) or "survived"
    test: str = ""  # the first test that failed

    @property
    def is_detected(self) -> bool:
        """Whether a test fails, or does not end."""
        return self.result != "survived"


def copy_checkout(root: Path, folder: Path) -> Path:
    """Copy the tracked and new files of the checkout, so that mutants never touch it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = root / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for package in ("pipeline", "hydra_plugins"):
        compileall.compile_dir(folder / package, quiet=1)
    return folder


def judge(mutants: Iterable[Mutant], copies: Sequence[Path], reach: Reach) -> Iterator[Verdict]:
    """Test mutants, one at a time in each copy, and yield each verdict as it is reached."""
    free = list(copies)
    running: dict[int, _Attempt] = {}
    for mutant in mutants:
        tests = tests_for(mutant, reach)
        if not tests:
            yield Verdict(mutant.key, "survived")
            continue
        while not free:
            yield from _finish(running, free)
        copy = free.pop()
        attempt = _Attempt(mutant, copy, tests)
        running[attempt.run.process.sentinel] = attempt
    while running:
        yield from _finish(running, free)


def tests_for(mutant: Mutant, reach: Reach) -> dict[str, float]:
    """The tests that execute a mutated line, in the order in which they run, with their seconds.

    Tests of less than `QUICK_SECONDS` come first, and among them the tests in the file of the same
    name. The tests of a file stay together, because they share fixtures.
    """
    reached = reach.tests(mutant.path, mutant.line)
    parts = Path(mutant.path).parts
    twin = str(Path("tests", *parts[1:-1], f"test_{Path(mutant.path).stem.lstrip('_')}.py"))
    files = {test: test.partition("::")[0] for test in reached}
    order = sorted(  # stable: `reached` has the cheapest files first
        reached, key=lambda test: (reached[test] > QUICK_SECONDS, files[test] != twin)
    )
    total = accumulate(reached[test] for test in order)
    return {
        test: reached[test]
        for test, seconds in zip(order, total, strict=True)
        if seconds - reached[test] < MAX_SECONDS or files[test] == twin
    }


class _Attempt:
    """A mutant in a copy, while its tests run."""

    def __init__(self, mutant: Mutant, copy: Path, tests: dict[str, float]) -> None:
        self.mutant, self.copy = mutant, copy
        self.limit = GRACE + PATIENCE * sum(tests.values())
        target = copy / mutant.path
        self._original = target.read_bytes()
        self._times = (target.stat().st_atime_ns, target.stat().st_mtime_ns)
        target.write_text(mutant.code, encoding="utf-8")
        os.utime(target, (0, 0))  # Python ignores the byte code of a file with another time
        self.run = Run(list(tests), copy)

    @property
    def left(self) -> float:
        """The seconds until the time limit."""
        return self.run.started + self.limit - time.monotonic()

    def end(self) -> Verdict:
        """Stop the run if it is too late, restore the copy, and return the verdict."""
        code = self.run.wait(0 if self.left <= 0 else 10)
        target = self.copy / self.mutant.path
        target.write_bytes(self._original)
        os.utime(target, ns=self._times)
        text = self.run.output.read_text(errors="replace")
        self.run.output.unlink()
        if code is None:
            return Verdict(self.mutant.key, "timeout")
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return Verdict(self.mutant.key, "survived")
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)|(while loading conftest)", text, re.MULTILINE)
        if failed is None:
            raise RuntimeError(f"pytest has run no test:\n{text}")
        return Verdict(self.mutant.key, "killed", failed[1] or failed[2])


def _finish(running: dict[int, _Attempt], free: list[Path]) -> Iterator[Verdict]:
    """Wait until one attempt has ended or has reached its limit."""
    soonest = min(attempt.left for attempt in running.values())
    ready = wait(list(running), timeout=max(0.0, soonest))
    for sentinel, attempt in list(running.items()):
        if sentinel in ready or attempt.left <= 0:
            yield attempt.end()
            free.append(running.pop(sentinel).copy)
