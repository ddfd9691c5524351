"""Whatever comes in at a door: no crash, no answer that is not finite. A hundred times as many cases under evidence.

Every refusal must be one of those that the doors name: a 500 or an UNKNOWN is a crash.
"""

import asyncio
import contextlib
import json
import math
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn

import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scaler.access import Access
from scaler.core.domain import Workload
from scaler.core.signals import Samples, Signal
from scaler.core.trigger import KEYS
from scaler.engine import Engine
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto import prediction_pb2 as ours
from scaler.push import PushedLoad
from scaler.servicer import ExternalScaler, PredictionService
from scaler.sources import Replicas
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import application
from tests.fakes import WEDNESDAY_S
from tests.service import METADATA, FakeCluster, FakeSource, declared, loop_of, some_engine, tick

EVIDENCE = os.environ.get("FORESAIL_EVIDENCE") == "1"
CASES = 100_000 if EVIDENCE else 1_000
pytestmark = pytest.mark.timeout(7200 if EVIDENCE else 120)
bounded = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=not EVIDENCE,
    suppress_health_check=list(HealthCheck),
)


class Refused(Exception):  # noqa: N818
    """What a call was aborted with."""


class Context:
    """As much of a ServicerContext as our services use."""

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        assert code is not grpc.StatusCode.UNKNOWN, details
        assert details
        raise Refused(details)


class Either:
    """Pushed load for the workload of that name, a generated one for all others."""

    def __init__(self, pushed: PushedLoad, generated: FakeSource) -> None:
        self._pushed, self._generated = pushed, generated

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        source = self._pushed if workload.name == "pushed" else self._generated
        return await source.read(workload, signal, end_s, n, spacing_s)


@contextlib.contextmanager
def running() -> Iterator[tuple[Callable[[Awaitable[Any]], Any], Engine, Any]]:
    """An engine with one fed and one pushed workload, its HTTP client, and how to wait for what they do."""
    engine, source, clock = some_engine(first_answer_s=0.001)
    pushed = PushedLoad(None, clock)
    engine.lookout._source = Either(pushed, source)
    engine.lookout._cluster = Replicas(FakeCluster(None), pushed)

    async def begin() -> tuple[contextlib.AsyncExitStack, Any]:
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(loop_of(engine))
        key = engine.declare(declared("web"))
        engine.declare(declared("pushed"))
        await engine.introduce(key)
        await tick(engine, clock, 2)
        app = application(engine, registry_of(EngineCollector(engine)), pushed, Access(None, loopback=True))
        return stack, await stack.enter_async_context(TestClient(TestServer(app)))

    with asyncio.Runner() as runner:
        stack, client = runner.run(begin())
        try:
            yield runner.run, engine, client  # type: ignore[misc]
        finally:
            runner.run(stack.aclose())


