"""Which tests execute which lines: one run of the tests under coverage.py, kept in a file.

A mutant of a line is then tested only by the tests that execute the line. Processes that a test
starts are measured too. A test file is measured again when its content changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from coverage import CoverageData
from coverage.exceptions import DataError

from tests.mutation.process import Run

IGNORED = (  # they test other code than the sources of `tests.mutation.sample`, or are very slow
    "tests/data",
    "tests/torture",
    "tests/report/test_browser.py",
    "tests/test_checks.py",
    "tests/test_docs.py",
    "tests/test_quickstart.py",
    "tests/test_torture.py",
    "tests/test_wheel.py",
)
SETTINGS = """\
[run]
core = ctrace
data_file = {folder}/data
parallel = true
source = {checkout}/pipeline
    {checkout}/hydra_plugins
context = ${{MUTATION_TEST-}}
patch = _exit
disable_warnings = no-data-collected, module-not-imported, module-not-measured
"""


class Reach:
    """The tests that execute each line of the sources, and their duration in seconds.

    Tests are named as pytest names them, without parameters. The set-up of a file's fixtures counts
    as a test that is named as the file.
    """

    def __init__(self, path: Path, root: Path, copy: Path) -> None:
        """Read earlier measurements, and measure the test files that are new or have changed.

        Args:
            path: the file of the measurements.
            root: the checkout, which is never mutated.
            copy: the copy in which the tests run.
        """
        self._root = root
        files: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        found = {name: _hash(root / name) for name in _test_files(root)}
        changed = [name for name in found if files.get(name, {}).get("hash") != found[name]]
        for folder, names in groupby(changed, key=lambda name: Path(name).parent):
            print(f"measuring the tests in {folder}")
            files |= _measure(list(names), copy)
            path.write_text(json.dumps(files))
        self._files = {name: files[name] for name in found if name in files}

    def tests(self, path: str, line: int) -> dict[str, float]:
        """The tests that execute a statement, the cheapest files first, with their seconds.

        If no test is known, these are all tests that execute any function of the package. So it is
        for a statement outside functions, which is executed at import, and for one that has changed
        since the tests were measured.
        """
        source = (self._root / path).read_text(encoding="utf-8")
        statement = _statement(ast.parse(source), line)
        if statement is not None:
            texts = source.splitlines()[statement[0] - 1 : statement[1]]
            found = self._executing(path, {text.strip() for text in texts})
            if found:
                return found
        return self._executing(str(Path(path).parent), None)

    def _executing(self, path: str, texts: set[str] | None) -> dict[str, float]:
        """The tests that execute lines with these texts; None: any line of any file in a folder."""
        chosen = []
        for name, measured in self._files.items():
            tests = {
                test
                for source, lines in measured["lines"].items()
                if path == (source if texts is not None else str(Path(source).parent))
                for text, found in lines.items()
                if texts is None or text in texts
                for test in found
            }
            if name in tests:  # a fixture executes it
                tests |= set(measured["seconds"])
            seconds = {test: measured["seconds"][test] for test in tests - {name}}
            if seconds:
                cost = sum(seconds.values()) + measured["seconds"].get(name, 0.0)
                chosen.append((cost, sorted(seconds.items(), key=lambda item: item[1])))
        chosen.sort(key=lambda pair: pair[0])
        return {test: seconds for _, found in chosen for test, seconds in found}


def _test_files(checkout: Path) -> list[str]:
    paths = sorted((checkout / "tests").rglob("test_*.py"))
    names = [str(path.relative_to(checkout)) for path in paths]
    return [name for name in names if not name.startswith(IGNORED)]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _measure(names: Sequence[str], checkout: Path) -> dict[str, Any]:
    """Run test files under coverage.py; leave out tests that fail without a mutation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings").write_text(SETTINGS.format(folder=folder, checkout=checkout))
        run = Run(names, checkout, settings=folder / "settings", durations=folder / "seconds")
        run.wait()
        print(run.output.read_text(errors="replace"))
        run.output.unlink()
        seconds: dict[str, float] = json.loads((folder / "seconds").read_text())
        files: dict[str, Any] = {
            name: {"hash": _hash(checkout / name), "seconds": {}, "lines": {}} for name in names
        }
        for test, duration in seconds.items():
            files[test.partition("::")[0]]["seconds"][test] = duration
        for data_file in folder.glob("data*"):
            _read(data_file, checkout, files)
    return files


def _read(data_file: Path, checkout: Path, files: dict[str, Any]) -> None:
    """Add the lines that a process has executed, by the test that executed them."""
    data = CoverageData(str(data_file))
    try:
        data.read()
    except DataError:  # the process was killed while it wrote the file
        return
    for measured in data.measured_files():
        path = Path(measured)
        if not path.is_file():
            continue
        source = path.read_text(encoding="utf-8").splitlines()
        key = str(path.relative_to(checkout))
        for number, contexts in data.contexts_by_lineno(measured).items():
            for context in contexts:
                test = context.strip("|")
                record = files.get(test.partition("::")[0])
                if record is None or not (test in record["seconds"] or test in files):
                    continue
                if number > len(source):  # an empty file has a line 1 too
                    continue
                lines = record["lines"].setdefault(key, {})
                tests = lines.setdefault(source[number - 1].strip(), [])
                if test not in tests:
                    tests.append(test)


def _statement(tree: ast.Module, line: int) -> tuple[int, int] | None:
    """The first and the last line of the statement of a function; None outside functions.

    Of a compound statement only the lines before its body count.
    """
    found = None
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in (child for one in function.body for child in ast.walk(one)):
            if isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case):
                first, last = _extent(node)
                if first <= line <= last:
                    found = first, last
    return found


def _extent(node: ast.stmt | ast.ExceptHandler | ast.match_case) -> tuple[int, int]:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno, node.body[0].lineno - 1
    body = getattr(node, "body", None)
    last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
    assert last is not None
    return node.lineno, last
