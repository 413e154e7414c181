"""Run the tests against mutants, several at a time, each in a copy of the checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.sample import Mutant

TIMEOUT_SECONDS = 900  # after which a mutant counts as killed: the tests take a tenth of it
# Tests of the package come first. Later folders catch faults that only show in a whole sweep.
TESTS = {
    "pipeline/nn": ("tests/nn", "tests/test_golden.py", "tests/execution"),
    "pipeline/execution": ("tests/execution", "tests/test_golden.py", "tests/plugins"),
    "pipeline/analysis": ("tests/analysis", "tests/report", "tests/serving"),
    "pipeline/tracking": ("tests/tracking", "tests/execution", "tests/serving", "tests/report"),
    "pipeline/serving": ("tests/serving",),
    "pipeline/search": ("tests/search", "tests/plugins/test_optuna.py"),
    "hydra_plugins": ("tests/plugins", "tests/test_commands.py"),
}


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
    return folder


def tests_for(path: str, root: Path) -> list[str]:
    """List the test paths of a source file, the file of the same name first."""
    folders = next(tests for source, tests in TESTS.items() if path.startswith(source))
    twin = Path("tests", *Path(path).parts[1:-1], f"test_{Path(path).stem.lstrip('_')}.py")
    paths = [str(twin), *folders]
    return [name for name in dict.fromkeys(paths) if (root / name).exists()]


def is_killed(mutant: Mutant, checkout: Path) -> bool:
    """Run the tests on a mutant; return whether one of them failed or they timed out."""
    target = checkout / mutant.path
    original = target.read_text(encoding="utf-8")
    target.write_text(mutant.code, encoding="utf-8")
    try:
        return run_tests(tests_for(mutant.path, checkout), checkout) != 0
    finally:
        target.write_text(original, encoding="utf-8")


def run_tests(paths: Sequence[str], checkout: Path) -> int:
    """Run pytest until its first failure; return its exit code, or 1 after the time limit."""
    # PYTHONPATH makes subprocesses import the mutated copy from any working directory.
    # Without byte code no process can load a file as it was before the mutation.
    environment = os.environ | {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *paths],
        cwd=checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
