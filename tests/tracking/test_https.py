"""A tracking server behind HTTPS and a password, with MLflow's own settings and the real commands.

The commands reach a real `mlflow server` through a proxy, which terminates TLS with a certificate
of its own authority and asks for a user and a password, or for a token.
"""

from __future__ import annotations

import base64
import ipaddress
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from subprocess import CompletedProcess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.tracking.store import Store
from pipeline.uris import sqlite_uri
from tests.commands import report_of, run
from tests.torture.server import Handler, Proxy, Server

USER = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
TOKEN = {"MLFLOW_TRACKING_TOKEN": "token2"}
KNOWN = {f"Basic {base64.b64encode(b'ann:hunter2').decode()}", "Bearer token2"}


class Guarded(Handler):
    """Forwards the requests of known users."""

    def _check(self) -> None:
        if self.headers.get("Authorization") in KNOWN:
            self._pass_on()
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _check


@dataclass(frozen=True)
class Secured:
    """The address of the proxy, and the certificate that signs it."""

    url: str
    authority: Path
    outputs: Path

    def run(self, *arguments: str, module: str, **env: str) -> CompletedProcess[str]:
        """Run a command without further settings of MLflow or of the system's certificates."""
        nothing = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "NO_PROXY": "127.0.0.1"}
        return run(self.outputs, *arguments, module=module, env=nothing | env)

    def report(self, env: Mapping[str, str]) -> CompletedProcess[str]:
        return self.run("--tracking-uri", self.url, module="pipeline.report", **env)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("https")
    uri = sqlite_uri(folder / "server" / "mlflow.db")
    Store(uri)  # MLflow would take longer to create it
    server = Server(folder / "server", uri)
    try:
        proxy = Proxy(server, "", Random(0))
        proxy.RequestHandlerClass = Guarded
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*write_certificate(folder))
        proxy.socket = context.wrap_socket(proxy.socket, server_side=True)
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        url = f"https://127.0.0.1:{proxy.server_port}"
        yield Secured(url, folder / "certificate.pem", folder / "outputs")
        proxy.shutdown()
        proxy.server_close()
    finally:
        server.kill()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1, which signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    address = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def test_sweep_and_report_reach_a_server_with_https_and_a_password_or_a_token(
    secured: Secured,
) -> None:
    bundle = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(secured.authority)}
    values = ("-m", "hidden_size=4,8", "num_epochs=1", f"tracking.uri={secured.url}")
    done = secured.run(*values, module="pipeline", **USER, **bundle)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    report = report_of(secured.outputs)
    assert len(report["runs"]) == 2
    assert report["best"]["test_acc"] is not None
    insecure = {"MLFLOW_TRACKING_INSECURE_TLS": "true"}
    for settings in (TOKEN | insecure, TOKEN | {"REQUESTS_CA_BUNDLE": str(secured.authority)}):
        done = secured.report(settings)
        assert done.returncode == 0, done.stderr
        assert "2 jobs: 2 finished" in done.stdout


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            USER | {"MLFLOW_TRACKING_PASSWORD": "wrong", "MLFLOW_TRACKING_INSECURE_TLS": "true"},
            "401",
        ),
        (USER, "certificate verify failed"),
    ],
)
def test_refused_password_or_certificate_is_one_sentence(
    secured: Secured, settings: dict[str, str], reason: str
) -> None:
    done = secured.report(settings)
    assert done.returncode == 1
    assert f"{secured.url} cannot be opened" in done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
