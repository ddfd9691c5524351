"""The way from a command to a running service: one GET over HTTP, and what to do where nobody answers."""

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from scaler.errors import NoAnswer, RequestError

TIMEOUT_S = 10.0
USUAL = "http://127.0.0.1:8080"
"""Where `foresail serve` listens unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running Foresail, and how it is spoken to."""

    url: str
    context: ssl.SSLContext | None = None

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """What the service answers in JSON.

        Raises:
            RequestError: it refused, and why.
            NoAnswer: it could not be asked; says what to do.
        """
        parts = urlsplit(self.url)
        target = parts.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        connection = self._connection(parts.hostname or "", parts.port)
        try:
            connection.request("GET", target, headers={"Accept": "application/json"})
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{self.url}: {_why(error)}") from error
        finally:
            connection.close()
        return _understood(self.url, status, body)

    def _connection(self, host: str, port: int | None) -> HTTPConnection:
        if self.context is None:
            return HTTPConnection(host, port or 80, timeout=TIMEOUT_S)
        return HTTPSConnection(host, port or 443, timeout=TIMEOUT_S, context=self.context)


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return (
            "nobody listens there: start `foresail serve`, or name the service with --url "
            "(in a cluster: kubectl -n foresail port-forward service/foresail-http 8080)"
        )
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or error}: does the service speak TLS, and is --tls-ca its authority?"
    return str(error) or repr(error)


def _understood(url: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise NoAnswer(f"{url}: status {status} without JSON: is that Foresail's HTTP port?") from error
    if status != 200 or not isinstance(answer, dict):
        said = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise RequestError(f"{url}: {said}")
    return answer


def service_at(url: str, ca: Path | None, cert: Path | None, key: Path | None) -> Service:
    """The service at a URL, spoken to with these files where it is https.

    Raises:
        RequestError: what was given does not fit together or cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise RequestError(f"--url must be such as {USUAL}, not {url!r}")
    if (cert is None) != (key is None):
        raise RequestError("--tls-cert and --tls-key belong together: give both or neither")
    if parts.scheme == "http":
        if ca is not None or cert is not None:
            raise RequestError("--tls-ca, --tls-cert and --tls-key need an --url that begins with https")
        return Service(url)
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        if cert is not None and key is not None:
            context.load_cert_chain(cert, key, password=lambda: b"")  # an encrypted key fails, and does not ask
    except OSError as error:
        files = ", ".join(str(path) for path in (ca, cert, key) if path is not None)
        raise RequestError(f"--tls-ca, --tls-cert, --tls-key: {error.strerror or error} ({files})") from error
    return Service(url, context)


def path_of(workload: str, what: str = "") -> str:
    """The workload's route.

    Raises:
        RequestError: not namespace/name.
    """
    namespace, _, name = workload.rpartition("/")
    if not namespace or not name or "/" in namespace:
        raise RequestError(f"{workload!r}: a workload is namespace/name; `foresail status` lists them")
    return f"/v1/workloads/{quote(namespace, safe='')}/{quote(name, safe='~')}{what}"
