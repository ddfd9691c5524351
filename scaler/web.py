"""HTTP: predictions for KEDA's metrics-api trigger and for people, workloads, pushed load, metrics and health.

Handlers translate and read the board. Only a push and what is asked by hand are stored; docs/how-to/secure.md says who
may do what.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from scaler import answers, bodies
from scaler.access import Access
from scaler.bodies import moment_of
from scaler.engine import Engine
from scaler.errors import (
    AmbiguousWorkload,
    ClusterError,
    ForesailError,
    NotAllowed,
    NotDecidedYet,
    NotKept,
    RequestError,
    StaleLoad,
    StoreError,
    Unauthenticated,
    UnknownWorkload,
)
from scaler.explaining import explained
from scaler.openapi import Handler, Route, document
from scaler.predictions import Prediction, Question, answer, answer_one
from scaler.push import PushedLoad, Sample
from scaler.roster import Key
from scaler.sources import is_pushed
from scaler.tls import check_names
from scaler.views import (
    decision_view,
    explanation_view,
    forecast_view,
    models_view,
    prediction_view,
    versions_view,
    workload_view,
)
from scaler.whatif import NOTHING

audit = structlog.get_logger("foresail.audit")

MAX_QUESTION = 64 * 1024
"""Largest body of a single question in bytes."""
MAX_BODY = 1024 * 1024
"""Largest body of a batch or a push in bytes."""
MAX_DECISIONS = 240
"""Most decisions in one answer: an hour at 15 s."""
STATUS: dict[type[ForesailError], HTTPStatus] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    NotAllowed: HTTPStatus.FORBIDDEN,
    UnknownWorkload: HTTPStatus.NOT_FOUND,
    AmbiguousWorkload: HTTPStatus.CONFLICT,
    NotKept: HTTPStatus.NOT_FOUND,
    NotDecidedYet: HTTPStatus.SERVICE_UNAVAILABLE,
    StaleLoad: HTTPStatus.SERVICE_UNAVAILABLE,
    ClusterError: HTTPStatus.BAD_GATEWAY,
    StoreError: HTTPStatus.INSUFFICIENT_STORAGE,
}
"""What each refusal is over HTTP."""


class Pen(Protocol):
    """Where it is written what people ask by hand."""

    async def annotate(self, key: Key, changes: Mapping[str, str | None]) -> None:
        """Set a workload's annotations, or remove those that are None. Raises ClusterError or StoreError."""
        ...


ENGINE = web.AppKey("engine", Engine)
REGISTRY = web.AppKey("registry", CollectorRegistry)
PUSHED = web.AppKey("pushed", PushedLoad)
ACCESS = web.AppKey("access", Access)
NAMES = web.AppKey("names", frozenset[str])
PEN = web.AppKey("pen", Pen)
OPENAPI = web.AppKey("openapi", dict[str, Any])


def application(
    engine: Engine,
    registry: CollectorRegistry,
    pushed: PushedLoad,
    access: Access,
    names: frozenset[str] = frozenset(),
    pen: "Pen | None" = None,
) -> web.Application:
    """All routes over one engine; `names` are those that a client certificate must hold one of."""
    app = web.Application(middlewares=[_refusals, _pins], client_max_size=MAX_BODY)
    app[ENGINE], app[REGISTRY], app[PUSHED], app[ACCESS], app[NAMES] = engine, registry, pushed, access, names
    app[OPENAPI] = document(ROUTES)
    if pen is not None:
        app[PEN] = pen
    add = {"GET": web.get, "POST": web.post}
    app.add_routes([add[route.method](route.path, route.handler) for route in ROUTES])
    return app


@web.middleware
async def _refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ForesailError as error:
        status = STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
        return web.json_response({"error": str(error)}, status=status, headers=headers)
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status, headers=_allowed(error))


