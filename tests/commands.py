"""Run the project's commands as a user does: in a process of their own, outside the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.tracking.store import Store
from tests import fork_server


def run(
    outputs: Path,
    *arguments: str,
    module: str = "pipeline",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        outputs: its PIPELINE_OUTPUTS.
        arguments: its command line.
        module: what `python -m` runs.
        cwd: the working directory; None: the folder that holds `outputs`.
        env: further environment variables.
    """
    outputs.parent.mkdir(parents=True, exist_ok=True)
    environment = _environment(outputs) | dict(env or {})
    return fork_server.run(module, arguments, cwd or outputs.parent, environment)


# Each training step with batch_size=50 runs out of memory. With hydra.launcher.shards=1, the models
# train in the process of the command, where this code has an effect.
OUT_OF_MEMORY = """
from pipeline.nn.stack import Stack
begin_step = Stack.begin_step
def fail(stack, *args):
    if stack.jobs[0].batch_size == 50:
        raise MemoryError("no memory for 50 examples")
    begin_step(stack, *args)
Stack.begin_step = fail
"""
ONE_SHARD = "hydra.launcher.shards=1"


def run_with_failures(outputs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep, in which each job with batch_size=50 fails, to its end."""
    return run_code(outputs, OUT_OF_MEMORY, *arguments, ONE_SHARD)


def run_code(outputs: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline` to its end, after some code that changes it."""
    start = f"{code}\nfrom pipeline.__main__ import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", start, *arguments],
        cwd=outputs.parent,
        env=_environment(outputs),
        capture_output=True,
        text=True,
        check=False,
    )


def _environment(outputs: Path) -> dict[str, str]:
    # `mlflow.set_tracking_uri` in a test exports its store, which is not the default of a user.
    inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return inherited | {"PIPELINE_OUTPUTS": str(outputs)}


def succeed(outputs: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed without a Python warning of a dependency."""
    done = run(outputs, *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"\wWarning: ", done.stderr), done.stderr
    return done


def report_of(outputs: Path, sweep: str = "latest") -> dict[str, Any]:
    """The content of report.json, which must be strict JSON."""
    text = (outputs / "reports" / sweep / "report.json").read_text()
    report: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    return report


def store_of(outputs: Path) -> Store:
    """The default store of an outputs folder."""
    return Store(f"sqlite:///{outputs}/mlflow.db")
