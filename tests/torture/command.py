"""The pipeline as a user starts it: a process of its own, in outputs of its own."""

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
PATIENCE = 150.0  # seconds after which a command that should end hangs


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    said: str
    seconds: float

    @property
    def last_lines(self) -> str:
        """The end of what it said, on one line."""
        return " / ".join(self.said.strip().splitlines()[-3:])[-300:]


class Command:
    """python -m pipeline … under way, in a session (and process group) of its own."""

    def __init__(self, outputs: Path, *arguments: str, module: str = "pipeline") -> None:
        """Start it; what it says goes to a file, for a pipe could fill up and stop it."""
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
        """Let it run until some seconds after its start; returns whether it still runs then."""
        try:
            self._process.wait(max(0.0, self._began + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return True
        return False

    def limit_files(self, size: int) -> None:
        """Let no file of it grow beyond a number of bytes: what a full disk or a quota does."""
        psutil.Process(self._process.pid).rlimit(psutil.RLIMIT_FSIZE, (size, size))

    def signal(self, number: signal.Signals, group: bool) -> None:
        """Send a signal to the process, or to all of its group as a terminal does."""
        if self._process.poll() is None:
            (os.killpg if group else os.kill)(self._process.pid, number)

    def end(self, patience: float = PATIENCE) -> Ended:
        """Wait for its end; one that hangs is killed, and has the code HUNG."""
        try:
            code = self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            code = HUNG
        said = self._output.read_text(encoding="utf-8", errors="backslashreplace")
        return Ended(code, said, time.monotonic() - self._began)

    def survivors(self, seconds: float) -> list[str]:
        """The processes of its session that are still there after some seconds; ends them."""
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
