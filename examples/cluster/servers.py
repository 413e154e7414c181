"""PostgreSQL, a Dask scheduler and workers as processes on 127.0.0.1."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2

HOST = "127.0.0.1"
START = 60.0  # seconds within which a process must answer
END = 15.0  # seconds within which a process must end after SIGTERM


class Process:
    """A command in its own session. Its output goes to a file."""

    def __init__(
        self, log: Path, command: list[str], folder: Path, more: Mapping[str, str] | None = None
    ) -> None:
        """Start it in a folder, with more variables in its environment."""
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ | (more or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL to it and its children, as if the machine had died."""
        self._all(signal.SIGKILL)
        self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end, and kill its remaining processes."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END)
        self.kill()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises:
            RuntimeError: it has ended, or is not ready in time.
        """
        until = time.monotonic() + START
        while not ready():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                said = self.log.read_text(errors="backslashreplace")[-2000:]
                raise RuntimeError(f"{self.log.stem} does not start: {said}")
            time.sleep(0.1)

    def _all(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def free_port() -> int:
    """A free port."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a process listens on a port."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((HOST, port)) == 0


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of its own in a folder; yields its URI.

    Raises:
        SystemExit: it is not installed.
    """
    programs = _programs()
    folder.mkdir()
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        name = "postgres" if "postgres" in names else "nobody"
        user = ["runuser", "-u", name, "--"]
        shutil.chown(folder, name)
        folder.parent.chmod(0o711)
    create = [programs / "initdb", "-D", folder / "data", "-U", "mlflow", "-A", "trust", "-N"]
    done = subprocess.run([*user, *create], cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
    port = free_port()
    options = [f"listen_addresses={HOST}", f"port={port}", "unix_socket_directories="]
    start = [*user, str(programs / "postgres"), "-D", str(folder / "data")]
    start += [word for option in options for word in ("-c", option)]
    server = Process(folder.parent / "postgres.log", start, Path("/"))
    try:
        uri = f"postgresql://mlflow@{HOST}:{port}/postgres"
        server.wait_until(lambda: _accepts(uri))
        yield uri
    finally:
        server.stop(signal.SIGINT)  # even while clients are connected


def mlflow_uri(database: str) -> str:
    """The URI for MLflow, with the driver that this project installs."""
    return database.replace("postgresql:", "postgresql+psycopg2:")


def _accepts(uri: str) -> bool:
    with suppress(psycopg2.OperationalError):
        psycopg2.connect(uri).close()
        return True
    return False


def _programs() -> Path:
    """The folder of PostgreSQL's programs, which Debian does not put on the path."""
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    found = newest or shutil.which("initdb")
    if found is None:
        sys.exit("PostgreSQL is not installed: apt-get install postgresql (Debian), then again")
    return Path(found).resolve().parent


class Cluster:
    """A Dask scheduler and its workers, each with outputs of its own."""

    def __init__(self, folder: Path) -> None:
        """Start the scheduler, and no worker."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://{HOST}:{self.port}"
        self.workers: list[Process] = []
        self.start()

    def start(self) -> None:
        """Start the scheduler (again)."""
        options = ["--host", HOST, "--port", str(self.port), "--no-dashboard"]
        self.scheduler = self._dask("scheduler", *options)
        self.scheduler.wait_until(lambda: listens(self.port))

    def add_worker(
        self, place: Path | None = None, more: Mapping[str, str] | None = None, threads: int = 1
    ) -> Process:
        """Start one more worker, perhaps in another folder or environment."""
        name = f"worker-{len(self.workers)}"
        options = ["--host", HOST, "--nworkers", "1", "--nthreads", str(threads), "--name", name]
        options += ["--local-directory", str(self.folder / name), "--no-dashboard"]
        more = {"PIPELINE_OUTPUTS": str(self.folder / name / "outputs")} | dict(more or {})
        worker = self._dask("worker", self.address, *options, place=place, more=more)
        self.workers.append(worker)
        worker.wait_until(lambda: b"Registered to" in worker.log.read_bytes())
        return worker

    def end(self) -> None:
        """Kill the scheduler and all workers."""
        for process in (*self.workers, self.scheduler):
            process.kill()

    def _dask(
        self,
        what: str,
        *options: str,
        place: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Process:
        log = self.folder / f"{what}-{len(self.workers)}.log"
        command = [sys.executable, "-m", "dask", what, *options]
        return Process(log, command, place or self.folder, more)


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[Cluster]:
    """A scheduler with some workers."""
    cluster = Cluster(folder)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.end()
