"""The way to a scaler as KEDA has it: plain text, TLS, or TLS with a client certificate; and why there is none.

gRPC says only that no connection came about. What is in the way is found by a handshake of our own.
"""

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from scaler.errors import RequestError

DEADLINE_S = 3.0
"""For each step of a handshake."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What a client checks the scaler by, and what it shows."""

    ca: bytes
    """Authorities (PEM) of the scaler's certificate."""
    shown: tuple[bytes, bytes] | None
    """Key and certificate chain (PEM) of the client."""
    server_name: str | None
    """Name expected in the scaler's certificate, where it is not the address's host."""
    context: ssl.SSLContext
    """The same for Python's own TLS."""


def client_tls(ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None) -> ClientTls | None:
    """TLS by these files; None where there are none.

    Raises:
        RequestError: files that do not belong together, or cannot be used; names the flags.
    """
    if (cert is None) != (key is None):
        raise RequestError("--tls-cert and --tls-key belong together: give both or neither")
    if ca is None:
        if cert is not None or server_name is not None:
            raise RequestError("--tls-cert, --tls-key and --tls-server-name need --tls-ca")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    shown = None
    try:
        context.load_verify_locations(ca)
        if cert is not None and key is not None:
            context.load_cert_chain(cert, key, password=lambda: b"")  # an encrypted key fails, and does not ask
            shown = (key.read_bytes(), cert.read_bytes())
        return ClientTls(ca.read_bytes(), shown, server_name, context)
    except OSError as error:
        files = ", ".join(str(path) for path in (ca, cert, key) if path is not None)
        raise RequestError(f"--tls-ca, --tls-cert, --tls-key: {error.strerror or error} ({files})") from error


def channel_to(address: str, tls: ClientTls | None) -> grpc.Channel:
    """A channel to `address`; nothing is sent yet."""
    if tls is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(tls.ca, *(tls.shown or (None, None)))
    named = () if tls.server_name is None else (("grpc.ssl_target_name_override", tls.server_name),)
    return grpc.secure_channel(address, credentials, named)


def obstacle(address: str, tls: ClientTls | None) -> str | None:
    """What is in the way of a connection and what to do about it, None where nothing is found."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if not port.isdigit():
        return "the address must be host:port"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), DEADLINE_S) as connection:
            return _speaks_tls(connection) if tls is None else _in_the_way(connection, tls, host.strip("[]"))
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"


def _speaks_tls(connection: socket.socket) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: this only tells TLS from plain text
    with contextlib.suppress(OSError), context.wrap_socket(connection):
        return "it speaks TLS: give --tls-ca, and --tls-cert with --tls-key where it asks for a client certificate"
    return None


def _in_the_way(connection: socket.socket, tls: ClientTls, host: str) -> str | None:
    try:
        with tls.context.wrap_socket(connection, server_hostname=tls.server_name or host) as secured:
            # Under TLS 1.3 the server looks at the client's certificate after the handshake, and hangs up.
            return None if secured.recv(1) else _refused("it hung up", tls)
    except ssl.SSLCertVerificationError as error:
        return _unverified(error)
    except TimeoutError:
        return None
    except OSError as error:
        return _refused(error.strerror or str(error), tls)


def _unverified(error: ssl.SSLCertVerificationError) -> str:
    said = f"its certificate does not hold: {error.verify_message}"
    if "mismatch" in said:
        return f"{said}; give --tls-server-name with a name that is in the certificate"
    if "expired" in said or "not yet valid" in said:
        return f"{said}; renew it, and look at both clocks"
    return f"{said}; --tls-ca must hold the authority that signed it"


def _refused(reason: str, tls: ClientTls) -> str:
    if "wrong version number" in reason.lower().replace("_", " "):
        return "it speaks plain text: leave out --tls-ca"
    if tls.shown is None:
        return "it asks for a client certificate: give --tls-cert and --tls-key"
    return (
        f"it refuses the client certificate ({reason}): its tls_client_ca must hold the authority "
        "that signed it, and it must not be expired"
    )
