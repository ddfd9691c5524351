"""/openapi.json tells every route, and real answers are as it says."""

from typing import Any

import jsonschema
import pytest

from scaler.access import Access
from scaler.push import PushedLoad
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import ROUTES, application
from tests.service import some_engine, tick
from tests.test_web import client_of


def valid(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_every_route_is_in_the_document_and_says_who_may_use_it() -> None:
    engine, _, _ = some_engine()
    app = application(engine, registry_of(EngineCollector(engine)), PushedLoad(None), Access(None, loopback=True))
    told = {(method.upper(), path) for path, operations in app_document(app)["paths"].items() for method in operations}
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    assert told == served == {(route.method, route.path) for route in ROUTES}
    stores = [route.path for route in ROUTES if route.stores]
    assert stores == [f"/v1/workloads/{{namespace}}/{{name}}/{what}" for what in ("observations", "steering")]
    secured = [p for p, ops in app_document(app)["paths"].items() if any("security" in op for op in ops.values())]
    assert secured == stores
    summaries = [op["summary"] for ops in app_document(app)["paths"].values() for op in ops.values()]
    assert all(summaries)


def app_document(app: Any) -> dict[str, Any]:
    from scaler.web import OPENAPI  # noqa: PLC0415

    return dict(app[OPENAPI])


ASKED = [
    ("GET", "/predict", "/predict?service=web", None),
    ("GET", "/predict", "/predict", None),
    ("POST", "/predict", "/predict", {"service": "web", "metrics": {"current_rps": 100, "time_of_day": "12:00"}}),
    ("POST", "/predict/batch", "/predict/batch", {"requests": [{"service": "web"}, {"service": "wep"}]}),
    ("GET", "/v1/workloads", "/v1/workloads", None),
    ("GET", "/v1/workloads/{namespace}/{name}", "/v1/workloads/shop/web", None),
    ("GET", "/v1/workloads/{namespace}/{name}", "/v1/workloads/shop/wep", None),
    ("GET", "/v1/workloads/{namespace}/{name}/forecast", "/v1/workloads/shop/web/forecast", None),
    ("GET", "/v1/workloads/{namespace}/{name}/decisions", "/v1/workloads/shop/web/decisions?limit=3", None),
    ("GET", "/v1/workloads/{namespace}/{name}/explain", "/v1/workloads/shop/web/explain", None),
    ("GET", "/v1/workloads/{namespace}/{name}/explain", "/v1/workloads/shop/web/explain?at=2h", None),
    ("POST", "/v1/workloads/{namespace}/{name}/observations", "/v1/workloads/shop/web/observations",
     {"observations": [{"t": 1_789_516_800, "load": 5}, {"t": 1}]}),
    ("POST", "/v1/workloads/{namespace}/{name}/observations", "/v1/workloads/shop/web/observations",
     {"t": 1_789_516_800, "load": 5, "cpu": 0.5}),
    ("GET", "/v1/models", "/v1/models", None),
    ("GET", "/v1/models/{namespace}/{name}", "/v1/models/shop/web", None),
    ("GET", "/v1/models/{namespace}/{name}", "/v1/models/shop/wep", None),
    ("POST", "/v1/workloads/{namespace}/{name}/steering", "/v1/workloads/shop/web/steering",
     {"by": "ann", "shadow": True}),
    ("GET", "/healthz", "/healthz", None),
    ("GET", "/readyz", "/readyz", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "url", "body"), ASKED)
async def test_questions_and_answers_are_as_the_document_says(
    method: str, path: str, url: str, body: dict[str, Any] | None
) -> None:
    engine, _, clock = some_engine()
    async with client_of(engine, "web") as client:
        await tick(engine, clock, 2)
        document = await (await client.get("/openapi.json")).json()
        operation = document["paths"][path][method.lower()]
        answer = await client.request(method, url, json=body)
        told = operation["responses"].get(str(answer.status), operation["responses"]["default"])
        valid(document, told["content"]["application/json"]["schema"], await answer.json())
        if body is not None:
            valid(document, operation["requestBody"]["content"]["application/json"]["schema"], body)


def test_every_route_that_answers_in_json_is_asked_above() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.answer is not None} == {a[:2] for a in ASKED}
