"""GetMetrics beside an empty servicer, the tick of 1,000 workloads, and memory."""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc.aio

from benchmarks.free import free_port
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerStub

PAIRS, RUN_S, AT_ONCE = 5, 6.0, 16


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """A server process that is ready."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.served", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield port, process
    finally:
        process.kill()
        process.wait()


async def requests_per_s(port: int, n_workloads: int, run_s: float) -> float:
    """Closed loop of AT_ONCE callers over one connection."""
    messages = [
        pb.GetMetricsRequest(
            scaledObjectRef=pb.ScaledObjectRef(
                name=f"w{k}", namespace="bench", scalerMetadata={"scalerAddress": f"127.0.0.1:{port}"}
            ),
            metricName="predicted-replicas",
        )
        for k in range(n_workloads)
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub, end, count = ExternalScalerStub(channel), time.perf_counter() + run_s, 0

        async def caller(first: int) -> None:
            nonlocal count
            turn = first
            while time.perf_counter() < end:
                await stub.GetMetrics(messages[turn % n_workloads])
                turn += AT_ONCE
                count += 1

        await stub.GetMetrics(messages[0])
        started = time.perf_counter()
        await asyncio.gather(*(caller(first) for first in range(AT_ONCE)))
        return count / (time.perf_counter() - started)


def run() -> Iterator[str]:
    ratios, empties, ours = [], [], []
    with served("empty") as (empty_port, _), served("foresail", "1000") as (port, process):
        for _ in range(PAIRS):
            empties.append(asyncio.run(requests_per_s(empty_port, 1000, RUN_S)))
            ours.append(asyncio.run(requests_per_s(port, 1000, RUN_S)))
            ratios.append(ours[-1] / empties[-1])
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        ticks = [json.loads(line) for line in process.stdout.readlines()]
    yield (
        f"GetMetrics, 1,000 workloads ticking: {statistics.median(ours):.0f}/s; empty servicer "
        f"{statistics.median(empties):.0f}/s; ratio {statistics.median(ratios):.2f} (target ≥ 0.7, goal 0.9)"
    )
    busy = sorted(tick["tick_cpu_s"] for tick in ticks)
    quiet = quiet_ticks(1000, 4)
    cpu_s = statistics.median(tick["tick_cpu_s"] for tick in quiet)
    slice_ms = statistics.median(tick["longest_slice_ms"] for tick in quiet)
    yield (
        f"tick of 1,000 workloads: {cpu_s:.3f} CPU s without requests (target ≤ 0.5), {busy[len(busy) // 2]:.3f} s "
        f"of the process while it answers; longest slice {slice_ms:.1f} ms (target ≤ 10)"
    )
    small, large = quiet_ticks(100, 2)[-1], quiet[-1]
    yield (
        f"RSS of the serving process: {small['rss_mb']:.0f} MiB at 100 workloads (target ≤ 150), "
        f"{large['rss_mb']:.0f} MiB at 1,000"
    )
    yield f"RSS growth per workload: {(large['rss_mb'] - small['rss_mb']) / 900:.2f} MiB"


def quiet_ticks(n: int, count: int) -> list[dict[str, float]]:
    """The first `count` ticks of n workloads that nobody asks."""
    with served("foresail", str(n)) as (_, process):
        assert process.stdout is not None
        return [json.loads(process.stdout.readline()) for _ in range(count)]
