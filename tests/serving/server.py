"""Starts `python -m pipeline.serve` in a process and sends requests to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A server that is running."""

    port: int
    pid: int
    log: Path  # stdout and stderr
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The address of the server."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}"

    def post(self, inputs: Any) -> requests.Response:
        """Ask for predictions."""
        return requests.post(f"{self.url}/invocations", json={"inputs": inputs}, timeout=60)

    def send(self, body: str | bytes, kind: str = "application/json") -> requests.Response:
        """Send any body as any type of content."""
        headers = {"Content-Type": kind}
        return requests.post(f"{self.url}/invocations", data=body, headers=headers, timeout=60)

    def connect(self) -> socket.socket:
        """Open a connection without a request."""
        return socket.create_connection((self.host, self.port), timeout=60)

    def memory(self) -> int:
        """Bytes of memory that the process needs."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def serving(*arguments: str, log: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    """Start a server with further arguments, and stop it at the end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.serve", "--port", str(port), "--host", host]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *arguments], stdout=output, stderr=output, env=os.environ | {"NO_PROXY": "*"}
        )
    server = Server(port, process.pid, log, host)
    try:
        _wait(server, process)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        try:
            requests.get(server.url, timeout=5)
            return
        except requests.ConnectionError:
            assert process.poll() is None, server.log.read_text()
            time.sleep(0.2)
    raise AssertionError(f"the server does not answer: {server.log.read_text()}")
