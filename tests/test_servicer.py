"""KEDA's calls against the real gRPC server, in one process."""

import asyncio
import contextlib
import gc
import re
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from scaler.engine import READY_WITHIN_S, Engine
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerStub
from scaler.servicer import GrpcDoor
from tests.service import METADATA, daily, declared, loop_of, some_engine, tick


@pytest.fixture(autouse=True)
async def _servers_are_gone_before_their_loop() -> AsyncIterator[None]:
    """grpc.aio's Server schedules its shutdown on its loop when it is collected, which must not be closed by then."""
    yield
    gc.collect()
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def door_of(engine: Engine) -> AsyncIterator[tuple[GrpcDoor, grpc.aio.Channel]]:
    async with loop_of(engine):
        door = GrpcDoor(engine)
        port = await door.open("127.0.0.1:0")
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield door, channel
        finally:
            await door.close(0.1)


def ref(name: str = "web", **metadata: str) -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(
        name=name, namespace="shop", scalerMetadata=METADATA | {"scalerAddress": "foresail:50051"} | metadata
    )


def asking(reference: pb.ScaledObjectRef) -> pb.GetMetricsRequest:
    return pb.GetMetricsRequest(scaledObjectRef=reference, metricName="predicted-replicas")


async def test_a_poll_of_keda_gets_spec_value_and_activity_of_one_decision() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        spec = (await stub.GetMetricSpec(ref())).metricSpecs
        assert [(s.metricName, s.targetSize, s.targetSizeFloat) for s in spec] == [("predicted-replicas", 1, 1.0)]
        values = (await stub.GetMetrics(asking(ref()))).metricValues
        assert len(values) == 1
        assert values[0].metricName == "predicted-replicas"
        assert values[0].metricValue == np.ceil(values[0].metricValueFloat) > 0
        assert (await stub.IsActive(ref())).result


async def test_a_workload_is_tracked_from_the_spec_on() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        await ExternalScalerStub(channel).GetMetricSpec(ref())
    assert [str(key) for key in engine.roster.entries] == ["shop/web"]


async def test_an_idle_workload_sends_zero_in_both_fields_and_is_inactive() -> None:
    engine, _, clock = some_engine(lambda t_s: 0.0 * t_s)
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        await stub.GetMetrics(asking(ref()))
        await tick(engine, clock, 8)
        value = (await stub.GetMetrics(asking(ref()))).metricValues[0]
        assert (value.metricValue, value.metricValueFloat) == (0, 0.0)
        assert not (await stub.IsActive(ref())).result


@pytest.mark.parametrize("call", ["GetMetrics", "IsActive"])
async def test_bad_metadata_fail_the_value_but_never_the_spec(call: str) -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        stub, bad = ExternalScalerStub(channel), ref(capacity="-1")
        assert len((await stub.GetMetricSpec(bad)).metricSpecs) == 1
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await getattr(stub, call)(asking(bad) if call == "GetMetrics" else bad)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "capacity must be a positive number" in str(failure.value.details())


async def test_no_load_is_unavailable_and_a_full_roster_is_exhausted() -> None:
    engine, source, _ = some_engine(first_answer_s=0.05, max_workloads=1)
    source.broken.add("web")
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        for name, code in (
            ("web", grpc.StatusCode.UNAVAILABLE),
            ("other", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await stub.GetMetrics(asking(ref(name)))
            assert failure.value.code() is code


async def test_a_push_stream_says_true_at_open_and_on_each_rise_but_never_false() -> None:
    load = {"now": 0.0}
    engine, _, clock = some_engine(lambda t_s: np.full(len(t_s), load["now"]))
    async with door_of(engine) as (door, channel):
        stub = ExternalScalerStub(channel)
        await stub.GetMetrics(asking(ref()))
        await tick(engine, clock, 8)
        stream = stub.StreamIsActive(ref())
        first = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0.05)
        assert not first.done()
        load["now"] = 500.0
        await tick(engine, clock)
        assert (await asyncio.wait_for(first, 5)).result is True
        second = asyncio.ensure_future(stream.read())
        for load["now"] in (0.0, 0.0, 500.0):
            await tick(engine, clock, 8 if load["now"] == 0.0 else 1)
            await asyncio.sleep(0.02)
        assert (await asyncio.wait_for(second, 5)).result is True
        ended = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0.05)
        assert not ended.done()
        door.scaler.stop()
        assert await asyncio.wait_for(ended, 5) is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_spec_stream_sends_the_constant_spec_once_and_ends_cleanly() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (door, channel):
        stub = ExternalScalerStub(channel)
        stream = stub.StreamMetricSpec(ref())
        assert await asyncio.wait_for(stream.read(), 5) == await stub.GetMetricSpec(ref())
        silence = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0.05)
        assert not silence.done()
        door.scaler.stop()
        assert await asyncio.wait_for(silence, 5) is grpc.aio.EOF


