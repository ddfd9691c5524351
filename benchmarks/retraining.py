"""`python -m benchmarks retraining`: all workloads retrained beside the running loop, and what it costs.

Simulated load, real processes: the engine ticks every fifteen seconds of its own clock, first without fits and then
with them. Prints wall time, CPU time and memory of the fitting processes, and the tick's p99 before and meanwhile.
FORESAIL_RETRAIN says how many workloads are tracked, how many of them fitted and by how many processes, such as
1000,64,2. Takes minutes of all cores: not part of `make bench`.
"""

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scaler.core.domain import Workload
from scaler.core.signals import Samples, Signal
from scaler.core.trigger import parse_workload
from scaler.engine import Engine
from scaler.settings import Settings
from scaler.sources import NoCluster

STEP_S, START_S = 15.0, 1_789_516_800.0
TICKS = 40
"""Measured in each phase, at least."""


class Load:
    """A day, a week and noise for every workload, some of it its own."""

    def admit(self, workload: Workload) -> None:
        """All are read."""

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """As `LoadSource.read`."""
        del signal
        t_s = end_s - spacing_s * np.arange(n - 1, -1, -1.0)
        own = int(workload.fingerprint, 16)
        day, ripple = t_s / 86_400.0 + own % 97 / 97.0, np.sin(t_s / 45.0 * (1 + own % 13))
        shape = 1.0 + 0.4 * np.sin(2 * np.pi * day) + 0.1 * np.sin(2 * np.pi * day / 7)
        values = 300.0 * shape * (1.0 + 0.05 * ripple)
        return Samples(values, values)


class Clock:
    """Stands still between ticks."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def children() -> tuple[int, float, float]:
    """Fitting processes, their CPU time so far in seconds, and their memory (RSS) in MB."""
    ticks, page, own = 100.0, resource.getpagesize(), str(os.getpid())
    n, cpu_s, memory = 0, 0.0, 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if fields[1] == own and b"spawn_main" in command:
            used_s = (int(fields[11]) + int(fields[12])) / ticks
            n, cpu_s, memory = n + 1, cpu_s + used_s, memory + int(fields[21]) * page
    return n, cpu_s, memory / 2**20


async def _tick(engine: Engine, clock: Clock) -> float:
    clock.now_s += STEP_S
    started = time.process_time()
    await engine.tick(STEP_S, clock.now_s)
    return time.process_time() - started


def _p99(ticks: list[float]) -> str:
    p50, p99 = 1e3 * np.quantile(ticks, [0.5, 0.99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(ticks)} ticks"


async def _run(n: int, n_fitted: int, workers: int) -> list[str]:
    clock = Clock()
    limits = {"max_workloads_per_namespace": n, "max_workloads": n, "fit_timeout_s": 3600.0}
    settings = Settings.model_validate({"fit_workers": workers, **limits})
    engine = Engine(settings, Load(), NoCluster(), clock)
    keys = []
    for number in range(n):
        metadata = {"threshold": "20", "capacity": "30", "leadTime": "120s", "name": f"w{number}", "namespace": "bench"}
        keys.append(engine.declare(parse_workload(metadata)))
    for key in keys:
        await engine.introduce(key)
    for key in keys[n_fitted:]:
        engine.lessons.drop(key)
    alone = [await _tick(engine, clock) for _ in range(TICKS)]
    started = time.perf_counter()
    teaching = [asyncio.create_task(engine.lessons.teach()) for _ in range(workers)]
    meanwhile, largest, cpu_s = [], 0.0, 0.0
    while engine.lessons.waiting or engine.lessons.fitting:
        await asyncio.sleep(0.5)
        meanwhile.append(await _tick(engine, clock))
        _, cpu_s, memory = children()
        largest = max(largest, memory)
    wall_s = time.perf_counter() - started
    for task in teaching:
        task.cancel()
    await asyncio.gather(*teaching, return_exceptions=True)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    failed, refused = engine.counters.fit_failures, engine.succession.counters.refusals
    return [
        f"{n} workloads tracked, {n_fitted} fitted by {workers} processes: {failed} failed, {refused} refused",
        f"wall {wall_s:.0f} s; {cpu_s / n_fitted:.2f} s of CPU per workload: two fits, the replay and the gate",
        f"memory: {largest:.0f} MB of the fitting processes together, {own:.0f} MB of the service",
        f"tick alone: {_p99(alone)}; with fits: {_p99(meanwhile)} (CPU time)",
    ]


def run() -> Iterator[str]:
    """The figures."""
    n, n_fitted, workers = (int(word) for word in os.environ.get("FORESAIL_RETRAIN", "1000,1000,2").split(","))
    yield from asyncio.run(_run(n, n_fitted, workers))
