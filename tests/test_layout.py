"""The command starts without its slow libraries."""

from __future__ import annotations

import subprocess
import sys


def test_help_does_not_wait_for_slow_libraries() -> None:
    slow = {"mlflow", "pandas", "sklearn", "matplotlib", "scipy"}
    code = f"import sys, pipeline.app; print(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_windows_gets_one_sentence_that_points_to_wsl() -> None:
    code = "import sys; sys.platform = 'win32'; import pipeline.__main__"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert "Windows Subsystem for Linux" in sentence
