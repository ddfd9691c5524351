"""Who may push: the token, and what stands in for one on a loopback door."""

import contextlib
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from scaler.access import Access, Token, is_loopback
from scaler.engine import Engine
from scaler.errors import SettingsError
from scaler.push import PushedLoad
from scaler.sources import Replicas, Sources
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import application
from tests.service import Clock, FakeCluster, declared, loop_of, tick
from tests.service import some_engine as other_engine

ROUTE = "/v1/workloads/shop/web/observations"
SECRET = "0123456789abcdef-tøken"  # noqa: S105 - of these tests alone


@contextlib.asynccontextmanager
async def pushing(
    access: Access, folder: Path | None = None, **metadata: str
) -> AsyncIterator[tuple[Any, Engine, Clock]]:
    engine, _, clock = other_engine(first_answer_s=0.05)
    pushed = PushedLoad(folder, clock)
    engine.lookout._source, engine.lookout._cluster = Sources(pushed), Replicas(FakeCluster(None), pushed)
    async with loop_of(engine):
        engine.declare(declared("web", **metadata))
        async with TestClient(
            TestServer(application(engine, registry_of(EngineCollector(engine)), pushed, access))
        ) as client:
            yield client, engine, clock


def token_in(folder: Path) -> Token:
    path = folder / "token"
    path.write_text(SECRET + "\n")
    return Token(path)


async def test_with_a_token_only_its_holder_stores(tmp_path: Path) -> None:
    async with pushing(Access(token_in(tmp_path), loopback=True)) as (client, _, clock):
        body = {"t": clock(), "load": 100.0}
        for shown in (
            None,
            SECRET,
            "Bearer",
            "Bearer ",
            f"Basic {SECRET}",
            f"Bearer {SECRET[:-1]}",
            f"Bearer {SECRET}x",
        ):
            headers = {} if shown is None else {"Authorization": shown}
            answer = await client.post(ROUTE, json=body, headers=headers)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), shown
        answer = await client.post(ROUTE, json=body, headers={"Authorization": f"Bearer {SECRET}"})
        assert (answer.status, (await answer.json())["stored"]) == (200, 1)
        for path in ("/predict?service=web", "/v1/workloads", "/metrics", "/healthz", "/readyz", "/openapi.json"):
            assert (await client.get(path)).status != 401, "reading needs no token"


async def test_a_rotated_token_is_in_force_and_a_broken_one_keeps_the_old(tmp_path: Path) -> None:
    token = token_in(tmp_path)
    (tmp_path / "token").write_text("")
    assert token.fits(SECRET)
    (tmp_path / "token").write_text("another-secret-of-length")
    assert token.fits("another-secret-of-length")
    assert not token.fits(SECRET)
    (tmp_path / "token").unlink()
    assert token.fits("another-secret-of-length")


@pytest.mark.parametrize("content", [None, "", "short"])
def test_a_token_that_is_none_is_refused_at_start(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(SettingsError, match=r"http_token_file: .*token"):
        Token(tmp_path / "token")


async def test_without_a_token_a_door_to_the_network_stores_nothing() -> None:
    async with pushing(Access(None, loopback=False)) as (client, _, clock):
        answer = await client.post(ROUTE, json={"t": clock(), "load": 1.0})
        assert answer.status == 403
        assert "http_token_file is not set" in (await answer.json())["error"]
        assert (await client.get("/v1/workloads")).status == 200


async def test_without_a_token_a_loopback_door_stores_but_not_for_pages_in_a_browser() -> None:
    async with pushing(Access(None, loopback=True)) as (client, _, clock):
        body = {"t": clock(), "load": 1.0}
        assert (await client.post(ROUTE, json=body)).status == 200
        assert (await client.post(ROUTE, json=body, headers={"Host": "localhost:8080"})).status == 200
        assert (await client.post(ROUTE, json=body, headers={"Host": "evil.example:8080"})).status == 403
        assert (
            await client.post(ROUTE, data='{"t": 1, "load": 1}', headers={"Content-Type": "text/plain"})
        ).status == 403


def test_loopback_addresses_are_told_from_others() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("192.0.2.1", "::", "[::]", "10.0.0.1", "", "localhost.evil.example")))


