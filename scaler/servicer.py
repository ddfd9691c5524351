"""KEDA's external scaler and our own service, on one port: protobuf in, board out. Nothing here waits for a model.

GetMetricSpec is constant (name, target 1) and never fails: a failing one would blind the HPA for every trigger of the
ScaledObject. What is wrong with the metadata is said by GetMetrics and IsActive instead.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from forecasting.forecast import LEVELS
from scaler.board import Posted
from scaler.bodies import MOST_QUESTIONS, question_of, question_or_error
from scaler.engine import Engine
from scaler.errors import (
    AmbiguousWorkload,
    ForesailError,
    NotAllowed,
    NotDecidedYet,
    RequestError,
    StaleLoad,
    TooManyWorkloads,
    TriggerError,
    Unauthenticated,
    UnknownWorkload,
)
from scaler.interceptors import Timed
from scaler.predictions import Prediction, answer, answer_one, basis_of, outlook
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto import prediction_pb2 as ours
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server
from scaler.proto.prediction_pb2_grpc import PredictionServicer, add_PredictionServicer_to_server
from scaler.roster import Key
from scaler.tls import Certificates, TlsFiles, check_names

METRIC_NAME = "predicted-replicas"
"""Part of a URL path in the metrics API, so lower case and without slashes; it must never change."""
SPEC = pb.GetMetricSpecResponse(metricSpecs=[pb.MetricSpec(metricName=METRIC_NAME, targetSize=1, targetSizeFloat=1.0)])
SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
OURS = ours.DESCRIPTOR.services_by_name["Prediction"].full_name
OPTIONS = (
    # KEDA's client resolves names again only when a connection ends; each end costs open streams 2 to 60 s.
    ("grpc.max_connection_age_ms", 30 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 60 * 60 * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 1024 * 1024),
    ("grpc.so_reuseport", 0),
)
SERVICES = (SERVICE, OURS)
LEVELS_SAID: list[float] = LEVELS.tolist()
FOLLOW_S = 2.0
"""Between looks whether the loop keeps up."""
HEARTBEAT_S = 300.0
"""A stream repeats `true` this often while active: it renews KEDA's last active time."""

STATUS: dict[type[ForesailError], grpc.StatusCode] = {
    TriggerError: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyWorkloads: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotDecidedYet: grpc.StatusCode.UNAVAILABLE,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    StaleLoad: grpc.StatusCode.UNAVAILABLE,
    RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownWorkload: grpc.StatusCode.NOT_FOUND,
    AmbiguousWorkload: grpc.StatusCode.FAILED_PRECONDITION,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
}
"""What each refusal is on the wire; KEDA treats all of them as a failure of the trigger."""

Context = grpc.aio.ServicerContext[Any, Any]


