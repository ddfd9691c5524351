"""Load from Prometheus and what speaks its API: Thanos, Mimir, Cortex, VictoriaMetrics.

    every tick               → one instant query per declared query
    after missed ticks       → one range query for all that was missed
    first sight, long outage → 8 days and the last 3 hours, in range queries below the API's 11,000 points
    after the first answer   → days 9 to 28 as mean and largest load of five minutes, summed up by the server

Days are read as samples no wider than 15 s and summed up here. A range query at 60 s would give one sample of each
minute, and sub-queries for mean and maximum make the server evaluate everything twice: that pays for the weeks before
only, of which five minutes suffice.

Only servers of the settings are asked, redirects are never followed, and each request has a deadline and a size limit.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import numpy as np

from forecasting.forecast import FloatArray
from forecasting.series import bucket_spacing
from scaler import __version__
from scaler.core.answer import error_in, series_of, shown, total_of
from scaler.core.domain import Workload
from scaler.core.signals import Samples, Signal
from scaler.credentials import TlsContexts, headers_of
from scaler.errors import SourceError, TriggerError
from scaler.servers import Server, allowed, server_for

MOST_POINTS = 10_000
"""Points of one range query; Prometheus refuses more than 11,000 per series."""
INSIDE_S = 15.0
"""Spacing at which days are read: scrapes are rarely closer, and the buckets' maxima need no finer samples."""
WIDEST_POINT_S = 60.0
"""Widest spacing at which the value of the query stands for the interval; wider samples are means at this spacing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server is spared, and what we are."""

    newest: int = 8
    """Queries for newest samples at a time, per server; Prometheus runs 20 at once by default."""
    histories: int = 4
    """Range queries at a time, per server."""
    most_bytes: int = 4 * 2**20
    """Largest answer, decompressed; 10,000 points of one series are 0.4 MB."""


@dataclass(slots=True)
class Exchange:
    """What was asked of one server, for telemetry."""

    queries: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Time that answers took, failures included."""
    read_bytes: int = 0


class _Lanes:
    """A server's turns: newest samples do not wait behind histories."""

    def __init__(self, limits: Limits) -> None:
        self.newest, self.histories = asyncio.Semaphore(limits.newest), asyncio.Semaphore(limits.histories)


