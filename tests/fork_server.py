"""Runs the project's commands in forks of a process that has loaded the libraries.

The import of MLflow, pandas and Matplotlib takes a third of the time of a short command, and the
tests run more than a hundred commands. This server imports the libraries once, and never the
project: each command imports it in a process of its own, with its own arguments, environment,
working directory and output. Use `subprocess` for a command whose interpreter must start anew, for
example with another locale.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

LIBRARIES = (
    "fastapi",
    "filelock",
    "hydra.main",
    "jinja2",
    "joblib",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "mlflow.entities",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor",
    "mlflow.tracking.client",
    "optuna",
    "pandas",
    "pydantic",
    "scipy.special",
)
LOCK = threading.Lock()


def run(
    module: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Do what `python -m MODULE ARGUMENTS` does, and wait for its end.

    Args:
        module: the module.
        arguments: those of the command line.
        cwd: the working directory.
        env: the environment variables.
    """
    with tempfile.TemporaryDirectory() as folder, LOCK:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        for file in files:
            file.touch()
        request = [*map(str, files), str(cwd), dict(env), module, list(arguments)]
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        output, errors = (file.read_text() for file in files)
    return subprocess.CompletedProcess([module, *arguments], code, output, errors)


@cache
def _server() -> subprocess.Popen[str]:
    """Start the server."""
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)  # ends the server, whose standard input is then closed
    return server


def _serve() -> str:
    """Fork for each request, and answer with the exit code of the command.

    Returns:
        In the process of a command the module to run. The server does not return.
    """
    for name in LIBRARIES:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()  # a fork copies one thread only
    for request in iter(sys.stdin.readline, ""):
        output, errors, cwd, env, module, arguments = json.loads(request)
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        for descriptor, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, output, os.O_WRONLY),
            (2, errors, os.O_WRONLY),
        ):
            opened = os.open(path, flags)
            os.dup2(opened, descriptor)
            os.close(opened)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv[1:] = arguments
        sys.path[0] = cwd
        return str(module)
    sys.exit()


if __name__ == "__main__":
    runpy.run_module(_serve(), run_name="__main__", alter_sys=True)
