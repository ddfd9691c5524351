"""What looking costs: a week's range query, 200 workloads streamed, the page's first paint in the demo."""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from benchmarks.free import free_port
from benchmarks.served import STEP_S, fitted_engine
from scaler.core.trigger import parse_workload
from scaler.curves import Curves
from scaler.engine import Engine
from scaler.feed import Feed
from scaler.grafana import PREFIX, Door
from scaler.journal import Journal, Limits
from scaler.page import Page
from scaler.record import LAYOUT
from scaler.replay import Replay
from scaler.roster import Key
from scaler.settings import Settings
from scaler.sources import NoCluster
from scaler.steering_file import SteeringFile
from scaler.telemetry import set_up_logging

WEEK_S, TICK_S, WORKLOADS, TICKS = 7 * 86_400.0, 15.0, 200, 12
RUNS = 7


def run() -> Iterator[str]:
    """The lines."""
    yield asyncio.run(week())
    yield asyncio.run(streaming())
    yield first_paint()


async def week() -> str:
    """A query over 10,081 × 5 points of past forecasts, from a folded journal on disk."""
    now_s = time.time() // 60.0 * 60.0
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "journal.sqlite", Limits())
        engine = Engine(Settings(), Replay({}, TICK_S), NoCluster(), lambda: now_s, journal)
        workload = parse_workload({"threshold": "50", "capacity": "70", "name": "w0", "namespace": "bench"})
        fill(journal, engine.declare(workload), now_s)
        app = web.Application()
        app.add_routes(Door(engine, Curves(engine)).routes())
        async with TestClient(TestServer(app)) as client:
            asked = {"query": "foresail_forecast_load", "start": now_s - WEEK_S, "end": now_s, "step": 60}
            took, points, size = [], 0, 0
            for _ in range(RUNS):
                began = time.process_time()
                answer = await client.post(PREFIX + "/api/v1/query_range", data=asked)
                body = await answer.read()
                took.append(time.process_time() - began)
                points, size = body.count(b'"]'), len(body)
        journal.close()
    median = 1e3 * statistics.median(took)
    return (
        f"range query, 7 days at 60 s × 5 levels: {median:.0f} ms of a core ({points} points, {size / 1e6:.1f} MB);"
        " target 300 ms"
    )


def fill(journal: Journal, key: Key, now_s: float) -> None:
    """A week of decisions whose numbers move as real ones do."""
    rng = np.random.default_rng(3)
    n = round(1.02 * WEEK_S / TICK_S)
    rows = np.zeros(n, LAYOUT)
    rows["t"], rows["step"], rows["h"] = now_s - TICK_S * np.arange(n)[::-1], TICK_S, 9
    rows["load"] = 500.0 + 200.0 * np.sin(2 * np.pi * rows["t"] / 86_400.0) + rng.normal(0.0, 20.0, n)
    rows["arrivals"], rows["raw_load"] = np.nan, rows["load"]
    spread = np.array([1.0, 1.05, 1.08, 1.1, 1.12])
    rows["path"] = rows["peak"] = (rows["load"] + 20.0)[:, None] * spread
    for name in ("replicas", "ready", "reactive", "reactive_alone", "predictive", "proposal"):
        rows[name] = np.ceil(rows["load"] / 70.0)
    for row in rows:
        journal.post(0, [key], row[None])
    journal.flush()
    journal.tidy()


async def streaming() -> str:
    """Five pages watch 200 workloads that tick every 5 s: share of a core at 15 s, over the same without pages."""
    set_up_logging("error", "console")
    engine = await fitted_engine(WORKLOADS)
    with tempfile.TemporaryDirectory() as folder:
        app = web.Application()
        app.add_routes(Page(Feed(engine, SteeringFile(Path(folder))), demo=False, token=False).routes())
        async with TestClient(TestServer(app)) as client:
            idle = await ticking(engine)
            readers = [asyncio.create_task(read(client)) for _ in range(5)]
            await asyncio.sleep(2.0)
            watched = await ticking(engine)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    shares = (watched - idle) / STEP_S
    return (
        f"{WORKLOADS} workloads, 5 pages: {100 * shares:.1f} % of a core with a decision every {STEP_S:g} s, readers"
        " included; target 10 %"
    )


async def ticking(engine: Engine) -> float:
    """Processor seconds per tick, what happens between two of them included."""
    await engine.tick(STEP_S, await _next_step())
    began = time.process_time()
    for _number in range(TICKS):
        await engine.tick(STEP_S, await _next_step())
    return (time.process_time() - began) / TICKS


async def _next_step() -> float:
    now_s = time.time()
    await asyncio.sleep((now_s // STEP_S + 1) * STEP_S - now_s)
    return time.time() // STEP_S * STEP_S


async def read(client: "TestClient[web.Request, web.Application]") -> None:
    """A page that takes whatever comes."""
    async with client.get("/v1/stream") as answer:
        async for chunk in answer.content.iter_any():
            del chunk


def first_paint() -> str:
    """In Chromium, of the real demo: first contentful paint, and all workloads listed."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        return "first paint: playwright is not installed"
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        listen = ["--http-listen", f"127.0.0.1:{port}", "--grpc-listen", f"127.0.0.1:{free_port()}"]
        command = [sys.executable, "-m", "scaler", "serve", "--demo", "--var", folder, *listen]
        with (
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service,
            sync_playwright() as driver,
        ):
            try:
                until_served(url)
                browser = driver.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
                )
                paints, lists = zip(*(painted(browser, url) for _number in range(RUNS)), strict=True)
                browser.close()
            finally:
                service.terminate()
    return (
        f"first paint in the demo: {statistics.median(paints):.0f} ms, workloads listed after"
        f" {statistics.median(lists):.0f} ms; target 1000 ms"
    )


def painted(browser: object, url: str) -> tuple[float, float]:
    """Milliseconds from the navigation's start, in a context without anything cached."""
    context = browser.new_context()  # type: ignore[attr-defined]
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".line-link")
    listed = page.evaluate("performance.now()")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return float(paint), float(listed)


def until_served(url: str) -> None:
    """Wait until the demo answers and its workloads are decided."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url + "readyz", timeout=1) as answer:  # noqa: S310 - our own
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError("the demo does not answer")
