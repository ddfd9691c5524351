"""KEDA's external scaler: protobuf in, board out. Nothing here waits for a model or for load.

GetMetricSpec is constant (name, target 1) and never fails: a failing one would blind the HPA for every trigger of the
ScaledObject. What is wrong with the metadata is said by GetMetrics and IsActive instead.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from scaler.board import Posted
from scaler.engine import Engine
from scaler.errors import ForesailError, NotDecidedYet, StaleLoad, TooManyWorkloads, TriggerError
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server

METRIC_NAME = "predicted-replicas"
"""Part of a URL path in the metrics API, so lower case and without slashes; it must never change."""
SPEC = pb.GetMetricSpecResponse(metricSpecs=[pb.MetricSpec(metricName=METRIC_NAME, targetSize=1, targetSizeFloat=1.0)])
SERVICE = pb.DESCRIPTOR.services_by_name["ExternalScaler"].full_name
OPTIONS = (
    # KEDA's client resolves names again only when a connection ends; each end costs open streams 2 to 60 s.
    ("grpc.max_connection_age_ms", 30 * 60 * 1000),
    ("grpc.max_connection_age_grace_ms", 60 * 60 * 1000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", 256 * 1024),
    ("grpc.so_reuseport", 0),
)
HEARTBEAT_S = 300.0
"""A stream repeats `true` this often while active: it renews KEDA's last active time."""

STATUS: dict[type[ForesailError], grpc.StatusCode] = {
    TriggerError: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyWorkloads: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotDecidedYet: grpc.StatusCode.UNAVAILABLE,
    StaleLoad: grpc.StatusCode.UNAVAILABLE,
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
        try:
            key = self._engine.asked(request.namespace, request.name, request.scalerMetadata)
        except ForesailError as error:
            await context.abort(STATUS.get(type(error), grpc.StatusCode.UNKNOWN), str(error))
        was_active = False
        while not self._stopping.is_set():
            change = self._engine.board.next_change(key)
            posted = self._engine.board.get(key)
            active = posted is not None and posted.active
            if active and not was_active:
                yield pb.IsActiveResponse(result=True)
            try:
                await asyncio.wait_for(self._either(change), HEARTBEAT_S)
                was_active = active
            except TimeoutError:
                was_active = False

    async def StreamMetricSpec(  # noqa: N802
        self, request: pb.ScaledObjectRef, context: Context
    ) -> AsyncIterator[pb.GetMetricSpecResponse]:
        """The constant spec once, then silence until the end."""
        del request, context
        yield SPEC
        await self._stopping.wait()

    async def _either(self, change: asyncio.Event) -> None:
        """Wait for a change or for the stop."""
        waits = [asyncio.ensure_future(event.wait()) for event in (change, self._stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _posted(self, ref: pb.ScaledObjectRef, context: Context) -> Posted:
        try:
            key = self._engine.asked(ref.namespace, ref.name, ref.scalerMetadata)
            return await self._engine.first(key)
        except ForesailError as error:
            await context.abort(STATUS.get(type(error), grpc.StatusCode.UNKNOWN), str(error))


class GrpcDoor:
    """The gRPC server: KEDA's service, health and reflection on one port."""

    def __init__(self, engine: Engine) -> None:
        self.scaler = ExternalScaler(engine)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=OPTIONS)
        add_ExternalScalerServicer_to_server(self.scaler, self._server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def open(self, address: str) -> int:
        """Listen on `address`; the port that was bound."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        for service in ("", SERVICE):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def close(self, grace_s: float) -> None:
        """Stop serving: not ready at once, streams end cleanly, open calls have `grace_s`."""
        await self._health.enter_graceful_shutdown()
        self.scaler.stop()
        await self._server.stop(grace_s)
