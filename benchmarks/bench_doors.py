"""Both doors side by side on 1,000 workloads that tick: batches, single predictions, and an open loop."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import grpc.aio

from benchmarks.bench_serving import served
from benchmarks.free import free_port
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto import prediction_pb2 as ours

N, PAIRS, RUN_S, OPEN_S, RATE = 1000, 5, 4.0, 30.0, 300.0
METRICS = {"time_of_day": "14:30", "day_of_week": "monday"}


def body(k: int) -> dict[str, object]:
    """A what-if about one workload, as JSON."""
    metrics = {"current_rps": 400.0 + k % N, **METRICS}
    return {"service": f"w{k % N}", "namespace": "bench", "metrics": metrics, "prediction_window_minutes": 15}


def message(k: int) -> ours.PredictRequest:
    """The same as protobuf."""
    metrics = ours.Metrics(current_rps=400.0 + k % N, **METRICS)
    return ours.PredictRequest(service=f"w{k % N}", namespace="bench", metrics=metrics, prediction_window_minutes=15)


class Client:
    """One connection through each door; what is sent is encoded beforehand, what comes back is not looked into."""

    def __init__(self, session: aiohttp.ClientSession, http_port: int, channel: grpc.aio.Channel) -> None:
        self._session, self._url = session, f"http://127.0.0.1:{http_port}"
        self._grpc = {
            name: channel.unary_unary(path)
            for name, path in (
                ("one", "/foresail.v1.Prediction/Predict"),
                ("batch", "/foresail.v1.Prediction/PredictBatch"),
                ("metrics", "/externalscaler.ExternalScaler/GetMetrics"),
            )
        }
        self._bodies = [json.dumps(body(k)).encode() for k in range(N)]
        self._messages = [message(k).SerializeToString() for k in range(N)]
        self._asked = [
            pb.GetMetricsRequest(
                scaledObjectRef=pb.ScaledObjectRef(
                    name=f"w{k}", namespace="bench", scalerMetadata={"scalerAddress": "x"}
                )
            ).SerializeToString()
            for k in range(N)
        ]
        self._body = json.dumps({"requests": [body(k) for k in range(N)]}).encode()
        self._message = ours.PredictBatchRequest(requests=[message(k) for k in range(N)]).SerializeToString()

    async def http_batch(self, _: int) -> None:
        await self._post("/predict/batch", self._body)

    async def grpc_batch(self, _: int) -> None:
        await self._grpc["batch"](self._message)

    async def http_one(self, k: int) -> None:
        await self._post("/predict", self._bodies[k % N])

    async def grpc_one(self, k: int) -> None:
        await self._grpc["one"](self._messages[k % N])

    async def keda(self, k: int) -> None:
        await self._grpc["metrics"](self._asked[k % N])

    async def _post(self, path: str, content: bytes) -> None:
        async with self._session.post(self._url + path, data=content) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(answer.status)


Call = Callable[[int], Awaitable[None]]


async def closed_loop(call: Call) -> list[float]:
    """Seconds of each call, one after the other."""
    took, end = [], time.perf_counter() + RUN_S
    while time.perf_counter() < end:
        started = time.perf_counter()
        await call(len(took))
        took.append(time.perf_counter() - started)
    return took


async def open_loop(calls: list[Call]) -> list[float]:
    """Seconds from when each call was due, whether or not the ones before have come back."""
    took: list[float] = []

    async def one(k: int, due: float) -> None:
        await calls[k % len(calls)](k)
        took.append(time.perf_counter() - due)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for k in range(round(OPEN_S * RATE)):
            due = started + k / RATE
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            tasks.create_task(one(k, due))
    return took


def at(share: float, took: list[float]) -> float:
    """Quantile in milliseconds."""
    return sorted(took)[min(int(share * len(took)), len(took) - 1)] * 1e3


async def measured(port: int, http_port: int) -> list[str]:
    async with aiohttp.ClientSession() as session, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client, lines = Client(session, http_port, channel), []
        rates: dict[str, list[float]] = {"http": [], "grpc": []}
        for _ in range(PAIRS):
            for name, call in (("http", client.http_batch), ("grpc", client.grpc_batch)):
                took = await closed_loop(call)
                rates[name].append(N * len(took) / sum(took))
        http, grpc_ = statistics.median(rates["http"]), statistics.median(rates["grpc"])
        lines.append(
            f"batches of 1,000, one caller: /predict/batch {http:,.0f} predictions/s (target ≥ 5,000), "
            f"PredictBatch {grpc_:,.0f}/s (goal ≥ 10,000), ratio {grpc_ / http:.2f}"
        )
        for name, call in (("POST /predict", client.http_one), ("Predict", client.grpc_one)):
            took = await closed_loop(call)
            lines.append(f"{name}, one caller: p50 {at(0.5, took):.1f} ms, p99 {at(0.99, took):.1f} ms (target ≤ 50)")
        took = await open_loop([client.keda, client.http_one, client.grpc_one])
        lines.append(
            f"open loop of {RATE:.0f}/s for {OPEN_S:.0f} s, a third each GetMetrics, POST /predict and Predict: "
            f"p50 {at(0.5, took):.1f} ms, p99 {at(0.99, took):.1f} ms (target ≤ 25), "
            f"p99.9 {at(0.999, took):.1f} ms (target ≤ 100)"
        )
        return lines


def run() -> Iterator[str]:
    http_port = free_port()
    with served("foresail", str(N), str(http_port)) as (port, _):
        yield from asyncio.run(measured(port, http_port))
    yield f"load average of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}"
