"""Histories from a Prometheus API."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from scaler import rangequery
from scaler.errors import HistoryError
from scaler.trace import Trace

NOW_S = 1_700_000_000.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def fetched(handler: Handler, days: float = 3.0) -> Trace:
    app = web.Application()
    app.router.add_get("/api/v1/query_range", handler)
    async with TestServer(app) as server:
        return await asyncio.to_thread(rangequery.fetch, str(server.make_url("")), "sum(x)", days, NOW_S, "x")


def matrix(*series: list[tuple[float, str]]) -> web.Response:
    result = [{"metric": {}, "values": values} for values in series]
    return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})


async def test_a_range_comes_in_parts_and_gaps_stay_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.prometheus.MOST_POINTS", 1000)
    asked = []

    async def handler(request: web.Request) -> web.Response:
        first, last = float(request.query["start"]), float(request.query["end"])
        asked.append(round((last - first) / 60.0) + 1)
        stamps = [first + 60.0 * n for n in range(asked[-1])]
        return matrix([(stamp, "NaN" if stamp % 600 == 0 else str(stamp % 7)) for stamp in stamps])

    trace = await fetched(handler)
    assert sorted(asked) == [320, 1000, 1000, 1000, 1000]
    assert trace.spacing_s == 60.0
    assert 4300 < len(trace.values) <= 4320


async def test_a_sample_closes_its_interval() -> None:
    async def handler(request: web.Request) -> web.Response:
        last = float(request.query["end"])
        return matrix([(last - 60.0 * back, str(back)) for back in (4, 3, 2, 1, 0)])

    trace = await fetched(handler)
    assert trace.start_s + trace.span_s == NOW_S // 60.0 * 60.0
    assert trace.values.tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]


async def nothing(request: web.Request) -> web.Response:
    del request
    return matrix()


async def two(request: web.Request) -> web.Response:
    del request
    return matrix([(NOW_S // 60 * 60, "1")], [(NOW_S // 60 * 60, "2")])


async def wrong(request: web.Request) -> web.Response:
    del request
    return web.json_response({"status": "error", "error": "parse error at char 3"}, status=400)


async def no_api(request: web.Request) -> web.Response:
    del request
    return web.Response(text="<html>")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (nothing, "matches nothing"),
        (two, "the query gives 2 series; a total is needed"),
        (wrong, "parse error at char 3"),
        (no_api, "the answer is not JSON: <html>"),
    ],
)
async def test_what_a_server_cannot_give_is_said(handler: Handler, words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        await fetched(handler)


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(HistoryError, match="cannot be asked"):
        rangequery.fetch("http://127.0.0.1:9", "up", 2.0, NOW_S, "up")
    with pytest.raises(HistoryError, match=r"prometheus:9090: .*must be http:// or https://"):
        rangequery.fetch("prometheus:9090", "up", 2.0, NOW_S, "up")
