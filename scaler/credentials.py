"""What a Prometheus server is shown of us: headers and certificates, from files that may be rotated at any time."""

import base64
import ssl
from pathlib import Path

from scaler.errors import SourceError
from scaler.servers import Server


def headers_of(server: Server) -> dict[str, str]:
    """Headers of a request; credentials are read from their files each time, for tokens are short-lived.

    Raises:
        OSError: a file cannot be read.
        SourceError: a file holds no credential.
    """
    headers = {name: secret.get_secret_value() for name, secret in server.headers.items()}
    if server.bearer_token_file is not None:
        headers["Authorization"] = f"Bearer {_secret(server.bearer_token_file)}"
    if server.username is not None and server.password_file is not None:
        pair = f"{server.username}:{_secret(server.password_file)}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return headers


def _secret(path: Path) -> str:
    secret = path.read_text().strip()
    if not secret or not secret.isprintable():
        raise SourceError(f"{path} must hold one line, the credential, and nothing else")
    return secret


class TlsContexts:
    """TLS of the servers; one context per set of files until one of the files changes."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[object, ...], tuple[tuple[int, ...], ssl.SSLContext]] = {}

    def of(self, server: Server) -> ssl.SSLContext | bool:
        """What checks the server's certificate and names us; True for the system's certificates.

        Raises:
            OSError: a file cannot be read or holds no certificate.
        """
        files = [path for path in (server.ca_file, server.cert_file, server.key_file) if path is not None]
        if not files and not server.insecure_skip_verify:
            return True
        written = tuple(path.stat().st_mtime_ns for path in files)
        means = (server.ca_file, server.cert_file, server.key_file, server.insecure_skip_verify)
        known = self._contexts.get(means)
        if known is None or known[0] != written:
            known = self._contexts[means] = (written, _context(server))
        return known[1]


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=server.ca_file)
    if server.insecure_skip_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if server.cert_file is not None:
        context.load_cert_chain(server.cert_file, server.key_file)
    return context
