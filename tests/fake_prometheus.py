"""A server that speaks Prometheus's API about one function of time, or misbehaves as told."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from ssl import SSLContext

import numpy as np
from aiohttp import web

from scaler.core.domain import Workload
from scaler.core.signals import Samples, Signal
from scaler.prometheus import Limits, PrometheusSource
from scaler.servers import Server
from tests.fakes import WEDNESDAY_S
from tests.service import daily, declared, free_port

Misbehaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakePrometheus:
    """Answers with `daily` at the times asked; `misbehave`, once set, answers in its place."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.asked: list[web.Request] = []
        self.misbehave: Misbehaviour | None = None
        self.load = daily
        self.n_series = 1
        self.extra: dict[str, object] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.misbehave is not None:
            return await self.misbehave(request)
        asked = request.query
        if request.path.endswith("/query"):
            stamps_s, kind = np.array([float(asked["time"])]), "vector"
        else:
            start_s, end_s, step_s = (float(asked[name]) for name in ("start", "end", "step"))
            assert (end_s - start_s) / step_s < 11_000
            stamps_s, kind = np.arange(start_s, end_s + step_s / 2, step_s), "matrix"
        loads = self.load(stamps_s)
        pairs = [[t, f"{load:.6f}"] for t, load in zip(stamps_s.tolist(), loads, strict=True) if not np.isnan(load)]
        key, values = ("value", pairs[:1]) if kind == "vector" else ("values", [pairs])
        result = [{"metric": {"pod": str(n)}, key: value} for n in range(self.n_series) for value in values if value]
        return json_answer({"status": "success", "data": {"resultType": kind, "result": result}, **self.extra})


def json_answer(body: object, status: int = 200) -> web.Response:
    return web.Response(body=json.dumps(body).encode(), status=status, content_type="application/json")


@contextlib.asynccontextmanager
async def serving(fake: FakePrometheus, tls: SSLContext | None = None) -> AsyncIterator[FakePrometheus]:
    """Listen on the fake's port."""
    app = web.Application()
    app.add_routes([web.get("/{path:.*}", fake.answer)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", fake.port, ssl_context=tls).start()
    try:
        yield fake
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def source_of(*servers: Server, limits: Limits | None = None) -> AsyncIterator[PrometheusSource]:
    """A source, closed at the end."""
    source = PrometheusSource(servers, limits)
    try:
        yield source
    finally:
        await source.close()


def server(fake: FakePrometheus, **fields: object) -> Server:
    return Server.model_validate({"url": fake.url, "namespaces": ["shop"], **fields})


def asking(fake: FakePrometheus, **metadata: str) -> Workload:
    return declared("web", serverAddress=fake.url, query="sum(rate(http_requests_total[1m]))", **metadata)


async def read(fake: FakePrometheus, workload: Workload | None = None, **fields: object) -> Samples:
    """The newest sample."""
    async with source_of(server(fake, **fields), limits=Limits(most_bytes=100_000)) as source:
        return await source.read(workload or asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)


async def html(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(text="<html>Sign in</html>", content_type="text/html")


async def unprocessable(request: web.Request) -> web.StreamResponse:
    del request
    return json_answer({"status": "error", "errorType": "execution", "error": "query timed out in expression"}, 422)