def _allowed(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


@web.middleware
async def _pins(request: web.Request, handler: Handler) -> web.StreamResponse:
    resource = request.match_info.route.resource
    if request.app[NAMES] and (resource is None or resource.canonical not in OPEN_TO_ALL):
        certificate = None if request.transport is None else request.transport.get_extra_info("peercert")
        shown = (certificate or {}).get("subjectAltName", ())
        check_names(request.app[NAMES], (name for kind, name in shown if kind in {"DNS", "URI"}))
    return await handler(request)


async def _body(request: web.Request, limit: int = MAX_BODY) -> Any:
    body = await request.read()
    if len(body) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, len(body))
    return bodies.parsed(body)


async def predict(request: web.Request) -> web.Response:
    """The posted decision of ?service=&namespace=: what KEDA's metrics-api trigger reads."""
    service = request.query.get("service")
    if not service:
        raise RequestError("service is required: /predict?service=NAME&namespace=NAMESPACE")
    said = await answer_one(request.app[ENGINE], Question(service, request.query.get("namespace"), NOTHING))
    return web.json_response(prediction_view(said))


async def predict_if(request: web.Request) -> web.Response:
    """What would be needed if the load, the time or the window were different; records nothing."""
    question = bodies.question_of(await _body(request, MAX_QUESTION))
    return web.json_response(prediction_view(await answer_one(request.app[ENGINE], question)))


async def predict_batch(request: web.Request) -> web.Response:
    """Up to 1,000 of POST /predict at once; each is answered or refused by itself, in their order."""
    questions = bodies.batch_of(await _body(request))
    parts = [_rendered(said) async for said in answer(request.app[ENGINE], questions)]
    return web.Response(text=f'{{"predictions": [{", ".join(parts)}]}}', content_type="application/json")


def _rendered(said: list[Prediction | ForesailError]) -> str:
    return json.dumps([prediction_view(s) if isinstance(s, Prediction) else _refused(s) for s in said])[1:-1]


def _refused(error: ForesailError) -> dict[str, Any]:
    return {"error": str(error), "status": STATUS.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)}


async def workloads(request: web.Request) -> web.Response:
    """All tracked workloads, briefly."""
    engine = request.app[ENGINE]
    keys = sorted(engine.roster.entries)
    listed = [workload_view(engine, key) for key in keys]
    return web.json_response({"workloads": listed, "journal": engine.journal.trouble})


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
    if not limit.isascii() or not limit.isdigit() or len(limit) > 9 or not 1 <= int(limit) <= MAX_DECISIONS:
        raise RequestError(f"limit must be a whole number from 1 to {MAX_DECISIONS}, not {limit[:40]!r}")
    found = request.app[ENGINE].board.recent(_key(request), int(limit))
    return web.json_response({"decisions": [decision_view(posted) for posted in found]})


async def explain(request: web.Request) -> web.Response:
    """Why the workload got its number: now, or at ?at=TIME."""
    engine, key = request.app[ENGINE], _key(request)
    now_s = engine.clock()
    at_s = moment_of(request.query.get("at"), now_s)
    return web.json_response(explanation_view(engine, key, await explained(engine, key, at_s)))


def _check_access(request: web.Request) -> None:
    host = urlsplit(f"//{request.host}").hostname or ""
    request.app[ACCESS].check(request.headers.get("Authorization", ""), host, request.content_type)


async def steer(request: web.Request) -> web.Response:
    """Fix replicas or the mode for a while, or end that; switch shadow on or off. It is logged who asked."""
    _check_access(request)
    if PEN not in request.app:
        raise NotAllowed("this service has nowhere to write what is asked by hand")
    key, value = _key(request), await _body(request, MAX_QUESTION)
    changes = bodies.annotations_of(value, request.app[ENGINE].clock())
    await request.app[PEN].annotate(key, changes)
    audit.info("asked over HTTP", workload=str(key), by=value["by"], remote=request.remote, changes=changes)
    return web.json_response({"annotations": changes})