class PrometheusSource:
    """A load source over the servers of the settings."""

    def __init__(self, servers: Sequence[Server], limits: Limits | None = None) -> None:
        self._servers = tuple(servers)
        self._limits = limits or Limits()
        self._lanes: dict[str, _Lanes] = {}
        self._contexts = TlsContexts()
        self._session: aiohttp.ClientSession | None = None
        self.exchanges = {server.url: Exchange() for server in servers}
        """By the server's url, as the settings name it."""

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers that may be asked."""
        return self._servers

    def replace_servers(self, servers: Sequence[Server]) -> None:
        """Ask these servers from now on; requests under way end as they began."""
        self._servers = tuple(servers)
        urls = {server.url for server in servers}
        self._lanes = {url: lanes for url, lanes in self._lanes.items() if url in urls}
        self.exchanges = {url: self.exchanges.get(url, Exchange()) for url in urls}
        self._contexts = TlsContexts()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def admit(self, workload: Workload) -> None:
        """As `LoadSource.admit`: its serverAddress is allowed for its namespace."""
        allowed(self._servers, workload)

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """As `LoadSource.read`."""
        query = workload.query_of(signal)
        if query is None:
            raise SourceError(f"{workload.namespace}/{workload.name} names no query, and no load was pushed")
        if spacing_s > bucket_spacing(workload.step_s):
            return await self._blocks(workload, query, end_s, n, spacing_s)
        inside_s = spacing_s if spacing_s <= workload.step_s else max(workload.step_s, INSIDE_S)
        k = round(spacing_s / inside_s)
        sample = query if inside_s <= WIDEST_POINT_S else _over("avg", query, inside_s)
        total = total_of(await self.series(workload, sample, end_s, n * k, inside_s))
        return _summed_up(total.reshape(n, k))

    async def _blocks(self, workload: Workload, query: str, end_s: float, n: int, spacing_s: float) -> Samples:
        """Mean and largest value of wide intervals, summed up by the server; missing where either is."""
        mean, largest = [
            total_of(await self.series(workload, _over(function, query, spacing_s), end_s, n, spacing_s))
            for function in ("avg", "max")
        ]
        known = ~np.isnan(mean + largest)
        return Samples(np.where(known, mean, np.nan), np.where(known, largest, np.nan))

    async def series(self, workload: Workload, query: str, end_s: float, n: int, spacing_s: float) -> FloatArray:
        """All series that `query` gives at n stamps up to `end_s`, (series, n); rows are joined where it takes chunks.

        Raises:
            SourceError: as `LoadSource.read`.
        """
        server, address = self._server_of(workload)
        timeout_s = server.timeout_s if workload.timeout_s is None else min(workload.timeout_s, server.timeout_s)
        ask = _Question(server, address, query, timeout_s)
        if n == 1:
            return await self._instant(ask, end_s)
        try:
            async with asyncio.TaskGroup() as reads:
                chunks = [
                    reads.create_task(self._range(ask, end_s - back * spacing_s, min(MOST_POINTS, n - back), spacing_s))
                    for back in range(0, n, MOST_POINTS)
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return _side_by_side([chunk.result() for chunk in reversed(chunks)])

    def _server_of(self, workload: Workload) -> tuple[Server, str]:
        address = workload.server_address or ""
        try:
            return server_for(self._servers, workload.namespace, address), address
        except TriggerError as error:
            raise SourceError(str(error)) from error

    async def _instant(self, ask: "_Question", t_s: float) -> FloatArray:
        async with self._lanes_of(ask.server).newest:
            return await self._answer(ask, "query", {"time": f"{t_s:.3f}"}, _Grid(t_s, 1, 1.0))

    async def _range(self, ask: "_Question", end_s: float, n: int, spacing_s: float) -> FloatArray:
        grid = _Grid(end_s - (n - 1) * spacing_s, n, spacing_s)
        span = {"start": f"{grid.start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{spacing_s:g}"}
        async with self._lanes_of(ask.server).histories:
            return await self._answer(ask, "query_range", span, grid)

    def _lanes_of(self, server: Server) -> _Lanes:
        return self._lanes.setdefault(server.url, _Lanes(self._limits))

    async def _answer(self, ask: "_Question", route: str, when: dict[str, str], grid: "_Grid") -> FloatArray:
        """Series of a good answer; whatever else comes is a SourceError that names the address."""
        exchange, started = self.exchanges.get(ask.server.url, Exchange()), time.perf_counter()
        exchange.queries += 1
        try:
            async with asyncio.timeout(ask.timeout_s):
                body = await self._exchange(ask, route, when)
            exchange.read_bytes += len(body)
            return series_of(body, grid.start_s, grid.n, grid.spacing_s)
        except (SourceError, aiohttp.ClientError, OSError, ValueError) as error:
            exchange.failures += 1
            raise SourceError(f"{ask.address}: {_reason(error, ask.timeout_s)}") from error
        finally:
            exchange.seconds += time.perf_counter() - started

    async def _exchange(self, ask: "_Question", route: str, when: dict[str, str]) -> bytes:
        async with self._open_session().get(
            f"{ask.address.rstrip('/')}/api/v1/{route}",
            params={**ask.server.parameters, "query": ask.query, **when},
            headers=headers_of(ask.server),
            allow_redirects=False,
            ssl=self._contexts.of(ask.server),
        ) as answer:
            body = await self._body(answer)
            if answer.status != 200:
                raise SourceError(_refusal(answer, body))
            return body

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in answer.content.iter_chunked(2**16):
            body += part
            if len(body) > self._limits.most_bytes:
                answer.close()
                raise SourceError(
                    f"the answer is larger than {self._limits.most_bytes / 2**20:g} MiB; a total, one series, is needed"
                )
        return bytes(body)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Not packed: for 200 histories packing took Prometheus 26 CPU seconds, all the rest 10.
                headers={"User-Agent": f"foresail/{__version__}", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


@dataclass(frozen=True, slots=True)
class _Question:
    """A query, whom to ask it, and how long to wait."""

    server: Server
    address: str
    query: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Grid:
    """The stamps that are asked for."""

    start_s: float
    n: int
    spacing_s: float


def _reason(error: Exception, timeout_s: float) -> str:
    """What went wrong, in an operator's words."""
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"the answer broke off: {shown(error)}"
    return f"cannot be asked: {shown(error) or type(error).__name__}"


def _over(function: str, query: str, spacing_s: float) -> str:
    """Mean ("avg") or largest value ("max") of the query over the `spacing_s` before a stamp.

    A millisecond less than the spacing, since Prometheus before 3.0 takes the value at both ends of a range. The line
    breaks end a comment in the query.
    """
    return f"{function}_over_time((\n{query}\n)[{round(spacing_s * 1000) - 1}ms:{WIDEST_POINT_S:g}s])"


def _summed_up(parts: FloatArray) -> Samples:
    """Mean and largest of what is known of each interval, (n, k) → (n,) each."""
    known = ~np.isnan(parts)
    count = known.sum(axis=1)
    mean = np.where(known, parts, 0.0).sum(axis=1) / np.maximum(count, 1)
    return Samples(np.where(count > 0, mean, np.nan), np.fmax.reduce(parts, axis=1))


def _side_by_side(chunks: list[FloatArray]) -> FloatArray:
    """Chunks of (series, n) one after the other; a chunk with fewer series is filled up with missing ones."""
    rows = max(len(chunk) for chunk in chunks)
    return np.hstack([np.pad(c, ((0, rows - len(c)), (0, 0)), constant_values=np.nan) for c in chunks])


def _refusal(answer: aiohttp.ClientResponse, body: bytes) -> str:
    """What a status other than 200 means for an operator."""
    if 300 <= answer.status < 400:
        where = shown(answer.headers.get("Location", "elsewhere"))
        return f"redirects to {where}, which is not followed: name that address in serverAddress and in the settings"
    known = {
        401: "refuses the credentials of the settings (401)",
        403: "refuses the credentials of the settings (403)",
        404: "has no Prometheus API at this address, or no such tenant (404)",
        429: "asks for fewer queries (429)",
    }
    return f"{known.get(answer.status, f'answers with status {answer.status}')}: {error_in(body)}"