def finite(value: Any) -> bool:
    """Whether all numbers in a JSON value are."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


odd_numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([0, -0.0, 1e-320, 1e15, 1e30, 1e31, 1e308, -1, 10**400, 2**63, 0.1, 24, 23.999999]),
    st.floats(0, 1e4),
)
odd_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["web", "pushed", "shop", "web~00000000", "14:30", "24:00", "monday", "\0", "٣:٣٠", "a" * 300, "~", ""]
    ),
)
scalar = st.one_of(st.none(), st.booleans(), odd_numbers, odd_text)
anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3)
)


def some_of(**fields: Any) -> Any:
    """Objects with any of these keys, each with what fits or with anything, and sometimes a key too many."""
    optional = {name: st.one_of(fitting, fitting, anything) for name, fitting in fields.items()}
    return st.one_of(
        st.fixed_dictionaries({}, optional=optional), st.fixed_dictionaries({}, optional=optional | {"x": scalar})
    )


metrics = some_of(
    current_rps=st.one_of(st.floats(0, 1e15), st.floats(0, 1e-300)),
    current_latency_p95=st.floats(0, 10),
    time_of_day=st.one_of(st.floats(0, 24), st.sampled_from(["00:00", "14:30", "23:59:59"])),
    day_of_week=st.one_of(st.integers(0, 6), st.sampled_from(["monday", "Sun"])),
)
question = some_of(
    service=st.just("web"), namespace=st.just("shop"), metrics=metrics, prediction_window_minutes=st.floats(1e-9, 360)
).map(lambda body: {"service": "web", **body} if isinstance(body, dict) else body)
sample = some_of(
    t=st.floats(WEDNESDAY_S - 9 * 86_400, WEDNESDAY_S + 60),
    load=st.floats(0, 1e30),
    arrivals=st.floats(0, 1e6),
    replicas=st.integers(0, 1000),
    ready=st.integers(0, 1000),
    cpu=st.floats(0, 1),
    queue=st.floats(0, 1e6),
)
bodies = st.one_of(
    st.tuples(st.just("/predict"), question),
    st.tuples(st.just("/predict/batch"), st.one_of(anything, some_of(requests=st.lists(question, max_size=4)))),
    st.tuples(
        st.just("/v1/workloads/shop/pushed/observations"),
        st.one_of(sample, anything, some_of(observations=st.lists(sample, max_size=4))),
    ),
)


def spoilt(body: bytes, at: int, junk: bytes, much: int) -> bytes:
    """The same body with something in the middle replaced."""
    at %= len(body) + 1
    return body[:at] + junk + body[at + much :]


def test_json_bodies_of_all_routes_that_take_one() -> None:
    with running() as (run, engine, client):
        statuses: set[int] = set()
        count = 0

        @bounded
        @example(asked=("/predict", {"service": "nobody"}), at=0, junk=b"", much=0, spoil=False)
        @given(bodies, st.integers(0, 400), st.binary(max_size=3), st.integers(0, 5), st.booleans())
        def case(asked: tuple[str, Any], at: int, junk: bytes, much: int, spoil: bool) -> None:
            nonlocal count
            path, value = asked
            body = json.dumps(value).encode("utf-8", "surrogatepass")
            if spoil:
                body = spoilt(body, at, junk, much)
            run(post(path, body))
            count += 1
            if count % 50 == 0:
                run(tick(engine, engine.clock))  # type: ignore[arg-type]
                run(look())

        async def post(path: str, body: bytes) -> None:
            async with client.post(path, data=body, headers={"Content-Type": "application/json"}) as answer:
                statuses.add(answer.status)
                said = json.loads(await answer.read(), parse_constant=no_constant)
                assert answer.status in {200, 400, 404, 409, 413, 503}, (body, said)
                assert finite(said)

        async def look() -> None:
            for path in ("/v1/workloads", "/v1/workloads/shop/pushed", "/v1/workloads/shop/pushed/forecast"):
                async with client.get(path) as answer:
                    assert answer.status == 200
                    assert finite(json.loads(await answer.read(), parse_constant=no_constant))

        case()
        assert {200, 400, 404} <= statuses


def no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} in an answer")


keys = st.one_of(st.sampled_from([*KEYS, "scalerAddress", "treshold", "queryParameters"]), odd_text)
values = st.one_of(
    odd_text,
    odd_numbers.map(str),
    st.sampled_from(
        ["15s", "1h", "90s", "auto", "queue", "rate", "true", "false", "UTC", "0", "1", "1e-320", "nan", "1_0", "٣"]
    ),
)


def test_metadata_maps() -> None:
    with running() as (run, engine, _):
        scaler, answered = ExternalScaler(engine), 0

        @bounded
        @given(st.dictionaries(keys, values, max_size=6), st.booleans(), odd_text, odd_text)
        def case(metadata: dict[str, str], complete: bool, name: str, namespace: str) -> None:
            nonlocal answered
            ref = pb.ScaledObjectRef()
            with contextlib.suppress(UnicodeEncodeError):
                ref.name, ref.namespace = name, namespace
                ref.scalerMetadata.update(METADATA | metadata if complete else metadata)
            answered += run(asked(ref))

        async def asked(ref: pb.ScaledObjectRef) -> bool:
            context: Any = Context()
            spec = await scaler.GetMetricSpec(ref, context)
            assert len(spec.metricSpecs) == 1
            before = set(engine.roster.entries)
            try:
                request = pb.GetMetricsRequest(scaledObjectRef=ref)
                (value,) = (await scaler.GetMetrics(request, context)).metricValues
                assert math.isfinite(value.metricValueFloat)
                assert value.metricValueFloat >= 0
                assert value.metricValue == math.ceil(value.metricValueFloat)
                assert (await scaler.IsActive(ref, context)).result in {True, False}
            except Refused:
                return False
            else:
                return True
            finally:
                for key in set(engine.roster.entries) - before:
                    engine._forget(key)

        case()
        assert answered > CASES / 50


def test_protobuf_bytes() -> None:
    with running() as (run, engine, _):
        calls = {
            pb.ScaledObjectRef: ExternalScaler(engine).IsActive,
            pb.GetMetricsRequest: ExternalScaler(engine).GetMetrics,
            ours.PredictRequest: PredictionService(engine).Predict,
            ours.PredictBatchRequest: PredictionService(engine).PredictBatch,
            ours.GetForecastRequest: PredictionService(engine).GetForecast,
        }
        good = [
            pb.ScaledObjectRef(name="web", namespace="shop", scalerMetadata={"threshold": "50"}),
            pb.GetMetricsRequest(scaledObjectRef=pb.ScaledObjectRef(name="web", namespace="shop")),
            one := ours.PredictRequest(
                service="web",
                namespace="shop",
                metrics=ours.Metrics(current_rps=9.0, time_of_day="14:30", day_of_week="mon"),
                prediction_window_minutes=15.0,
            ),
            ours.PredictBatchRequest(requests=[one, one]),
            ours.GetForecastRequest(service="web"),
        ]
        answered, parsed = 0, 0

        @bounded
        @given(
            st.sampled_from(good),
            st.sampled_from(list(calls)),
            st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=9), st.none() | st.integers(0, 9)), max_size=2),
            st.binary(max_size=60),
            st.integers(0, 9),
        )
        def case(message: Any, kind: Any, edits: list[tuple[int, bytes, int | None]], junk: bytes, how: int) -> None:
            nonlocal answered, parsed
            content = message.SerializeToString() if how else junk
            for at, put, much in edits:
                content = spoilt(content, at, put, len(put) if much is None else much)
            kind = type(message) if how > 2 else kind
            try:
                request = kind.FromString(content)
            except DecodeError:
                return
            parsed += 1
            answered += run(asked(request))

        async def asked(request: Any) -> bool:
            before = set(engine.roster.entries)
            try:
                answer = await calls[type(request)](request, Context())  # type: ignore[operator]
                assert all_finite(answer)
            except Refused:
                return False
            else:
                return True
            finally:
                for key in set(engine.roster.entries) - before:
                    engine._forget(key)

        case()
        assert answered > CASES / 50
        assert parsed > CASES / 5


def all_finite(message: Any) -> bool:
    """Whether all numbers of a message are finite, nested ones included."""
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            if field.message_type is not None and not all_finite(one):
                return False
            if isinstance(one, float) and not math.isfinite(one):
                return False
    return True
