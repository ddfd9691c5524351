"""200 workloads on one real Prometheus: what their histories cost it, and what a tick costs it and us.

Twenty counters, eight days at 15 s each; ten workloads ask a query of their own of each counter, every 5 s. It takes at
most 280 s: histories that are not in by their time are given up, and how many came is said.
"""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from scaler.core.trigger import parse_workload
from scaler.engine import Engine
from scaler.prometheus import PrometheusSource
from scaler.servers import Server
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.real_prometheus import DAY_S, RealPrometheus, backfill, count

WORKLOADS, COUNTERS, DAYS, EVERY_S, STEP_S, TICKS = 200, 20, 8.0, 15.0, 5.0, 8
HISTORIES_S = 90.0
"""Beside 100 s for promtool, 40 s of ticks and the start of Prometheus."""
QUERIES = 'prometheus_http_requests_total{code="200",handler="/api/v1/query'
CPU = "process_cpu_seconds_total"


def history() -> Iterator[str]:
    yield "# TYPE requests counter\n"
    end_s = time.time() // EVERY_S * EVERY_S + 300.0  # no target is scraped: what is asked lies in the past
    for counter in range(COUNTERS):
        for n in range(round(DAYS * DAY_S / EVERY_S), -1, -1):
            t_s = end_s - n * EVERY_S
            yield f'requests_total{{service="s{counter}"}} {count(t_s):.3f} {t_s:.0f}\n'


def engine_on(prometheus: RealPrometheus, source: PrometheusSource) -> Engine:
    engine = Engine(Settings(first_answer_s=5.0), source, NoCluster())
    for n in range(WORKLOADS):
        query = f'sum(rate(requests_total{{service="s{n % COUNTERS}"}}[1m])) * {1 + n / 1000}'
        metadata = {"serverAddress": prometheus.url, "query": query, "threshold": "50", "step": f"{STEP_S:g}s"}
        engine.declare(parse_workload(metadata, name=f"w{n}", namespace="bench"))
    return engine


async def measured(prometheus: RealPrometheus) -> list[str]:
    source = PrometheusSource([Server(url=prometheus.url, namespaces=("bench",))])
    engine = engine_on(prometheus, source)
    cpu_s, ours_s, started = prometheus.metric(CPU), time.process_time(), time.perf_counter()
    reads = [asyncio.create_task(engine.introduce(key)) for key in engine.roster.entries]
    done, late = await asyncio.wait(reads, timeout=HISTORIES_S)
    for read in late:
        read.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    await asyncio.gather(*done)
    took_s, read_mb = time.perf_counter() - started, sum(e.read_bytes for e in source.exchanges.values()) / 1e6
    said = (
        f"histories of {len(done)} of {WORKLOADS} workloads: {took_s:.1f} s, {prometheus.metric(CPU) - cpu_s:.1f} CPU "
        f"s of Prometheus, {time.process_time() - ours_s:.1f} of ours, {read_mb:.0f} MB"
    )
    lines, tick_s = [said], []
    asked, cpu_s, ours_s = prometheus.metric(QUERIES), prometheus.metric(CPU), time.process_time()
    started = time.perf_counter()
    for _ in range(TICKS):
        now_s = time.time()
        await asyncio.sleep((now_s // STEP_S + 1) * STEP_S - now_s)
        await engine.tick(STEP_S, time.time() // STEP_S * STEP_S)
        tick_s.append(engine.counters.tick_s)
    elapsed_s, queries = time.perf_counter() - started, prometheus.metric(QUERIES) - asked
    lines.append(
        f"steady state, a tick every {STEP_S:g} s: {queries / TICKS / WORKLOADS:.2f} queries per workload and tick, "
        f"{queries / elapsed_s:.1f} queries/s ({WORKLOADS / 15:.1f} at 15 s), {engine.lookout.failures} failed"
    )
    lines.append(
        f"tick {1e3 * statistics.median(tick_s):.0f} ms median, {1e3 * max(tick_s):.0f} ms at most; "
        f"CPU per tick {1e3 * (prometheus.metric(CPU) - cpu_s) / TICKS:.0f} ms of Prometheus, "
        f"{1e3 * (time.process_time() - ours_s) / TICKS:.0f} ms of ours"
    )
    await source.close()
    return lines


def run() -> Iterator[str]:
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        yield "skipped: prometheus and promtool are not installed"
        return
    with tempfile.TemporaryDirectory() as folder:
        backfill(Path(folder), history())
        prometheus = RealPrometheus(Path(folder))
        try:
            yield from asyncio.run(measured(prometheus))
        finally:
            prometheus.close()