class ExternalScaler(ExternalScalerServicer):
    """The five calls of KEDA's protocol."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let open streams end by a clean return: KEDA backs off for long after any other end."""
        self._stopping.set()

    async def GetMetricSpec(  # noqa: N802 - KEDA's name
        self, request: pb.ScaledObjectRef, context: Context
    ) -> pb.GetMetricSpecResponse:
        """Name and target, always the same; a workload is tracked from its first call, so its history is read now."""
        del context
        with contextlib.suppress(ForesailError):
            self._engine.asked(request.namespace, request.name, request.scalerMetadata)
        return SPEC

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:  # noqa: N802
        """The value to send now; int and float both, since KEDA reads the int where the float is 0."""
        posted = await self._posted(request.scaledObjectRef, context)
        value = posted.value
        return pb.GetMetricsResponse(
            metricValues=[
                pb.MetricValue(
                    metricName=request.metricName or METRIC_NAME, metricValue=math.ceil(value), metricValueFloat=value
                )
            ]
        )

    async def IsActive(self, request: pb.ScaledObjectRef, context: Context) -> pb.IsActiveResponse:  # noqa: N802
        """Whether to run at all, of the same decision that GetMetrics answers with."""
        return pb.IsActiveResponse(result=(await self._posted(request, context)).active)

    async def StreamIsActive(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.IsActiveResponse]:
        """`true` at open if active, on each rise, and now and then while active; never `false`.

        KEDA before 2.18 scales to zero on `false` although other triggers are active; later versions ignore it.
        """
        key = await self._asked(request, context)
        was_active = False
        while not self._stopping.is_set():
            if not self._engine.renew(key):  # its declaration was taken back, and this stream is open
                key = await self._asked(request, context)
            change = self._engine.board.next_change(key)
            posted = self._engine.board.get(key)
            active = posted is not None and posted.active and not self._engine.board.withheld(key)
            if active and not was_active:
                yield pb.IsActiveResponse(result=True)
            changed = await self._either(change)
            was_active = active and changed

    async def StreamMetricSpec(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """The constant spec once, then silence until the end."""
        del request, context
        yield SPEC
        await self._stopping.wait()

    async def _either(self, change: asyncio.Event) -> bool:
        """Wait for a change or for the stop; False where none came within a heartbeat."""
        # Not `wait_for`: before Python 3.12 it may swallow the end of the stream, which would then be renewed forever.
        waits = [asyncio.ensure_future(event.wait()) for event in (change, self._stopping)]
        try:
            return bool((await asyncio.wait(waits, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED))[0])
        finally:
            for wait in waits:
                wait.cancel()

    async def _asked(self, ref: pb.ScaledObjectRef, context: Context) -> Key:
        try:
            return self._engine.asked(ref.namespace, ref.name, ref.scalerMetadata)
        except ForesailError as error:
            await _abort(context, error)

    async def _posted(self, ref: pb.ScaledObjectRef, context: Context) -> Posted:
        key = await self._asked(ref, context)
        try:
            return await self._engine.first(key)
        except ForesailError as error:
            await _abort(context, error)


class PredictionService(PredictionServicer):
    """The same answers as HTTP gives, for programs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Predict(self, request: ours.PredictRequest, context: Context) -> ours.PredictResponse:  # noqa: N802
        """As POST /predict."""
        try:
            return _response(await answer_one(self._engine, question_of(_plain(request))))
        except ForesailError as error:
            await _abort(context, error)

    async def PredictBatch(  # noqa: N802
        self, request: ours.PredictBatchRequest, context: Context
    ) -> ours.PredictBatchResponse:
        """As POST /predict/batch."""
        if not 1 <= len(request.requests) <= MOST_QUESTIONS:
            text = f"requests must hold 1 to {MOST_QUESTIONS} questions, not {len(request.requests)}"
            await _abort(context, RequestError(text))
        questions = [question_or_error(_plain(one)) for one in request.requests]
        results = [_result(said) async for tile in answer(self._engine, questions) for said in tile]
        return ours.PredictBatchResponse(results=results)

    async def GetForecast(  # noqa: N802
        self, request: ours.GetForecastRequest, context: Context
    ) -> ours.GetForecastResponse:
        """As GET /v1/workloads/{namespace}/{name}/forecast."""
        try:
            key = self._engine.roster.find(request.service, request.namespace or None)
        except ForesailError as error:
            await _abort(context, error)
        told = outlook(basis_of(self._engine, key))
        return ours.GetForecastResponse(
            service=self._engine.roster.identifier(key),
            namespace=key.namespace,
            t=told.t_s,
            model_version=told.model_version,
            confidence=_known(told.confidence),
            levels=LEVELS_SAID,
            lead_steps=told.lead_steps,
            lead_seconds=told.lead_s,
            lead_peak=_quantiles(told.peak.tolist()),
            path=[
                ours.Moment(t=t_s, quantiles=_quantiles(values))
                for t_s, values in zip(told.path_t_s.tolist(), told.path.tolist(), strict=True)
            ],
        )


async def _abort(context: Context, error: ForesailError) -> NoReturn:
    await context.abort(STATUS.get(type(error), grpc.StatusCode.UNKNOWN), str(error))


def _plain(request: ours.PredictRequest) -> dict[str, Any]:
    """The question as a JSON body would put it: one set of rules for both doors."""
    plain: dict[str, Any] = {"service": request.service}
    if request.namespace:
        plain["namespace"] = request.namespace
    if request.HasField("metrics"):
        plain["metrics"] = {field.name: value for field, value in request.metrics.ListFields()}
    if request.HasField("prediction_window_minutes"):
        plain["prediction_window_minutes"] = request.prediction_window_minutes
    return plain


def _response(said: Prediction) -> ours.PredictResponse:
    return ours.PredictResponse(
        service=said.service,
        namespace=said.namespace,
        predicted_replicas=said.replicas,
        value=said.value,
        mode=said.mode,
        confidence=_known(said.confidence),
        model_version=said.model_version,
        levels=LEVELS_SAID,
        peak=_quantiles(said.peak),
        path=_quantiles(said.path),
    )


def _result(said: Prediction | ForesailError) -> ours.Result:
    if isinstance(said, Prediction):
        return ours.Result(prediction=_response(said))
    code = STATUS.get(type(said), grpc.StatusCode.UNKNOWN)
    return ours.Result(refusal=ours.Refusal(code=code.value[0], message=str(said)))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _quantiles(values: list[float]) -> list[float]:
    return [] if math.isnan(values[0]) else values


class Pins(grpc.aio.ServerInterceptor):
    """Lets only clients pass whose certificate holds one of the allowed names."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Put the check before every method."""
        method = await continuation(handler_call_details)
        return method if method is None else self._checked(method)

    def _checked(self, method: Any) -> Any:
        for kind, wrap in (
            ("unary_unary", self._answering),
            ("stream_unary", self._answering),
            ("unary_stream", self._streaming),
            ("stream_stream", self._streaming),
        ):
            inner = getattr(method, kind)
            if inner is not None:
                make = getattr(grpc, f"{kind}_rpc_method_handler")
                return make(wrap(inner), method.request_deserializer, method.response_serializer)
        return method

    def _answering(self, inner: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def outer(request: Any, context: Context) -> Any:
            await self._check(context)
            return await inner(request, context)

        return outer

    def _streaming(
        self, inner: Callable[[Any, Context], AsyncIterator[Any]]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def outer(request: Any, context: Context) -> AsyncIterator[Any]:
            await self._check(context)
            async for message in inner(request, context):
                yield message

        return outer

    async def _check(self, context: Context) -> None:
        shown = context.auth_context()
        names = [name.decode() for kind in ("peer_dns", "peer_uri") for name in shown.get(kind, ())]
        try:
            check_names(self._names, names)
        except Unauthenticated as error:
            await _abort(context, error)


def _credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: each handshake goes on with those in force."""
    last = files.current()

    def follow() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        now = files.current()
        if now is last:
            return None
        last = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(last),
        follow,  # type: ignore[arg-type]  # None: the old one stays, says the library and not its stubs
        require_client_authentication=last.client_ca is not None,
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.chain)
    return grpc.ssl_server_certificate_configuration([pair], certificates.client_ca)


class GrpcDoor:
    """The gRPC server: KEDA's service, ours, health and reflection on one port."""

    def __init__(self, engine: Engine, files: TlsFiles | None = None, names: frozenset[str] = frozenset()) -> None:
        """`names` are those that a client certificate must hold one of; none: any."""
        self.scaler = ExternalScaler(engine)
        self._engine = engine
        self._following: asyncio.Task[None] | None = None
        self._health = health.aio.HealthServicer()
        self._credentials = None if files is None else _credentials(files)  # the server's C core only borrows it
        checks = [Pins(names)] if names else []
        self._server = grpc.aio.server(options=OPTIONS, interceptors=[*checks, Timed(engine.latency, SERVICES)])
        add_ExternalScalerServicer_to_server(self.scaler, self._server)  # type: ignore[no-untyped-call]
        add_PredictionServicer_to_server(PredictionService(engine), self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def open(self, address: str) -> int:
        """Listen on `address`; the port that was bound."""
        if self._credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, self._credentials)
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._say_health()
        self._following = asyncio.create_task(self._follow())
        return port

    async def _follow(self) -> None:
        """Keep the services' health up to date; that of the server as a whole, for liveness, stays."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            await self._say_health()

    async def _say_health(self) -> None:
        said = health_pb2.HealthCheckResponse
        for service in SERVICES:
            await self._health.set(service, said.SERVING if self._engine.ready else said.NOT_SERVING)

    async def close(self, grace_s: float) -> None:
        """Stop serving: not ready at once, streams end cleanly, open calls have `grace_s`."""
        if self._following is not None:
            self._following.cancel()
        await self._health.enter_graceful_shutdown()
        self.scaler.stop()
        await self._server.stop(grace_s)
