"""From process start to forecast answers, first start and after kill −9; median of 5."""

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import grpc.aio

from benchmarks.free import free_port
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerStub

RUNS, LAST_S = 5, 20.0


async def polled(grpc_port: int, http_port: int, started: float) -> tuple[float, int, int]:
    """Ask from 2 s after the start, as KEDA and its HPA do; seconds to forecasts, calls, failures."""
    await asyncio.sleep(max(2.0 - (time.monotonic() - started), 0.0))
    ref = pb.ScaledObjectRef(name="frontend", namespace="shop", scalerMetadata={"scalerAddress": "x"})
    calls = failures = 0
    forecast_s = float("inf")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = ExternalScalerStub(channel)
        active, spec = stub.StreamIsActive(ref), stub.StreamMetricSpec(ref)
        await asyncio.wait_for(asyncio.gather(active.read(), spec.read()), 10)
        while (elapsed_s := time.monotonic() - started) < LAST_S and forecast_s == float("inf"):
            for call in (
                stub.GetMetricSpec(ref),
                stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref, metricName="predicted-replicas")),
                stub.IsActive(ref),
            ):
                calls += 1
                try:
                    await call
                except grpc.aio.AioRpcError:
                    failures += 1
            if forecasting(http_port):
                forecast_s = elapsed_s
            await asyncio.sleep(0.05)
        active.cancel()
        spec.cancel()
    return forecast_s, calls, failures


def forecasting(http_port: int) -> bool:
    """Whether every workload is decided on a forecast."""
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v1/workloads", timeout=2) as answer:
            listed = json.load(answer)["workloads"]
        return all(w["mode"] in {"Recovery", "Normal"} and w["predictive"] is not None for w in listed)
    return False


def run() -> Iterator[str]:
    for title in ("first start", "after kill -9"):
        results = []
        with tempfile.TemporaryDirectory() as var:
            for attempt in range(RUNS + (title != "first start")):
                grpc_port, http_port, started = free_port(), free_port(), time.monotonic()
                listen = ["--grpc-listen", f"127.0.0.1:{grpc_port}", "--http-listen", f"127.0.0.1:{http_port}"]
                command = [sys.executable, "-m", "scaler", "serve", "--demo", "--var", var, *listen]
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                result = asyncio.run(polled(grpc_port, http_port, started))
                process.kill()
                process.wait()
                if title == "first start" or attempt:
                    results.append(result)
        forecast_s = statistics.median(result[0] for result in results)
        calls, failed = (sum(result[k] for result in results) for k in (1, 2))
        yield (
            f"{title}: all six demo workloads on forecasts {forecast_s:.1f} s after process start (target ≤ 10); "
            f"{calls} calls from 2 s on, {failed} failed"
        )