async def test_health_and_reflection_answer() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        for service in ("", "externalscaler.ExternalScaler"):
            status = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
            assert status.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        calls = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        names = {service.name async for answer in calls for service in answer.list_services_response.service}
    assert "externalscaler.ExternalScaler" in names


async def test_the_services_health_follows_the_loop_by_the_limit_of_readyz_and_the_servers_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scaler.servicer.FOLLOW_S", 0.01)
    engine, _, clock = some_engine()
    async with door_of(engine) as (_, channel):
        await engine.first(engine.asked("shop", "web", METADATA))
        health, said = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckResponse
        watched = health.Watch(health_pb2.HealthCheckRequest(service="externalscaler.ExternalScaler"))

        async def next_said() -> int:
            return int((await asyncio.wait_for(watched.read(), 5)).status)

        assert await next_said() == said.SERVING
        clock.now_s += READY_WITHIN_S + 15.0
        assert not engine.ready
        assert await next_said() == said.NOT_SERVING
        ours = await health.Check(health_pb2.HealthCheckRequest(service="foresail.v1.Prediction"))
        assert ours.status == said.NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == said.SERVING
        await tick(engine, clock)
        assert await next_said() == said.SERVING
        watched.cancel()


async def test_many_workloads_and_streams_share_one_connection() -> None:
    engine, _, _ = some_engine(daily)
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        streams = [stub.StreamIsActive(ref(f"w{n}")) for n in range(50)]
        answers = await asyncio.gather(*(stub.GetMetrics(asking(ref(f"w{n}"))) for n in range(50)))
        assert len({answer.metricValues[0].metricValueFloat for answer in answers}) == 1
        assert all(await asyncio.gather(*(stream.read() for stream in streams)))
        for stream in streams:
            stream.cancel()


async def test_a_workload_with_an_open_stream_is_never_forgotten_and_keeps_its_newest_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scaler.engine.CHORES_S", 0.01)
    engine, _, clock = some_engine(forget_after_s=100.0)
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        await stub.GetMetrics(asking(ref("idle")))
        stream = stub.StreamIsActive(ref("web"))
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        changed = pb.ScaledObjectRef(name="web", namespace="shop", scalerMetadata=METADATA | {"threshold": "25"})
        await stub.GetMetrics(asking(changed))
        for _ in range(20):
            await tick(engine, clock)
            await asyncio.sleep(0.02)
        assert [key.name for key in engine.roster.entries] == ["web"]
        [entry] = engine.roster.entries.values()
        assert entry.workload.threshold == 25.0
        stream.cancel()
        async with asyncio.timeout(5):
            while engine.roster.entries:
                await tick(engine, clock)
                await asyncio.sleep(0.02)


async def test_a_stream_goes_on_when_its_workload_is_declared_no_more() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        await engine.first(engine.declare(declared("web")))
        stream = ExternalScalerStub(channel).StreamIsActive(ref("web"))
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        engine.redeclare([])
        assert (await asyncio.wait_for(stream.read(), 5)).result is True
        assert [entry.declared for entry in engine.roster.entries.values()] == [False]
        stream.cancel()


async def test_metadata_that_are_too_long_are_refused_with_their_length() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        long = pb.ScaledObjectRef(name="web", namespace="shop", scalerMetadata=METADATA | {"query": "x" * 70_000})
        assert (await stub.GetMetricSpec(long)).metricSpecs
        for call in (stub.GetMetrics(asking(long)), stub.IsActive(long), stub.StreamIsActive(long).read()):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert re.fullmatch(
                r"the metadata have 70\d\d\d characters, more than 65536", refused.value.details() or ""
            )
    assert engine.roster.entries == {}


async def test_what_is_only_observed_is_decided_and_served_to_nobody() -> None:
    engine, _, clock = some_engine()
    engine.declare(declared("web", observeOnly="true"))
    async with door_of(engine) as (_, channel):
        stub = ExternalScalerStub(channel)
        await tick(engine, clock, 2)
        for call, question in ((stub.GetMetrics, asking(ref())), (stub.IsActive, ref())):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(question)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "only observed" in str(refused.value.details())
    assert engine.board.get(next(iter(engine.roster.entries))) is not None


async def test_calls_are_counted_by_the_time_they_took() -> None:
    engine, _, _ = some_engine()
    async with door_of(engine) as (_, channel):
        for _ in range(3):
            await ExternalScalerStub(channel).GetMetricSpec(ref())
    counted = dict(engine.latency.buckets("GetMetricSpec"))
    assert counted["+Inf"] == 3.0
    assert 0.0 < engine.latency.sums_s["GetMetricSpec"] < 3.0
    assert list(counted.values()) == sorted(counted.values())
