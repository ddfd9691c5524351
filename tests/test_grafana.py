"""The read API for Grafana, through a real aiohttp server: its requests replayed, and bad input."""

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from scaler.core.domain import Running
from scaler.curves import Curves
from scaler.engine import Engine
from scaler.families import FAMILIES
from scaler.grafana import PREFIX, Door
from tests.fakes import WEDNESDAY_S
from tests.service import daily, declared, loop_of, some_engine, tick

EIGHT = Running(8, 7, 1, 100, 0.1)
API = PREFIX + "/api/v1/"


@contextlib.asynccontextmanager
async def client_of(engine: Engine, *names: str) -> AsyncIterator[Any]:
    async with loop_of(engine):
        for name in names:
            await engine.first(engine.declare(declared(name)))
        app = web.Application()
        app.add_routes(Door(engine, Curves(engine)).routes())
        async with TestClient(TestServer(app)) as client:
            yield client


async def ask(client: Any, path: str, method: str = "GET", **params: Any) -> Any:
    """The data of a good answer."""
    sent = {"params": params} if method == "GET" else {"data": params}
    answer = await client.request(method, API + path, **sent)
    body = await answer.json()
    assert answer.status == 200, body
    assert body["status"] == "success"
    return body["data"]


FROM, TO = WEDNESDAY_S - 1800.0, WEDNESDAY_S + 1800.0
RANGE = {"start": f"{FROM:.0f}", "end": f"{TO:.0f}"}
LEVELS = ["0.5", "0.9", "0.97", "0.99", "0.995"]
REPLAYED = [
    ("POST", "query", {"query": "1+1", "time": "4"}, {"resultType": "scalar", "result": [4, "2"]}),
    ("GET", "status/buildinfo", {}, {"version": str}),
    ("GET", "metadata", {"limit": "40000"}, {"foresail_load": [{"type": "gauge", "help": str}]}),
    ("POST", "labels", {"limit": "40000", **RANGE},
     ["__name__", "guardrail", "kind", "level", "mode", "namespace", "workload"]),
    ("GET", "labels", {"match[]": "foresail_load", **RANGE}, ["__name__", "namespace", "workload"]),
    ("GET", "label/__name__/values", {"limit": "40000", **RANGE}, sorted(FAMILIES)),
    ("GET", "label/namespace/values", {"match[]": "foresail_load", **RANGE}, ["shop"]),
    ("GET", "label/workload/values", {"match[]": 'foresail_load{namespace="shop"}', **RANGE}, ["api", "web"]),
    ("GET", "label/level/values", {"match[]": 'foresail_forecast_load{workload="web"}'}, LEVELS),
    ("POST", "series", {"match[]": '{workload!=""}', "limit": "2", **RANGE},
     [{"__name__": str, "namespace": "shop"}] * 2),
    (
        "POST",
        "query_range",
        {"query": 'foresail_forecast_load{namespace="shop",workload=~"web"}', "step": "15", **RANGE},
        {"resultType": "matrix", "result": [{"metric": {"level": level}} for level in LEVELS]},
    ),
    ("GET", "query_range", {"query": "foresail_load", "step": "30s", **RANGE}, {"resultType": "matrix"}),
    ("POST", "query_exemplars", {"query": "foresail_load", **RANGE}, []),
    ("POST", "query", {"query": "foresail_replicas", "time": f"{WEDNESDAY_S:.3f}"}, {"resultType": "vector"}),
]  # fmt: skip
"""What Grafana's data source sends, and the part of each answer that it relies on: a check, variables, a panel."""


def holds(answer: Any, expected: Any) -> bool:
    """Whether everything that is expected is in the answer."""
    if isinstance(expected, type):
        return isinstance(answer, expected)
    if isinstance(expected, dict):
        return isinstance(answer, dict) and all(k in answer and holds(answer[k], v) for k, v in expected.items())
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(holds(a, e) for a, e in zip(answer, expected, strict=True))
    return bool(answer == expected)


async def test_requests_of_grafana_are_answered_in_their_shapes() -> None:
    engine, _, clock = some_engine(running=EIGHT)
    async with client_of(engine, "web", "api") as client:
        await tick(engine, clock, 3)
        for method, path, params, expected in REPLAYED:
            data = await ask(client, path, method, **params)
            assert holds(data, expected), (path, params, data)


async def test_a_range_joins_the_past_as_it_was_forecast_to_what_is_to_come() -> None:
    engine, _, clock = some_engine(running=EIGHT)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 60)
        now_s = clock.now_s
        grid = {"start": now_s - 600.0, "end": now_s + 3600.0, "step": 15}
        (median, *_, highest) = (await ask(client, "query_range", query="foresail_forecast_load", **grid))["result"]
        posted = {one.t_s: one for one in engine.board.recent(engine.roster.find("web"), 60)}
    assert (median["metric"]["level"], highest["metric"]["level"]) == ("0.5", "0.995")
    said = {t: float(v) for t, v in median["values"]}
    assert max(said) >= now_s + 3600.0
    # At t stands what was forecast h = 5 steps (60 s of lead, 15 s of sync) before.
    for t_s in (now_s, now_s - 300.0):
        made = posted[t_s - 75.0]
        assert said[t_s] == pytest.approx(float(made.decisions.path[made.row][0]))
    assert all(float(high) >= said[t] for t, high in highest["values"])


async def test_load_is_known_for_days_and_weeks() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        await tick(engine, engine.clock, 1)  # type: ignore[arg-type]
        for back_s, step_s in ((3600.0, 15), (7 * 86_400.0, 300), (20 * 86_400.0, 3600)):
            grid = {"start": WEDNESDAY_S - back_s, "end": WEDNESDAY_S, "step": step_s}
            (found,) = (await ask(client, "query_range", query="foresail_load", **grid))["result"]
            assert len(found["values"]) >= back_s / step_s
            t_s, value = found["values"][0]
            assert float(value) == pytest.approx(float(daily(t_s)), rel=0.05)


