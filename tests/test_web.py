"""The HTTP door, through a real aiohttp server."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from scaler.access import Access
from scaler.answers import ModelsAnswer, VersionsAnswer
from scaler.archive import name_of
from scaler.bodies import moment_of
from scaler.core.domain import Running
from scaler.core.guardrails import NAMES
from scaler.engine import Engine
from scaler.model_folder import ModelFolder
from scaler.push import PushedLoad
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import application
from tests.fakes import WEDNESDAY_S
from tests.service import METADATA, declared, loop_of, some_engine, tick
from tests.test_registry import registered


@contextlib.asynccontextmanager
async def client_of(engine: Engine, *names: str) -> AsyncIterator[Any]:
    async with loop_of(engine):
        for name in names:
            await engine.first(engine.declare(declared(name)))
        access = Access(None, loopback=True)
        app = application(engine, registry_of(EngineCollector(engine)), PushedLoad(None, engine.clock), access)
        async with TestClient(TestServer(app)) as client:
            yield client


async def test_keda_reads_the_posted_decision() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        answer = await client.get("/predict", params={"service": "web", "namespace": "shop"})
        body = await answer.json()
    assert answer.status == 200
    assert body["service"] == "web"
    assert body["value"] == body["predicted_replicas"] > 0
    assert body["mode"] == "Recovery"
    assert 0 < body["confidence"] <= 1
    assert list(body["forecast"]["peak"]) == ["0.5", "0.9", "0.97", "0.99", "0.995"]


async def test_a_what_if_follows_the_load_it_is_given_and_records_nothing() -> None:
    engine, _, clock = some_engine()
    async with client_of(engine, "web") as client:
        await tick(engine, clock)
        before = await (await client.get("/v1/workloads/shop/web/decisions")).json()
        answers = []
        for load in (50.0, 500.0, 5000.0):
            body = {
                "service": "web",
                "metrics": {"current_rps": load, "time_of_day": "14:30", "day_of_week": "monday"},
                "prediction_window_minutes": 15,
            }
            answer = await client.post("/predict", json=body)
            assert answer.status == 200
            answers.append((await answer.json())["predicted_replicas"])
        assert before == await (await client.get("/v1/workloads/shop/web/decisions")).json()
    assert answers == sorted(answers)
    assert answers[0] < answers[2]


async def test_a_what_if_at_another_time_of_day_meets_that_times_load() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:

        async def peak(time_of_day: str | float) -> float:
            body = {"service": "web", "metrics": {"time_of_day": time_of_day}, "prediction_window_minutes": 60}
            return float((await (await client.post("/predict", json=body)).json())["forecast"]["peak"]["0.5"])

        assert await peak("06:00") > 1.5 * await peak(18)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ("{", 400, "the body must be JSON"),
        ("[" * 30_000, 400, "the body must be JSON"),
        ("[]", 400, "body: Input should be"),
        ('{"service": "web", "metrics": {"current_rps": NaN}}', 400, "finite number"),
        ('{"service": "web", "metrics": {"current_rps": -1}}', 400, "metrics.current_rps"),
        ('{"service": "web", "metrics": {"curent_rps": 1}}', 400, "metrics.curent_rps: Extra inputs"),
        ('{"service": "web", "metrics": {"time_of_day": "25:00"}}', 400, "time_of_day must be"),
        ('{"service": "web", "metrics": {"day_of_week": 9}}', 400, "day_of_week must be"),
        ('{"service": "web", "prediction_window_minutes": 0}', 400, "prediction_window_minutes"),
        ('{"service": "wep"}', 404, "no workload 'wep'"),
        ('{"service": "web", "namespace": "elsewhere"}', 404, "in namespace 'elsewhere'"),
        (" " * 70_000, 413, "Request Entity Too Large"),
    ],
)
async def test_bad_bodies_get_a_clear_error(body: str, status: int, says: str) -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        answer = await client.post("/predict", data=body)
        assert answer.status == status
        assert says in (await answer.json())["error"]


async def test_an_ambiguous_service_lists_the_ids_that_would_do() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine) as client:
        for query in ("sum(a)", "sum(b)"):
            await engine.first(engine.asked("shop", "web", METADATA | {"query": query}))
        answer = await client.get("/predict", params={"service": "web"})
        assert answer.status == 409
        listed = (await answer.json())["error"].partition(": ")[2].split(", ")
        assert len(listed) == 2
        for identifier in listed:
            namespace, _, service = identifier.partition("/")
            assert (await client.get("/predict", params={"service": service, "namespace": namespace})).status == 200


async def test_workloads_their_state_forecast_and_decisions_are_told() -> None:
    engine, _, clock = some_engine()
    async with client_of(engine, "web", "api") as client:
        await tick(engine, clock, 3)
        listed = (await (await client.get("/v1/workloads")).json())["workloads"]
        assert [w["name"] for w in listed] == ["api", "web"]
        assert {"namespace", "name", "mode", "load", "replicas", "predictive"} <= listed[0].keys()
        one = await (await client.get("/v1/workloads/shop/web")).json()
        assert one["decision"]["guardrails"].keys() == set(NAMES)
        told = await (await client.get("/v1/workloads/shop/web/forecast")).json()
        assert len(told["path"]) == 60
        assert told["path"][0]["t"] > told["t"]
        assert told["lead_window"]["steps"] == 5
        found = (await (await client.get("/v1/workloads/shop/web/decisions?limit=2")).json())["decisions"]
        assert [d["t"] for d in found] == [clock(), clock() - 15]


async def test_a_decision_is_explained_now_and_of_then() -> None:
    engine, _, clock = some_engine(running=Running(9, 9, 1, 30, 0.1))
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 3)
        path = "/v1/workloads/shop/web"
        now = await (await client.get(f"{path}/explain")).json()
        decision = (await (await client.get(path)).json())["decision"]
        assert (now["t"], now["predicted_replicas"]) == (clock(), decision["predicted_replicas"])
        assert now["forecast"]["doubt"] is None
        assert sum(now["forecast"]["parts"].values()) == pytest.approx(now["forecast"]["load"], rel=1e-9)
        assert [push["name"] for push in now["guardrails"]] == decision["held_by"]
        assert now["headline"].startswith("shop/web, 2026-09-16 00:00:45 UTC: ")
        then = await (await client.get(f"{path}/explain", params={"at": "00:00:20"})).json()
        assert then["t"] == clock() - 30.0
        for at, status, says in (
            ("yesterday", 400, "a time is"),
            ("3d", 404, "no decision is kept"),
        ):
            answer = await client.get(f"{path}/explain", params={"at": at})
            assert answer.status == status
            assert says in (await answer.json())["error"]


@pytest.mark.parametrize(
    ("text", "moment_s"),
    [
        (None, 0.0),
        ("now", 0.0),
        ("90m ago", -5400.0),
        ("2h", -7200.0),
        ("1.5d ago", -129_600.0),
        ("09:30", -1800.0),
        ("10:30", -84_600.0),
        ("2026-09-16T09:30", -1800.0),
        ("2026-09-16T09:30+02:00", -9000.0),
        ("2026-09-15", -122_400.0),
        (str(WEDNESDAY_S), -36_000.0),
    ],
)
def test_moments_are_understood_as_people_write_them(text: str | None, moment_s: float) -> None:
    now_s = WEDNESDAY_S + 36_000.0
    assert moment_of(text, now_s) - now_s == moment_s


@pytest.mark.parametrize("limit", ["0", "x", "-1", "1000000"])
async def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        answer = await client.get("/v1/workloads/shop/web/decisions", params={"limit": limit})
        assert answer.status == 400
        assert "limit must be" in (await answer.json())["error"]


async def test_metrics_are_prometheus_text_with_every_workload() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine, "web") as client:
        text = await (await client.get("/metrics")).text()
    assert 'foresail_predicted_replicas{namespace="shop",workload="web"}' in text
    assert 'foresail_mode{mode="Recovery",namespace="shop",workload="web"} 1.0' in text
    assert "foresail_tick_seconds" in text


async def test_health_is_always_answered_and_readiness_follows_the_loop() -> None:
    engine, _, clock = some_engine()
    async with client_of(engine, "web") as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200
        clock.now_s += 600
        late = await client.get("/readyz")
        assert late.status == 503
        assert (await late.json())["late_s"] == 585.0


async def test_unknown_paths_and_methods_answer_in_json() -> None:
    engine, _, _ = some_engine()
    async with client_of(engine) as client:
        missing = await client.get("/nothing")
        assert (missing.status, json.loads(await missing.text())) == (404, {"error": "Not Found"})
        assert (await client.delete("/predict")).status == 405


async def test_models_are_listed_with_what_waits(tmp_path: Path) -> None:
    engine, _, _ = some_engine()
    engine.archive.registry = ModelFolder(tmp_path / "models")
    async with client_of(engine, "web") as client:
        key = next(iter(engine.roster.entries))
        registered(ModelFolder(tmp_path / "models"), 2, name_of(key))
        listed = await (await client.get("/v1/models")).json()
        one = await client.get("/v1/models/shop/web")
        unknown = await client.get("/v1/models/shop/nobody")
        body = await one.json()
    assert [model["name"] for model in listed["models"]] == ["web"]
    assert set(listed["waiting"]) == {"drift", "performance", "hand", "start", "schedule"}
    assert ModelsAnswer.model_validate(listed)
    assert VersionsAnswer.model_validate(body)
    assert [(version["number"], version["stage"]) for version in body["versions"]] == [(1, "retired"), (2, "champion")]
    assert unknown.status == 404


async def test_a_registry_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    engine, _, _ = some_engine()
    engine.archive.registry = ModelFolder(tmp_path / "models")
    async with client_of(engine, "web") as client:
        key = next(iter(engine.roster.entries))
        registered(ModelFolder(tmp_path / "models"), 1, name_of(key))
        for card in tmp_path.glob("models/*/*/card*.json"):
            card.write_text("{")
        answer = await client.get("/v1/models/shop/web")
        body = await answer.json()
    assert answer.status == 507
    assert "not a card of models" in body["error"]
