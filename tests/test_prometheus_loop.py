"""The loop over a Prometheus: what a tick asks, outages and recoveries."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import numpy as np
import pytest

from scaler.core.domain import Mode
from scaler.engine import Engine
from scaler.errors import NotDecidedYet, StaleLoad, TriggerError
from scaler.lookout import HISTORY_AGAIN_S
from scaler.servers import Server
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.fake_prometheus import FakePrometheus, html, server, source_of, unprocessable
from tests.service import METADATA, Clock, daily, loop_of, tick

QUEUE = {"kind": "queue", "latencyTarget": "60s", "arrivalQuery": "sum(rate(arrived_total[1m]))"}


@contextlib.asynccontextmanager
async def an_engine(fake: FakePrometheus, **settings: object) -> AsyncIterator[tuple[Engine, Clock]]:
    clock = Clock()
    async with source_of(server(fake)) as source:
        engine = Engine(Settings.model_validate({"first_answer_s": 20, **settings}), source, NoCluster(), clock)
        async with loop_of(engine):
            yield engine, clock


def metadata(fake: FakePrometheus, **more: str) -> dict[str, str]:
    return {**METADATA, "serverAddress": fake.url, "query": "sum(rate(http_requests_total[1m]))", **more}


async def test_each_declared_query_is_asked_once_per_tick(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        keys = [engine.asked("shop", f"web{n}", metadata(fake)) for n in range(5)]
        keys.append(engine.asked("shop", "queue", metadata(fake, **QUEUE)))
        for key in keys:
            await engine.first(key)
        while engine._incomplete:
            await asyncio.sleep(0.01)
        fake.asked.clear()
        await tick(engine, clock, 4)
    assert len(fake.asked) == 4 * (5 + 2)
    assert all(request.path == "/api/v1/query" for request in fake.asked)


async def test_after_missed_ticks_one_range_query_catches_up(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        await engine.first(key)
        fake.misbehave = html
        await tick(engine, clock, 8)
        fake.misbehave = None
        fake.asked.clear()
        await tick(engine, clock)
        fleet, row = engine.row_of(key)
        fine = fleet.ring.history(slice(row, row + 1)).fine[0, -20:]
    assert [request.path for request in fake.asked] == ["/api/v1/query_range"]
    np.testing.assert_allclose(fine, daily(clock() - 15.0 * np.arange(19, -1, -1.0)), atol=1e-5)


async def test_an_address_outside_of_the_settings_takes_no_place(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, _):
        for namespace, changes in (("shop", {"serverAddress": "http://127.0.0.1:1"}), ("web", {})):
            with pytest.raises(TriggerError, match=f"is not allowed.*namespace '{namespace}'"):
                engine.asked(namespace, "web", {**metadata(fake), **changes})
        assert not engine.roster.entries
    assert fake.asked == []


async def test_a_first_request_is_told_why_there_is_no_answer(fake: FakePrometheus) -> None:
    fake.misbehave = unprocessable
    async with an_engine(fake, first_answer_s=0.2) as (engine, _):
        with pytest.raises(NotDecidedYet, match="422: query timed out"):
            await engine.first(engine.asked("shop", "web", metadata(fake)))


async def test_an_outage_is_held_then_fails_with_its_reason_and_recovers(fake: FakePrometheus) -> None:
    async with an_engine(fake, stale_s=60, failed_s=300) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        posted = await engine.first(key)
        before = posted.decisions.predicted_replicas[posted.row]
        fake.misbehave = html
        await tick(engine, clock, 19)
        held = engine.board.answer(key)
        assert held.mode is Mode.HOLDING
        assert held.decisions.predicted_replicas[held.row] >= before
        await tick(engine, clock, 5)
        with pytest.raises(StaleLoad, match="not JSON: <html>Sign in"):
            await engine.first(key)
        fake.misbehave = None
        await tick(engine, clock)
        assert (await engine.first(key)).mode in {Mode.RECOVERY, Mode.NORMAL}
        assert key not in engine.lookout.troubles


async def test_a_history_that_could_not_be_read_is_read_once_the_server_is_back(fake: FakePrometheus) -> None:
    fake.misbehave = html
    async with an_engine(fake, first_answer_s=0.2) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        with pytest.raises(NotDecidedYet):
            await engine.first(key)
        fake.misbehave = None
        await tick(engine, clock, round(HISTORY_AGAIN_S / 15) + 1)
        async with asyncio.timeout(20):
            while engine.board.answer(key).mode is Mode.LEARNING:
                await asyncio.sleep(0.02)


async def test_after_an_outage_longer_than_the_fine_history_all_of_it_is_read_again(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        await engine.first(key)
        clock.now_s += 5 * 3600.0
        fake.asked.clear()
        await tick(engine, clock)
        async with asyncio.timeout(20):
            while len(fake.asked) < 1 + 5 + 1 + 1:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        fleet, row = engine.row_of(key)
        assert not np.isnan(fleet.ring.history(slice(row, row + 1)).mean[0, 1:]).any()


async def test_one_hanging_server_leaves_the_workloads_of_another_alone(fake: FakePrometheus) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        clock, settings = Clock(), Settings(read_timeout_s=0.3, first_answer_s=2)
        other = Server(url=url, namespaces=("shop",), timeout_s=0.2)
        async with (
            source_of(server(fake), other) as source,
            loop_of(Engine(settings, source, NoCluster(), clock)) as engine,
        ):
            stuck = engine.asked("shop", "stuck", metadata(fake, serverAddress=url))
            fine = engine.asked("shop", "fine", metadata(fake))
            await engine.first(fine)
            await tick(engine, clock, 5)
            assert engine.board.answer(fine).mode in {Mode.RECOVERY, Mode.NORMAL}
            with pytest.raises(NotDecidedYet, match=r"no answer within 0\.2 s"):
                await engine.first(stuck)
