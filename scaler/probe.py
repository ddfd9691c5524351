"""Ask the service in this container for its health: exit status 0, or 1 and the reason.

For the image's HEALTHCHECK, and for exec probes under mutual TLS, where the kubelet's own probes have no client
certificate to show. Reads the same `FORESAIL_*` environment as the service; standard library only, so that a probe
costs tens of milliseconds.
"""

import os
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection

TIMEOUT_S = 3.0
"""Less than the 5 s that HEALTHCHECK and the manifests give."""

LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "::1", "::": "::1"}  # noqa: S104 - read, never bound
"""Where to reach a service that listens on every address."""


def connection(environ: Mapping[str, str]) -> HTTPConnection:
    """To the service's HTTP port; over TLS, with the service's own certificate as the client's, where it has one.

    Raises:
        OSError: the certificate cannot be read.
        ValueError: the address has no port.
    """
    host, _, port = environ.get("FORESAIL_HTTP_LISTEN", "127.0.0.1:8080").rpartition(":")
    host = LOOPBACK.get(host, host.strip("[]"))
    certificate = environ.get("FORESAIL_TLS_CERT")
    if not certificate:
        return HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # our own port; a restart would not renew a certificate that has expired
    context.load_cert_chain(certificate, environ.get("FORESAIL_TLS_KEY"))
    return HTTPSConnection(host, int(port), timeout=TIMEOUT_S, context=context)


def complaint(route: str, environ: Mapping[str, str]) -> str | None:
    """What is wrong with the service, or None."""
    try:
        to_service = connection(environ)
        to_service.request("GET", f"/{route}")
        status = to_service.getresponse().status
        to_service.close()
    except (OSError, HTTPException, ValueError) as error:
        return f"/{route}: {error}"
    return None if status == 200 else f"/{route}: status {status}"


if __name__ == "__main__":
    sys.exit(complaint(sys.argv[1] if len(sys.argv) > 1 else "healthz", os.environ))
