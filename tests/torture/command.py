"""The pipeline as a user starts it: in its own process, with its own outputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

HUNG = 999  # the exit code here of a command that had to be killed
PATIENCE = 150.0  # seconds after which a command counts as hung


@dataclass(frozen=True)
class Ended:
    """The exit code and the output of a command."""

    code: int
    said: str
    seconds: float

    @property
    def last_lines(self) -> str:
        """The last lines of the output, on one line."""
        return " / ".join(self.said.strip().splitlines()[-3:])[-300:]


class Command:
    """A running python -m pipeline … in its own session and process group."""

    def __init__(self, outputs: Path, *arguments: str, module: str = "pipeline") -> None:
        """Start it. Its output goes to a file, because a full pipe would stop it."""
        temporary = outputs.parent / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = os.environ | {
            "PIPELINE_OUTPUTS": str(outputs),
            "TMPDIR": str(temporary),
            "NO_PROXY": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
        }
        self._output = temporary / f"said.{time.monotonic_ns()}"
        self._began = time.monotonic()
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=outputs.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def runs_for(self, seconds: float) -> bool:
        """Wait until some seconds after the start; return whether the command still runs."""
        try:
            self._process.wait(max(0.0, self._began + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return True
        return False

    def limit_files(self, size: int) -> None:
        """Limit the size of its files, as a full disk or a quota does."""
        psutil.Process(self._process.pid).rlimit(psutil.RLIMIT_FSIZE, (size, size))

    def signal(self, number: signal.Signals, group: bool) -> None:
        """Send a signal to the process, or to all of its group as a terminal does."""
        if self._process.poll() is None:
            (os.killpg if group else os.kill)(self._process.pid, number)

    def end(self, patience: float = PATIENCE) -> Ended:
        """Wait for the end. A command that hangs is killed and gets the code HUNG."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            code = HUNG
        said = self._output.read_text(encoding="utf-8", errors="backslashreplace")
        return Ended(code, said, time.monotonic() - self._began)

    def survivors(self, seconds: float) -> list[str]:
        """Wait for the processes of its session; kill and return the remaining ones."""
        until = time.monotonic() + seconds
        while (left := self._session()) and time.monotonic() < until:
            time.sleep(0.1)
        names = [" ".join(process.cmdline())[:120] for process in left if process.is_running()]
        for process in left:
            process.kill()
        return names

    def _session(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                same = os.getsid(process.pid) == self._process.pid
                if same and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.Error):
                continue
        return found


def run(outputs: Path, *arguments: str, module: str = "pipeline") -> Ended:
    """Run a command to its end."""
    return Command(outputs, *arguments, module=module).end()
