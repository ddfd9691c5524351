"""Load from a Prometheus: what is asked, when, and with which credentials."""

import asyncio
from pathlib import Path

import numpy as np
from aiohttp import web

from scaler.core.signals import Signal
from scaler.prometheus import Limits
from tests.fake_prometheus import FakePrometheus, asking, json_answer, read, server, source_of
from tests.fakes import WEDNESDAY_S
from tests.service import daily, declared


async def test_the_newest_sample_is_the_querys_value_at_the_tick(fake: FakePrometheus) -> None:
    samples = await read(fake)
    np.testing.assert_allclose(samples.mean, daily(np.array([WEDNESDAY_S])))
    [request] = fake.asked
    assert request.path == "/api/v1/query"
    assert dict(request.query) == {"query": "sum(rate(http_requests_total[1m]))", "time": "1789516800.000"}


async def test_days_are_read_in_chunks_and_summed_up_to_means_and_maxima(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        samples = await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 11_520, 60.0)
    parts = daily(WEDNESDAY_S - 15.0 * np.arange(46_079, -1, -1.0)).reshape(11_520, 4)
    np.testing.assert_allclose(samples.mean, parts.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(samples.maximum, parts.max(axis=1), atol=1e-5)
    assert [request.path for request in fake.asked] == ["/api/v1/query_range"] * 5
    assert all(request.query["step"] == "15" for request in fake.asked)


async def test_a_step_wider_than_a_minute_is_asked_for_as_a_mean(fake: FakePrometheus) -> None:
    workload = asking(fake, step="5m", arrivalQuery="up # a comment")
    async with source_of(server(fake)) as source:
        await source.read(workload, Signal.LOAD, WEDNESDAY_S, 1, 300.0)
        await source.read(workload, Signal.ARRIVALS, WEDNESDAY_S, 3, 300.0)
    queries = [request.query["query"] for request in fake.asked]
    assert queries[0] == "avg_over_time((\nsum(rate(http_requests_total[1m]))\n)[299999ms:60s])"
    assert queries[1] == "avg_over_time((\nup # a comment\n)[299999ms:60s])"


async def test_weeks_are_summed_up_by_the_server_in_blocks_of_five_minutes(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        blocks = await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 20 * 288 + 1, 300.0)
    asked = [request.query["query"] for request in fake.asked]
    inner = "((\nsum(rate(http_requests_total[1m]))\n)[299999ms:60s])"
    assert asked == [f"avg_over_time{inner}", f"max_over_time{inner}"]
    assert {(request.path, request.query["step"]) for request in fake.asked} == {("/api/v1/query_range", "300")}
    stamps_s = WEDNESDAY_S - 300.0 * np.arange(20 * 288, -1, -1)
    np.testing.assert_allclose(blocks.mean, daily(stamps_s))
    np.testing.assert_allclose(blocks.maximum, daily(stamps_s))


async def test_gaps_in_the_history_are_missing(fake: FakePrometheus) -> None:
    fake.load = lambda t_s: np.where((t_s / 15) % 5 == 0, daily(t_s), np.nan)
    async with source_of(server(fake)) as source:
        samples = await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 10, 15.0)
    assert np.isnan(samples.mean).sum() == 8
    assert (samples.mean[~np.isnan(samples.mean)] > 0).all()


async def test_headers_parameters_and_tokens_go_along_and_a_rotated_token_is_used_at_once(
    fake: FakePrometheus, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    mine = server(
        fake, bearer_token_file=token, headers={"X-Scope-OrgID": "shop"}, parameters={"dedup": "true", "query": "1"}
    )
    async with source_of(mine) as source:
        for text in ("one\n", "two\n"):
            token.write_text(text)
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
    assert [request.headers["Authorization"] for request in fake.asked] == ["Bearer one", "Bearer two"]
    assert fake.asked[0].headers["X-Scope-OrgID"] == "shop"
    assert fake.asked[0].query.getall("query") == ["sum(rate(http_requests_total[1m]))"]
    assert fake.asked[0].query["dedup"] == "true"


async def test_basic_authentication_reads_the_password_from_its_file(fake: FakePrometheus, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pässwort")
    await read(fake, username="u", password_file=tmp_path / "password")
    assert fake.asked[0].headers["Authorization"] == "Basic dTpww6Rzc3dvcnQ="


async def test_a_path_in_the_address_is_kept(fake: FakePrometheus) -> None:
    await read(fake, declared("web", serverAddress=f"{fake.url}/select/0/prometheus/", query="up"))
    assert fake.asked[0].path == "/select/0/prometheus/api/v1/query"


async def test_no_more_than_the_stated_number_of_queries_run_at_once(fake: FakePrometheus) -> None:
    running, most = 0, 0

    async def slowly(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        del request
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return json_answer({"status": "success", "data": {"resultType": "scalar", "result": [WEDNESDAY_S, "1"]}})

    fake.misbehave = slowly
    async with source_of(server(fake), limits=Limits(newest=3)) as source, asyncio.TaskGroup() as reads:
        for _ in range(12):
            reads.create_task(source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0))
    assert most == 3
