"""A tracking server that dies, comes back, answers with errors, slowly, or loses its answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from tests.torture.command import Command, Ended, run
from tests.torture.lab import Lab, no_traceback, not_well
from tests.torture.results import problems
from tests.torture.trials import Kind, Outcome, Spot

START = 90.0  # seconds within which a server answers


class Server:
    """A real `mlflow server` on 127.0.0.1, which can be killed and started again."""

    def __init__(self, folder: Path, store: str) -> None:
        """Start it on a store (a URI); artifacts and its log go to a folder."""
        folder.mkdir(exist_ok=True)
        self.folder, self.store = folder, store
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = os.environ | {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "NO_PROXY": "127.0.0.1",
        }
        arguments = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        arguments += ["--backend-store-uri", self.store]
        arguments += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *arguments],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + START
        while not self._answers():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                said = (self.folder / "server.log").read_text(errors="backslashreplace")
                raise RuntimeError(f"the tracking server does not start: {said[-2000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def _serving(lab: Lab, folder: Path) -> Iterator[Server]:
    place = folder / "server"
    shutil.copytree(lab.root / "template", place)  # an empty store
    server = Server(place, f"sqlite:///{place}/mlflow.db")
    try:
        yield server
    finally:
        server.kill()


def dies(lab: Lab, spot: Spot) -> Outcome:
    """Kill the server during a sweep, and restart it during the sweep or after it."""
    outputs = spot.folder / "outputs"
    at, soon = spot.rng.uniform(0.2, 0.9) * lab.seconds, spot.rng.random() < 0.5
    with _serving(lab, spot.folder) as server:
        uri = f"tracking.uri={server.url}"
        command = Command(outputs, *lab.sweep, uri)
        command.runs_for(at)
        server.kill()
        if soon:
            server.start()
        ended = command.end()
        if not soon:
            server.start()
        point = f"killed at {at:.2f} s, back {'at once' if soon else 'after the sweep'}"
        return _afterwards(lab, outputs, ended, server, uri, point)


def _afterwards(
    lab: Lab, outputs: Path, ended: Ended, server: Server, uri: str, point: str
) -> Outcome:
    found = list(no_traceback(ended))
    kind = "the sweep succeeded"
    if ended.code != 0:
        kind = "the sweep failed with a message"
        if "MLflow" not in ended.said:
            found.append(f"it failed without a reason: {ended.last_lines}")
        found += not_well(run(outputs, *lab.sweep, uri))
    database, served = server.folder / "mlflow.db", server.folder / "artifacts"
    found += problems(outputs, lab.reference, database=database, served=served)
    return Outcome(point, found, [kind])


class Proxy(ThreadingHTTPServer):
    """Forwards requests to a server, and disturbs a part."""

    daemon_threads = True

    def __init__(self, server: Server, harm: str, rng: Random) -> None:
        """Listen on a free port. `harm` is error, slow or lost."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.behind = server.url
        self.harm = harm
        self.rng = rng
        self.harmful = True
        self.harmed = 0


class Handler(BaseHTTPRequestHandler):
    """Forwards a request, or answers with an error, late, or with an error after the work."""

    server: Proxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        harm = self.server.harm if self.server.harmful and self.server.rng.random() < 0.3 else ""
        self.server.harmed += bool(harm)
        if harm == "slow":
            time.sleep(self.server.rng.uniform(0.5, 3))
        status, headers, answer = (500, {}, b"{}") if harm == "error" else self._ask(body)
        if harm == "lost":
            status, headers, answer = 500, {}, b"{}"
        self.send_response(status)
        for key in ("Content-Type", "Content-Disposition"):
            if key in headers:
                self.send_header(key, headers[key])
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        kept = ("Content-Type", "Authorization", "Accept")
        headers = {key: self.headers[key] for key in kept if key in self.headers}
        request = urllib.request.Request(
            self.server.behind + self.path, body or None, headers, method=self.command
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()
        except OSError:
            return 502, {}, b"{}"

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def harms(lab: Lab, spot: Spot) -> Outcome:
    """Disturb a third of the requests."""
    outputs = spot.folder / "outputs"
    harm = spot.rng.choice(["error", "slow", "lost"])
    with _serving(lab, spot.folder) as server:
        proxy = Proxy(server, harm, spot.rng)
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        try:
            uri = f"tracking.uri=http://127.0.0.1:{proxy.server_port}"
            ended = Command(outputs, *lab.sweep, uri).end()
            proxy.harmful = False
            point = f"{proxy.harmed} requests: {harm}"
            return _afterwards(lab, outputs, ended, server, uri, point)
        finally:
            proxy.shutdown()
            proxy.server_close()


KINDS = [
    Kind("server", "a real mlflow server is killed during a sweep and restarted at once or after "
         "the sweep; if the sweep fails, the same command", "no traceback; the results equal an "
         "undisturbed sweep", dies, 5, 0),
    Kind("proxy", "a third of all answers of the server are status 500, late, or lost after the "
         "work was done; if the sweep fails, the same command", "no traceback; the results equal "
         "an undisturbed sweep", harms, 4, 0),
]  # fmt: skip