async def push(request: web.Request) -> web.Response:
    """Store load that is pushed: one sample or up to 1,000; each is stored or refused by itself."""
    _check_access(request)
    engine, pushed = request.app[ENGINE], request.app[PUSHED]
    key = _pushed_key(request)
    said = bodies.samples_of(await _body(request))
    step_s = 15.0 if key is None else engine.roster.entries[key].workload.step_s
    whole = [(index, pushed.refusal(s, step_s) if isinstance(s, Sample) else str(s)) for index, s in enumerate(said)]
    refused = [{"index": index, "error": why} for index, why in whole if why is not None]
    good = [s for s, (_, why) in zip(said, whole, strict=True) if isinstance(s, Sample) and why is None]
    if not good:
        raise RequestError("; ".join(f"observations.{r['index']}: {r['error']}" for r in refused)[:1000])
    durable = pushed.push(request.match_info["namespace"], _name(request), good)
    if key is not None and min(s.t_s for s in good) <= engine.seen_s(key):
        await engine.recall(key)
    return web.json_response({"stored": len(good), "refused": refused, "durable": durable})


def _name(request: web.Request) -> str:
    return request.match_info["name"].partition("~")[0]


def _pushed_key(request: web.Request) -> Key | None:
    """The workload, None where it was pushed to before and nobody has asked for it since the start."""
    try:
        key = _key(request)
    except UnknownWorkload:
        if request.app[PUSHED].knows(request.match_info["namespace"], _name(request)):
            return None
        raise
    if not is_pushed(request.app[ENGINE].roster.entries[key].workload):
        raise RequestError(f"{key}: its load is read from its serverAddress and cannot be pushed")
    return key


async def models(request: web.Request) -> web.Response:
    """Which model serves each workload, and the fits that wait and run."""
    return web.json_response(models_view(request.app[ENGINE]))


async def model_versions(request: web.Request) -> web.Response:
    """All versions of a workload's model that the registry keeps, with their history."""
    engine, key = request.app[ENGINE], _key(request)
    return web.json_response(versions_view(engine, key, await engine.archive.versions(key)))


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
    ready, late_s = request.app[ENGINE].ready, request.app[ENGINE].late_s()
    body: dict[str, Any] = {"status": "ready" if ready else "the loop is late", "late_s": round(late_s, 1)}
    return web.json_response(body, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)


async def openapi(request: web.Request) -> web.Response:
    """This document."""
    return web.json_response(request.app[OPENAPI])


WORKLOAD = "/v1/workloads/{namespace}/{name}"
NAMED = {"service": "Name of the workload, required.", "namespace": "Needed where the name alone means several."}
ROUTES = (
    Route("GET", "/predict", predict, answers.PredictionAnswer, query=NAMED),
    Route("POST", "/predict", predict_if, answers.PredictionAnswer, (bodies.PredictBody,)),
    Route("POST", "/predict/batch", predict_batch, answers.BatchAnswer, (bodies.BatchBody,)),
    Route("GET", "/v1/workloads", workloads, answers.WorkloadsAnswer),
    Route("GET", WORKLOAD, one_workload, answers.OneWorkloadAnswer),
    Route("GET", WORKLOAD + "/forecast", forecast, answers.ForecastAnswer),
    Route(
        "GET", WORKLOAD + "/decisions", decisions, answers.DecisionsAnswer, query={"limit": "1 to 240, 40 by default."}
    ),
    Route("GET", WORKLOAD + "/explain", explain, answers.ExplanationAnswer, query={"at": bodies.WHEN}),
    Route(
        "POST",
        WORKLOAD + "/observations",
        push,
        answers.PushAnswer,
        (bodies.SamplesBody, bodies.SampleBody),
        stores=True,
    ),
    Route("GET", "/v1/models", models, answers.ModelsAnswer),
    Route("GET", "/v1/models/{namespace}/{name}", model_versions, answers.VersionsAnswer),
    Route("POST", WORKLOAD + "/steering", steer, answers.SteeringAnswer, (bodies.SteeringBody,), stores=True),
    Route("GET", "/metrics", metrics, None, for_all=True),
    Route("GET", "/healthz", healthz, answers.HealthAnswer, for_all=True),
    Route("GET", "/readyz", readyz, answers.ReadinessAnswer, for_all=True, also={503: answers.ReadinessAnswer}),
    Route("GET", "/openapi.json", openapi, None),
)
"""All routes; /openapi.json is made of them."""
OPEN_TO_ALL = {route.path for route in ROUTES if route.for_all}
"""What every certificate of the authority may read: probes and scrapes have names of their own."""
