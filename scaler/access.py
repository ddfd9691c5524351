"""Who may store or change something over HTTP: whoever shows the token; without a token, callers on this machine.

The token's file is read again when it changes; one that cannot be used any more is logged once and the old token stays.
"""

import hmac
import ipaddress
from pathlib import Path

import structlog

from scaler.errors import NotAllowed, SettingsError, Unauthenticated

log = structlog.get_logger("foresail.access")

SHORTEST_TOKEN = 16
"""Characters; anything shorter is guessed."""


class Token:
    """The secret in a file."""

    def __init__(self, path: Path) -> None:
        """Read it.

        Raises:
            SettingsError: it cannot be read or is too short; names the file.
        """
        self._path = path
        try:
            self._stamp = self._stamp_now()
            self._secret = self._read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"http_token_file: {path}: {error}") from error

    def fits(self, shown: str) -> bool:
        """Whether this is the token, in a time that does not depend on where it differs."""
        self._follow()
        return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), self._secret)

    def _follow(self) -> None:
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._stamp = stamp
                self._secret = self._read()
                log.info("new token in force", file=str(self._path))
        except (OSError, ValueError) as error:
            if self._said != str(error):
                log.warning("the token's file cannot be used; the old token stays", error=str(error))
                self._said = str(error)

    _said: str | None = None

    def _stamp_now(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> bytes:
        secret = self._path.read_bytes().strip()
        if len(secret) < SHORTEST_TOKEN:
            raise ValueError(f"a token has at least {SHORTEST_TOKEN} characters")
        return secret


class Access:
    """The rule for routes that store or change."""

    def __init__(self, token: Token | None, *, loopback: bool) -> None:
        """`loopback`: the door listens on this machine only."""
        self._token, self._loopback = token, loopback

    def check(self, authorization: str, host: str, content_type: str) -> None:
        """Let a request pass by its headers, or say why not.

        A page in a browser on this machine can reach a loopback door: it cannot send JSON to another origin unasked,
        and under a name of its own (DNS rebinding) it shows that name as the host.

        Raises:
            Unauthenticated: no token or a wrong one.
            NotAllowed: there is no token, and the request may come from elsewhere.
        """
        if self._token is not None:
            scheme, _, shown = authorization.partition(" ")
            if scheme.lower() != "bearer" or not self._token.fits(shown.strip()):
                raise Unauthenticated("this route stores: show the token as `Authorization: Bearer …`")
            return
        if not self._loopback:
            raise NotAllowed("this route stores, and http_token_file is not set: only a loopback door takes it so")
        if not is_loopback(host) or content_type != "application/json":
            raise NotAllowed("without http_token_file this route takes application/json sent to a loopback address")


def is_loopback(host: str) -> bool:
    """Whether `host`, without a port, is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