async def test_replicas_modes_and_capacity_come_from_the_decisions() -> None:
    engine, _, clock = some_engine(running=EIGHT)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 4)
        at = {"time": clock.now_s}
        made = engine.board.answer(engine.roster.find("web"))
        found = await ask(client, "query", query="foresail_replicas", **at)
        kinds = {one["metric"]["kind"]: float(one["value"][1]) for one in found["result"]}
        load = float(made.decisions.load[made.row])
        assert kinds["served"] == made.decisions.predicted_replicas[made.row]
        assert (kinds["observed"], kinds["ready"], kinds["required"]) == (8.0, 7.0, math.ceil(load / 70.0))
        (mode,) = (await ask(client, "query", query="foresail_mode > 0", **at))["result"]
        assert mode["metric"]["mode"] == made.mode.label
        (capacity,) = (await ask(client, "query", query='foresail_capacity_load{workload="web",kind="serving"}', **at))[
            "result"
        ]
        assert float(capacity["value"][1]) == 7 * 70.0
        assert (await ask(client, "query", query="sum by (kind) (foresail_replicas{kind='ready'})", **at))[
            "result"
        ] == [{"metric": {"kind": "ready"}, "value": [clock.now_s, "7"]}]


async def test_the_coming_day_is_told_by_the_hour() -> None:
    engine, _, clock = some_engine()
    async with client_of(engine, "web") as client:
        await tick(engine, clock)
        grid = {"start": clock.now_s, "end": clock.now_s + 86_400.0, "step": 600}
        (found,) = (await ask(client, "query_range", query="foresail_day_peak_load", **grid))["result"]
    for t_s, value in found["values"]:
        hour_s = t_s - (t_s - WEDNESDAY_S) % 3600.0
        assert float(value) == pytest.approx(float(daily(hour_s + np.arange(0.0, 3600.0, 15.0)).max()), rel=0.15)


async def test_days_of_decisions_come_from_the_journal() -> None:
    engine, _, clock = some_engine(running=EIGHT)
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 400)
        grid = {"start": WEDNESDAY_S, "end": clock.now_s, "step": 15}
        query = 'foresail_replicas{kind="served"}'
        (found,) = (await ask(client, "query_range", query=query, **grid))["result"]
        coverage = (await ask(client, "query", query="foresail_coverage", time=clock.now_s))["result"]
    assert len(found["values"]) == 401
    shares = [float(one["value"][1]) for one in coverage]
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] <= 1.0


BAD = [
    ("query", {"query": "foresail_load{"}, 400, "bad_data"),
    ("query", {}, 400, "bad_data"),
    ("query", {"query": "1", "time": "yesterday"}, 400, "bad_data"),
    ("query", {"query": "1", "time": "nan"}, 400, "bad_data"),
    ("query", {"query": "1", "time": "2026-09-16T00:00:00"}, 400, "bad_data"),
    ("query", {"query": 'foresail_load{workload=~"("}'}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "11001", "step": "1"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "1e300", "step": "1"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "-1", "step": "1"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "1", "step": "0"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "1", "step": "-5"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "1", "step": "inf"}, 400, "bad_data"),
    ("query_range", {"query": "1", "start": "0", "end": "1"}, 400, "bad_data"),
    ("query_range", {"query": "foresail_mode", "start": "1", "end": "1789516800", "step": "1y"}, 422, "execution"),
    ("series", {}, 400, "bad_data"),
    ("series", {"match[]": "1"}, 400, "bad_data"),
    ("labels", {"limit": "many"}, 400, "bad_data"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bad_requests_are_refused_as_prometheus_refuses_them(method: str) -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        for path, params, status, kind in BAD:
            sent = {"params": params} if method == "GET" else {"data": params}
            answer = await client.request(method, API + path, **sent)
            body = await answer.json()
            assert (answer.status, body["status"], body["errorType"]) == (status, "error", kind), (path, params, body)
            assert body["error"]


async def test_unknown_series_are_none_and_no_error() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        for query in ("up", 'foresail_load{workload="gone"}', 'foresail_mode{mode="Odd"}', 'foresail_load{x="1"}'):
            assert (await ask(client, "query", query=query))["result"] == []


async def test_names_that_would_break_a_page_come_back_as_they_are() -> None:
    names = ["<script>alert(1)</script>", 'a"b\\c', "a\nb", "x" * 10_000]
    engine, _, _ = some_engine()
    async with client_of(engine, *names) as client:
        assert await ask(client, "label/workload/values") == sorted(names)
        found = (await ask(client, "query", query=r'foresail_load{workload="a\"b\\c"}'))["result"]
        assert [one["metric"]["workload"] for one in found] == [names[1]]
        found = (await ask(client, "query", query=r'foresail_load{workload=~"a\nb"}'))["result"]
        assert [one["metric"]["workload"] for one in found] == [names[2]]
        answer = await client.get(API + "label/workload/values")
        assert answer.content_type == "application/json"


async def test_pages_of_other_sites_may_not_ask_and_may_not_read() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        answer = await client.post(API + "query", data={"query": "1+1"}, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status == 403
        assert (await answer.json())["status"] == "error"
        fine = await client.get(API + "query", params={"query": "1+1"}, headers={"Sec-Fetch-Site": "same-origin"})
        assert fine.status == 200
        assert "Access-Control-Allow-Origin" not in fine.headers
