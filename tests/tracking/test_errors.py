"""A locked store is retried; every other error of the store becomes one sentence."""

from __future__ import annotations

import base64
import os
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from pipeline.tracking import errors, mlflow_compat
from pipeline.tracking.entities import reused_runs
from pipeline.tracking.errors import TrackingError, translate_errors
from pipeline.tracking.store import REUSED_PER_TAG, Store
from pipeline.uris import sqlite_uri


class Fake:
    """A store that fails some times before it answers."""

    uri = "sqlite:////x/mlflow.db"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    @translate_errors("read the answer")
    def answer(self) -> int:
        if self.failures:
            raise self.failures.pop(0)
        return 42


def test_locked_store_is_retried_until_it_answers() -> None:
    locked = sqlite3.OperationalError("database is locked")
    store = Fake(locked, locked)
    assert store.answer() == 42
    assert store.failures == []


def test_store_that_stays_locked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors.LOCK_SECONDS == 60
    monkeypatch.setattr(errors, "LOCK_SECONDS", 0)
    store = Fake(sqlite3.OperationalError("database is locked"))
    with pytest.raises(TrackingError, match=r"could not read the answer in .*database is locked"):
        store.answer()


def test_other_errors_are_not_retried_and_name_failure_reason_and_remedy() -> None:
    store = Fake(OSError("disk I/O error"), OSError("second"))
    with pytest.raises(TrackingError) as caught:
        store.answer()
    assert str(caught.value) == (
        "could not read the answer in the MLflow store at sqlite:////x/mlflow.db (disk I/O error): "
        "fix the store, then rerun the same command"
    )
    assert len(store.failures) == 1


def test_reused_runs_fill_several_tags_and_are_all_read_back(tmp_path: Path) -> None:
    store = Store(sqlite_uri(tmp_path / "mlflow.db"))
    sweep = store.start_sweep(store.ensure_experiment("x"), "s", "…")
    runs = {job: f"{job:032d}" for job in range(2 * REUSED_PER_TAG + 1)}
    store.link_reused_runs(sweep, runs)
    parent = store.client.get_run(sweep.run_id)
    assert reused_runs(parent) == runs
    assert len([key for key in parent.data.tags if key.startswith("reused.")]) == 3


class Guarded(BaseHTTPRequestHandler):
    """A server that answers only Ann."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(b"ann:secret").decode()
        known = self.headers.get("Authorization") == expected
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        monkeypatch.delenv(name)
    server = HTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_health_request_sends_the_user_and_password_of_mlflow(
    guarded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(requests.HTTPError, match="401"):
        mlflow_compat.check_health(guarded, 10)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    mlflow_compat.check_health(guarded, 10)


def test_server_that_refuses_the_password_is_named_in_one_sentence(guarded: str) -> None:
    with pytest.raises(TrackingError, match=r"cannot be opened \(401 .*: start the server"):
        Store(guarded)
