"""The probe: what the container asks itself."""

import http.server
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scaler.probe import complaint, connection


class Health(http.server.BaseHTTPRequestHandler):
    """Alive, but not ready."""

    def do_GET(self) -> None:
        self.send_response({"/healthz": 200}.get(self.path, 503))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Service(http.server.HTTPServer):
    def handle_error(self, *_: object) -> None:
        """Refused handshakes are what the test is about."""


@contextmanager
def service(tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An HTTP service on a free port; its address."""
    with Service(("127.0.0.1", 0), Health) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_service_that_answers_is_well() -> None:
    with service() as address:
        assert complaint("healthz", {"FORESAIL_HTTP_LISTEN": address}) is None


def test_a_status_other_than_200_is_named() -> None:
    with service() as address:
        assert complaint("readyz", {"FORESAIL_HTTP_LISTEN": address}) == "/readyz: status 503"


def test_nobody_there_is_a_reason_and_not_a_crash() -> None:
    with service() as address:
        pass
    assert "refused" in (complaint("healthz", {"FORESAIL_HTTP_LISTEN": address}) or "")


@pytest.mark.parametrize(
    ("listen", "host"),
    [("0.0.0.0:8080", "127.0.0.1"), ("[::]:8080", "::1"), ("10.1.2.3:8080", "10.1.2.3"), (":8080", "127.0.0.1")],
)
def test_a_service_on_every_address_is_asked_on_loopback(listen: str, host: str) -> None:
    to_service = connection({"FORESAIL_HTTP_LISTEN": listen})
    assert (to_service.host, to_service.port) == (host, 8080)


def test_under_mutual_tls_the_probe_shows_the_services_own_certificate(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    certificate, key = str(tmp_path / "tls.crt"), str(tmp_path / "tls.key")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=foresail"]
    subprocess.run(["openssl", *new, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    with service(tls) as address:
        environ = {"FORESAIL_HTTP_LISTEN": address, "FORESAIL_TLS_CERT": certificate, "FORESAIL_TLS_KEY": key}
        assert complaint("healthz", environ) is None
        assert complaint("healthz", {"FORESAIL_HTTP_LISTEN": address}) is not None


def test_as_a_command_it_exits_with_1_and_says_why() -> None:
    with service() as address:
        command = [sys.executable, "-m", "scaler.probe", "readyz"]
        done = subprocess.run(
            command, env={"FORESAIL_HTTP_LISTEN": address}, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "/readyz: status 503\n")
