"""A server to measure, as a process of its own: `python -m benchmarks.served PORT empty|foresail N [HTTP_PORT]`.

`foresail` ticks N workloads, fitted, every 5 s: three times as often as by default. It prints "ready" and then one line
of JSON per tick.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import grpc.aio
import numpy as np
from aiohttp import web

from forecasting.forecast import FloatArray
from scaler.access import Access
from scaler.core.learning import learn
from scaler.core.signals import Signal
from scaler.core.trigger import parse_workload
from scaler.engine import Engine
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerServicer, add_ExternalScalerServicer_to_server
from scaler.push import PushedLoad
from scaler.replay import Replay
from scaler.servicer import GrpcDoor
from scaler.settings import Settings
from scaler.sources import NoCluster
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import application

STEP_S = 5.0


class Empty(ExternalScalerServicer):
    """What any Python servicer costs: parse, answer a constant."""

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: object) -> pb.GetMetricsResponse:  # noqa: N802
        del context
        value = pb.MetricValue(metricName=request.metricName, metricValue=7, metricValueFloat=7.0)
        return pb.GetMetricsResponse(metricValues=[value])


async def serve_empty(port: int) -> None:
    server = grpc.aio.server()
    add_ExternalScalerServicer_to_server(Empty(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


def load(t_s: FloatArray) -> FloatArray:
    return np.asarray(500.0 + 200.0 * np.sin(2 * np.pi * t_s / 86_400.0) + 20.0 * np.sin(t_s))


async def fitted_engine(n: int) -> Engine:
    """An engine with n workloads that share one fit."""
    workloads = [
        parse_workload({"threshold": "50", "capacity": "70", "step": "5s", "name": f"w{k}", "namespace": "bench"})
        for k in range(n)
    ]
    source = Replay({("bench", w.name, Signal.LOAD): load for w in workloads}, STEP_S)
    engine = Engine(Settings(first_answer_s=5.0), source, NoCluster())
    keys = [engine.declare(workload) for workload in workloads]
    for key in keys:
        await engine.introduce(key)
    fleet, first = engine.row_of(keys[0])
    history, columns = fleet.lesson([first])
    cutoff_s = fleet.due_cutoff_s(first, fleet.ring.end_s)
    learnt = learn(history, columns, np.array([cutoff_s]))
    for key in keys:
        fleet.adopt(engine.row_of(key)[1], learnt, 0, fleet.ring.end_s)
    return engine


async def serve_foresail(port: int, n: int, http_port: int | None = None) -> None:
    engine = await fitted_engine(n)
    door = GrpcDoor(engine)
    await door.open(f"127.0.0.1:{port}")
    if http_port is not None:
        routes = application(
            engine, registry_of(EngineCollector(engine)), PushedLoad(None), Access(None, loopback=True)
        )
        runner = web.AppRunner(routes, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", http_port).start()
    print("ready", flush=True)
    while True:
        now_s = time.time()
        await asyncio.sleep((now_s // STEP_S + 1) * STEP_S - now_s)
        cpu_s = time.process_time()
        slices: list[float] = []
        watch = asyncio.create_task(watch_the_loop(slices))
        await engine.tick(STEP_S, time.time() // STEP_S * STEP_S)
        watch.cancel()
        line = {
            "tick_cpu_s": time.process_time() - cpu_s,
            "longest_slice_ms": max(slices, default=0.0) * 1e3,
            "rss_mb": rss_mb(),
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(line), flush=True)


def rss_mb() -> float:
    """Resident memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def watch_the_loop(slices: list[float]) -> None:
    """How long the loop keeps others waiting, turn by turn."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(0)
        slices.append(time.perf_counter() - started)


if __name__ == "__main__":
    if sys.argv[2] == "empty":
        asyncio.run(serve_empty(int(sys.argv[1])))
    else:
        asyncio.run(serve_foresail(int(sys.argv[1]), *map(int, sys.argv[3:5])))
