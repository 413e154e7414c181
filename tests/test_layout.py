"""The command starts without its slow libraries."""

from __future__ import annotations

import subprocess
import sys


def test_help_does_not_wait_for_slow_libraries() -> None:
    slow = {"mlflow", "pandas", "sklearn", "matplotlib", "scipy"}
    code = f"import sys, pipeline.__main__; print(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
