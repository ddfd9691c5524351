"""Certificates of both doors, read from files again whenever these change; what is open stays open.

Files are compared by their stamps at each handshake. New ones that cannot be used are logged once, and the old ones
stay: a renewal that goes wrong does not close a door. Clients may be pinned by the names in their certificates.
"""

import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from scaler.errors import SettingsError, Unauthenticated

log = structlog.get_logger("foresail.tls")

Stamps = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the files held when they were read."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext
    """The same for Python's own TLS."""


class TlsFiles:
    """Certificate, key and, where clients must show a certificate, their authorities."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Read all of them.

        Raises:
            SettingsError: a file cannot be read or used; names the setting and the file.
        """
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = threading.Lock()
        try:
            self._stamps = self._stamps_now()
            self._current = self._read()
        except OSError as error:
            raise SettingsError(self._complaint(error)) from error

    def current(self) -> Certificates:
        """What is in force, read again if the files have changed; called from any thread."""
        with self._lock:
            try:
                stamps = self._stamps_now()
                if stamps != self._stamps:
                    fresh = self._read()
                    if stamps == self._stamps_now():  # else they are being written: the next handshake looks again
                        self._stamps, self._current = stamps, fresh
                        log.info("new certificates in force", cert=str(self._cert))
            except OSError as error:
                self._say_once(self._complaint(error))
        return self._current

    def http_context(self) -> ssl.SSLContext:
        """Context of a server that follows the files: each handshake goes on with the one in force."""
        outer = self._context()

        def follow(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            del name, context
            connection.context = self.current().context

        outer.sni_callback = follow
        return outer

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        # A resumed session would be checked against the authorities of the day it began.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.load_cert_chain(self._cert, self._key, password=lambda: b"")  # an encrypted key fails, and does not ask
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _read(self) -> Certificates:
        context = self._context()
        client_ca = None if self._client_ca is None else self._client_ca.read_bytes()
        return Certificates(self._cert.read_bytes(), self._key.read_bytes(), client_ca, context)

    def _files(self) -> list[Path]:
        return [self._cert, self._key, *([] if self._client_ca is None else [self._client_ca])]

    def _stamps_now(self) -> Stamps:
        stats = [path.stat() for path in self._files()]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    _said: str | None = None

    def _say_once(self, complaint: str) -> None:
        if complaint != self._said:
            log.warning("new certificates cannot be used; the old ones stay", error=complaint)
            self._said = complaint

    def _complaint(self, error: OSError) -> str:
        names = "tls_cert, tls_key" + ("" if self._client_ca is None else ", tls_client_ca")
        files = ", ".join(map(str, self._files()))
        return f"{names}: {error.strerror or error} ({files})"


def check_names(allowed: frozenset[str], shown: Iterable[str]) -> None:
    """Let a client pass whose certificate holds one of the allowed names; none allowed: let all pass.

    Raises:
        Unauthenticated: it holds none of them.
    """
    held = list(shown)
    if allowed and allowed.isdisjoint(held):
        raise Unauthenticated(f"the client certificate's names ({', '.join(held)[:200]}) are not in tls_client_names")
