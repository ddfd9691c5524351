"""HTTP: predictions for KEDA's metrics-api trigger and for people, the state of workloads, metrics and health.

Handlers translate and read the board. POST /predict, a what-if, calls one pure function on the workload's fitted state.
"""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaler.engine import Engine
from scaler.errors import (
    AmbiguousWorkload,
    ForesailError,
    NotDecidedYet,
    RequestError,
    StaleLoad,
    UnknownWorkload,
)
from scaler.roster import Key
from scaler.views import decision_view, forecast_view, prediction_view, workload_view
from scaler.whatif import Imagined, imagine

MAX_BODY = 64 * 1024
"""Largest request body in bytes."""
MAX_DECISIONS = 240
"""Most decisions in one answer: an hour at 15 s."""
STATUS: dict[type[ForesailError], HTTPStatus] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    UnknownWorkload: HTTPStatus.NOT_FOUND,
    AmbiguousWorkload: HTTPStatus.CONFLICT,
    NotDecidedYet: HTTPStatus.SERVICE_UNAVAILABLE,
    StaleLoad: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What each refusal is over HTTP."""
ENGINE = web.AppKey("engine", Engine)
REGISTRY = web.AppKey("registry", CollectorRegistry)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Metrics(BaseModel):
    """What to imagine; all absent values stay as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    current_rps: float | None = Field(default=None, ge=0, le=1e15)
    current_latency_p95: float | None = Field(default=None, ge=0)
    time_of_day: str | float | None = None
    day_of_week: str | int | None = None


class Question(BaseModel):
    """Body of POST /predict."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    service: str = Field(min_length=1, max_length=253)
    namespace: str | None = Field(default=None, max_length=253)
    metrics: Metrics = Metrics()
    prediction_window_minutes: float | None = Field(default=None, gt=0, le=360)


def application(engine: Engine, registry: CollectorRegistry) -> web.Application:
    """All routes over one engine."""
    app = web.Application(middlewares=[_refusals], client_max_size=MAX_BODY)
    app[ENGINE], app[REGISTRY] = engine, registry
    workload = "/v1/workloads/{namespace}/{name}"
    app.add_routes(
        [
            web.get("/predict", predict),
            web.post("/predict", predict_if),
            web.get("/v1/workloads", workloads),
            web.get(workload, one_workload),
            web.get(workload + "/forecast", forecast),
            web.get(workload + "/decisions", decisions),
            web.get("/metrics", metrics),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
        ]
    )
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ForesailError as error:
        status = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
        return web.json_response({"error": str(error)}, status=status)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status, headers=_allowed(error))


def _allowed(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


async def predict(request: web.Request) -> web.Response:
    """The posted decision of ?service=&namespace=: what KEDA's metrics-api trigger reads."""
    engine = request.app[ENGINE]
    service = request.query.get("service")
    if not service:
        raise RequestError("service is required: /predict?service=NAME&namespace=NAMESPACE")
    key = engine.roster.find(service, request.query.get("namespace"))
    posted = await engine.first(key)
    return web.json_response(prediction_view(engine, key, posted))


async def predict_if(request: web.Request) -> web.Response:
    """What would be needed if the load, the time or the window were different; records nothing."""
    engine, question = request.app[ENGINE], await _question(request)
    key = engine.roster.find(question.service, question.namespace)
    posted = await engine.first(key)
    metrics = question.metrics
    fleet, row = engine.row_of(key)
    imagined = imagine(
        fleet,
        row,
        posted,
        Imagined(metrics.current_rps, metrics.time_of_day, metrics.day_of_week, question.prediction_window_minutes),
    )
    return web.json_response(prediction_view(engine, key, imagined))


async def _question(request: web.Request) -> Question:
    try:
        return Question.model_validate(json.loads(await request.read()))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            problems = (f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['msg']}" for p in error.errors())
            raise RequestError("; ".join(problems)[:1000]) from error
        raise RequestError(f"the body must be JSON: {error}"[:200]) from error


async def workloads(request: web.Request) -> web.Response:
    """All tracked workloads, briefly."""
    engine = request.app[ENGINE]
    keys = sorted(engine.roster.entries)
    return web.json_response({"workloads": [workload_view(engine, key) for key in keys]})


def _key(request: web.Request) -> Key:
    return request.app[ENGINE].roster.find(request.match_info["name"], request.match_info["namespace"])


async def one_workload(request: web.Request) -> web.Response:
    """One workload: what was configured and the latest decision."""
    engine, key = request.app[ENGINE], _key(request)
    posted = engine.board.get(key)
    latest = None if posted is None else decision_view(posted)
    return web.json_response({**workload_view(engine, key), "decision": latest})


async def forecast(request: web.Request) -> web.Response:
    """Quantiles of the load of the coming hour and of the peak in the lead window."""
    return web.json_response(forecast_view(request.app[ENGINE], _key(request)))


async def decisions(request: web.Request) -> web.Response:
    """The newest decisions, newest first; ?limit=N, at most an hour's."""
    limit = request.query.get("limit", "40")
    if not limit.isdigit() or not 1 <= int(limit) <= MAX_DECISIONS:
        raise RequestError(f"limit must be a whole number from 1 to {MAX_DECISIONS}, not {limit[:40]!r}")
    found = request.app[ENGINE].board.recent(_key(request), int(limit))
    return web.json_response({"decisions": [decision_view(posted) for posted in found]})


async def metrics(request: web.Request) -> web.Response:
    """Foresail's own metrics for Prometheus."""
    body = generate_latest(request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def healthz(request: web.Request) -> web.Response:
    """The process answers."""
    del request
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """The loop ticks: 503 once no step of any fleet has been decided for two minutes."""
    late_s = request.app[ENGINE].late_s()
    ready = late_s < READY_WITHIN_S
    body: dict[str, Any] = {"status": "ready" if ready else "the loop is late", "late_s": round(late_s, 1)}
    return web.json_response(body, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


READY_WITHIN_S = 120.0