async def test_each_bad_sample_is_refused_by_name_and_the_good_ones_are_stored() -> None:
    async with pushing(Access(None, loopback=True)) as (client, _, clock):
        now_s = clock()
        samples = [
            {"t": now_s - 15, "load": 1},
            {"t": now_s - 15, "load": math.nan},
            {"t": now_s - 15, "load": -1},
            {"t": now_s - 15, "load": math.inf},
            {"t": now_s + 60, "load": 1},
            {"t": now_s - 15},
            {"t": now_s - 30, "load": None, "replicas": 3},
            {"load": 1},
            7,
            {"t": now_s - 15, "load": 1, "laod": 1},
            {"t": now_s * 1000, "load": 1},
            {"t": now_s - 15, "load": "1"},
        ]
        body = json.dumps({"observations": samples})
        answer = await client.post(ROUTE, data=body, headers={"Content-Type": "application/json"})
        said = await answer.json()
        assert (answer.status, said["stored"], said["durable"]) == (200, 2, False)
        why = {one["index"]: one["error"] for one in said["refused"]}
        assert sorted(why) == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
        assert "load: Input should be a finite number" in why[1]
        assert "load: Input should be greater than or equal to 0" in why[2]
        assert "60 s ahead of this service's clock" in why[4]
        assert "laod: Extra inputs" in why[9]
        alone = await client.post(ROUTE, json={"t": clock(), "load": -1.0})
        assert alone.status == 400
        assert "observations.0: load" in (await alone.json())["error"]
        many = {"observations": [{"t": clock(), "load": 1.0}] * 1001}
        assert (await client.post(ROUTE, json=many)).status == 400


async def test_only_a_workload_without_a_query_can_be_pushed_to() -> None:
    async with pushing(Access(None, loopback=True), serverAddress="http://prometheus", query="sum(a)") as (
        client,
        _,
        clock,
    ):
        answer = await client.post(ROUTE, json={"t": clock(), "load": 1.0})
        assert (answer.status, "read from its serverAddress" in (await answer.json())["error"]) == (400, True)
        assert (await client.post(ROUTE.replace("web", "wep"), json={"t": clock(), "load": 1.0})).status == 404


async def test_pushed_load_is_decided_on_and_pushed_history_is_learnt_from(tmp_path: Path) -> None:
    async with pushing(Access(None, loopback=True), tmp_path) as (client, engine, clock):
        assert (await client.get("/predict?service=web")).status == 503
        await client.post(ROUTE, json={"t": clock() + 15, "load": 700.0, "replicas": 10, "ready": 9})
        await tick(engine, clock)
        said = await (await client.get("/v1/workloads/shop/web")).json()
        assert (said["load"], said["replicas"], said["decision"]["ready"]) == (700.0, 10, 9)
        assert said["predicted_replicas"] == 14
        assert said["predictive"] is None
        for start in range(0, 3000, 1000):
            past = [{"t": clock() - 15 * k, "load": 700.0} for k in range(start, start + 1000)]
            assert (await client.post(ROUTE, json={"observations": past})).status == 200
        await tick(engine, clock)
        said = await (await client.get("/v1/workloads/shop/web")).json()
        assert said["predictive"] is not None
    async with pushing(Access(None, loopback=True), tmp_path) as (client, engine, clock):
        engine.lookout._source._pushed.load()
        engine._forget(next(iter(engine._rows)))
        answer = await client.post(ROUTE, json={"t": clock(), "load": 700.0})
        assert answer.status == 200, "known from before, though nobody has asked for it yet"
        assert list(tmp_path.iterdir())
