"""Which Prometheus servers may be asked, by workloads of which namespaces, and with which credentials.

An operator writes them down; a trigger only names an address. Several servers may share a URL, one per tenant: the
first whose namespaces hold the workload's is used, the longest URL before shorter ones.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from scaler.core.domain import Workload
from scaler.errors import TriggerError

EVERY_NAMESPACE = "*"
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
"""Characters of a header's name (RFC 9110, 5.6.2)."""
SCHEMES = {"http": 80, "https": 443}
"""Schemes that are spoken, with their ports."""
UNSAFE_IN_PATHS = ("%", "\\", "//", "/./", "/../")
"""What could make a server read a path differently than its prefix says."""


class Server(BaseModel):
    """One Prometheus, Thanos, Mimir or VictoriaMetrics, or one tenant of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str
    """Address up to `/api/v1`; a trigger's serverAddress may be it or lie below its path."""
    namespaces: tuple[str, ...] = Field(min_length=1)
    """Namespaces whose workloads may use it, by name; "*" stands for all and has to be written."""
    bearer_token_file: Path | None = None
    """File with a bearer token, read again for each request."""
    username: str | None = None
    """User of basic authentication."""
    password_file: Path | None = None
    """File with the user's password, read again for each request."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers of each request, such as a tenant's `X-Scope-OrgID`."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Parameters of each query, such as Thanos' `dedup` or VictoriaMetrics' `nocache`."""
    ca_file: Path | None = None
    """Certificates that the server's is checked against, in place of the system's."""
    cert_file: Path | None = None
    """Client certificate for mutual TLS; a rotated file is picked up."""
    key_file: Path | None = None
    """Key of the client certificate."""
    insecure_skip_verify: bool = False
    """Accept any certificate of the server: for trying out only."""
    timeout_s: float = Field(default=30.0, gt=0, le=300)
    """Time that one request may take; the newest sample has to come within `read_timeout_s` as well."""

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        parts = _parts(value)
        if parts is None:
            raise ValueError(
                "must be http:// or https:// with a host and at most a path, such as http://prometheus:9090"
            )
        return value.rstrip("/")

    @field_validator("namespaces")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name or ("*" in name and name != EVERY_NAMESPACE) for name in value):
            raise ValueError('must be names of namespaces, or "*" for all')
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            if not name or not set(name) <= TOKEN:
                raise ValueError(f"{name!r} is no name of a header")
            if not secret.get_secret_value().isprintable():
                raise ValueError(f"the value of {name} must be one printable line")
        return value

    @model_validator(mode="after")
    def _one_identity(self) -> "Server":
        basic = self.username is not None or self.password_file is not None
        if basic and (self.username is None or self.password_file is None):
            raise ValueError("username and password_file belong together")
        authorization = any(name.lower() == "authorization" for name in self.headers)
        if basic + (self.bearer_token_file is not None) + authorization > 1:
            raise ValueError("bearer_token_file, username and an Authorization header exclude each other")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together")
        tls = self.ca_file is not None or self.cert_file is not None or self.insecure_skip_verify
        if tls and not self.url.startswith("https://"):
            raise ValueError("ca_file, cert_file and insecure_skip_verify need an https:// url")
        if self.ca_file is not None and self.insecure_skip_verify:
            raise ValueError("ca_file and insecure_skip_verify exclude each other")
        return self

    def covers(self, address: str) -> bool:
        """Whether `address` is this server's URL or lies below its path; by parts, never by characters."""
        mine, asked = _parts(self.url), _parts(address)
        if mine is None or asked is None or _origin(mine) != _origin(asked):
            return False
        path = mine.path.rstrip("/")
        return asked.path.rstrip("/") == path or asked.path.startswith(path + "/")

    def serves(self, namespace: str) -> bool:
        """Whether workloads of `namespace` may use it."""
        return EVERY_NAMESPACE in self.namespaces or namespace in self.namespaces


def _parts(url: str) -> SplitResult | None:
    """Parts of a plain http URL, None where it is anything else: credentials, queries and odd paths included."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    odd = any(mark in f"{parts.path.rstrip('/')}/" for mark in UNSAFE_IN_PATHS)
    plain = url.isascii() and url.isprintable() and not set(url) & set(" ?#@\\")
    return parts if plain and parts.scheme in SCHEMES and parts.hostname and port != 0 and not odd else None


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or SCHEMES[parts.scheme]


def for_everyone(url: str, timeout_s: float = 30.0) -> Server:
    """A server without credentials that a person at a terminal named.

    Raises:
        TriggerError: not an address that could be asked.
    """
    try:
        return Server(url=url, namespaces=(EVERY_NAMESPACE,), timeout_s=timeout_s)
    except ValidationError as error:
        raise TriggerError(f"{url[:200]}: {error.errors()[0]['msg']}") from error


def server_for(servers: Sequence[Server], namespace: str, address: str) -> Server:
    """The server by which workloads of `namespace` reach `address`.

    Raises:
        TriggerError: none is allowed; names the address and the namespace.
    """
    covering = [server for server in servers if server.covers(address)]
    if not covering:
        usable = sorted({server.url for server in servers if server.serves(namespace)})
        raise TriggerError(
            f"serverAddress {address[:200]!r} is not allowed: namespace {namespace!r} may use "
            f"{', '.join(usable) or 'no server'} (servers in Foresail's settings)"
        )
    for server in sorted(covering, key=lambda server: -len(server.url)):
        if server.serves(namespace):
            return server
    raise TriggerError(
        f"serverAddress {address[:200]!r} is not allowed for namespace {namespace!r} (servers in Foresail's settings)"
    )


def allowed(servers: Sequence[Server], workload: Workload) -> None:
    """Pass a workload whose queries may be asked, and one that asks none: its load is pushed.

    Raises:
        TriggerError: an address without a query or the reverse, or an address that is not allowed.
    """
    asks = workload.query is not None or workload.arrival_query is not None
    if workload.server_address is None:
        if asks:
            raise TriggerError("serverAddress is required where there is a query")
        return
    if workload.query is None:
        raise TriggerError("query is required where there is a serverAddress")
    server_for(servers, workload.namespace, workload.server_address)
