"""The status page: what is sent, and what a real browser makes of it."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from scaler import grafana
from scaler.access import Access, Token
from scaler.core.domain import Running
from scaler.curves import Curves
from scaler.engine import Engine
from scaler.feed import Feed
from scaler.page import FILES, HEADERS, Page
from scaler.push import PushedLoad
from scaler.sources import Replicas
from scaler.steering_file import SteeringFile
from scaler.telemetry import EngineCollector, registry_of
from scaler.web import application
from tests.service import FakeCluster, declared, loop_of, some_engine, tick

EIGHT = Running(8, 7, 1, 100, 0.1)
SECRET = "0123456789abcdef-secret"  # noqa: S105 - of these tests alone
CHROMIUM = Path("/usr/bin/chromium")

Served = tuple[Any, Engine, Any]


def app_of(engine: Engine, by_hand: SteeringFile, token: Token | None) -> web.Application:
    """All doors that the page uses."""
    access = Access(token, loopback=True)
    app = application(engine, registry_of(EngineCollector(engine)), PushedLoad(None), access, pen=by_hand)
    page = Page(Feed(engine, by_hand), demo=True, token=token is not None)
    app.add_routes([*grafana.Door(engine, Curves(engine)).routes(), *page.routes()])
    app.on_shutdown.append(page.stop)
    return app


@contextlib.asynccontextmanager
async def served(
    folder: Path, *names: str, secret: bool = False, ticks: int = 40
) -> AsyncIterator[tuple[Any, Engine, Any]]:
    """A client, the engine and its clock; what is asked by hand lies in `folder`."""
    by_hand = SteeringFile(folder)
    engine, _, clock = some_engine()
    engine.lookout._cluster = Replicas(FakeCluster(EIGHT), PushedLoad(None), by_hand)
    token = None
    if secret:
        (folder / "token").write_text(SECRET)
        token = Token(folder / "token")
    async with loop_of(engine):
        for name in names:
            await engine.first(engine.declare(declared(name)))
        await tick(engine, clock, ticks)
        async with TestClient(TestServer(app_of(engine, by_hand, token))) as client:
            yield client, engine, clock


async def lines(answer: Any, n: int) -> list[Any]:
    return [json.loads(await asyncio.wait_for(answer.content.readline(), 10)) for _ in range(n)]


async def test_the_page_may_load_nothing_but_its_own_files(tmp_path: Path) -> None:
    async with served(tmp_path, "web") as (client, _, _):
        for path in ("/", *(f"/console/{file.name}" for file in FILES.iterdir())):
            answer = await client.get(path)
            assert answer.status == 200
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304
        for path in ("/console/", "/console/..%2Fpage.py", "/console/none.js"):
            assert (await client.get(path)).status == 404
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_no_file_of_the_page_holds_what_the_policy_forbids() -> None:
    for file in FILES.iterdir():
        text = file.read_text()
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=|innerHTML|outerHTML|eval\(|document\.write", text
        )
        addresses = set(re.findall(r"https?://[^\s\"'`<)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert all(one.startswith(("https://github.com/foresail/", "http://prometheus.")) for one in addresses)


async def test_the_stream_tells_all_workloads_and_then_what_changes(tmp_path: Path) -> None:
    async with served(tmp_path, "api", "web") as (client, engine, clock), client.get("/v1/stream") as answer:
        hello, first = await lines(answer, 2)
        assert hello["hello"]["demo"] is True
        assert [row["name"] for row in first["rows"]] == ["api", "web"]
        row = first["rows"][1]
        assert (row["now"], row["ready"], row["mode"]) == (8, 7, "Recovery")
        assert len(row["spark"]) == 48
        assert row["t"] == clock.now_s
        await tick(engine, clock)
        (changed,) = await lines(answer, 1)
        assert {one["t"] for one in changed["rows"]} == {clock.now_s}
        engine._forget(engine.roster.find("api"))
        clock.now_s += 2.0
        (gone,) = await lines(answer, 1)
        assert gone == {"gone": ["shop/api"]}


async def test_a_line_is_rendered_once_per_decision_however_many_look(tmp_path: Path) -> None:
    engine, _, clock = some_engine()
    feed = Feed(engine, SteeringFile(tmp_path))
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        feed.look()
        before = feed.serial
        for _ in range(5):
            clock.now_s += 2.0
            feed.look()
        assert feed.serial == before
        await tick(engine, clock)
        feed.look()
        assert feed.serial == before + 1
        assert len(list(feed.since(before))) == 1


async def test_streams_are_capped_and_end_with_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.page.MOST_STREAMS", 3)
    async with served(tmp_path, "web") as (client, _, _):
        opened = [await client.get("/v1/stream") for _ in range(3)]
        refused = await client.get("/v1/stream")
        assert refused.status == 503
        for answer in opened:
            answer.close()


async def test_coverage_is_counted_from_the_last_days_decisions(tmp_path: Path) -> None:
    async with served(tmp_path, "web") as (_, engine, clock):
        feed, key = Feed(engine, SteeringFile(tmp_path)), engine.roster.find("web")
        await feed.look_at_coverage(key)
        assert key not in feed.coverage, "minutes are too few"
        await tick(engine, clock, 300)
        await feed.look_at_coverage(key)
        assert 0.0 <= feed.coverage[key] <= 1.0


STEERING = "/v1/workloads/shop/web/steering"
BEARER = {"Authorization": f"Bearer {SECRET}"}


async def test_who_shows_the_token_fixes_replicas_and_ends_that(tmp_path: Path) -> None:
    async with served(tmp_path, "web", secret=True) as (client, engine, clock):
        body = {"by": "ann", "override": {"replicas": 30, "lasts": "2h", "reason": "sale"}}
        for headers in ({}, {"Authorization": "Bearer wrong-but-long-enough"}):
            assert (await client.post(STEERING, json=body, headers=headers)).status == 401
        await tick(engine, clock)
        served_before = engine.board.answer(engine.roster.find("web")).decisions.predicted_replicas[0]
        assert served_before != 30
        with structlog.testing.capture_logs() as log:
            assert (await client.post(STEERING, json=body, headers=BEARER)).status == 200
        (line,) = [one for one in log if one["event"] == "asked over HTTP"]
        assert (line["workload"], line["by"]) == ("shop/web", "ann")
        assert SECRET not in str(log)
        await tick(engine, clock, 2)
        assert engine.board.answer(engine.roster.find("web")).decisions.predicted_replicas[0] == 30
        assert (await client.post(STEERING, json={"by": "ann", "override": None}, headers=BEARER)).status == 200
        await tick(engine, clock, 2)
        assert engine.board.answer(engine.roster.find("web")).decisions.predicted_replicas[0] != 30


FIXED = {"replicas": 3, "lasts": "1h", "reason": "x"}
WRONG: list[Any] = [
    *([], "x", {}, {"by": "ann"}, {"by": "", "shadow": True}, {"by": "a\nb", "shadow": True}),
    *({"by": "ann", "shadow": "true"}, {"by": "ann", "shadow": True, "more": 1}, {"by": "ann", "override": {}}),
    *(
        {"by": "ann", "override": FIXED | wrong}
        for wrong in (
            {"replicas": -1}, {"replicas": 1e9}, {"mode": "Normal"}, {"replicas": None}, {"lasts": "soon"},
            {"replicas": None, "mode": "Failed"}, {"lasts": "31d"}, {"reason": ""}, {"reason": "a\nb"}, {"more": 1},
        )
    ),
]  # fmt: skip


async def test_what_cannot_be_understood_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, "web", ticks=1) as (client, _, _):
        for body in WRONG:
            answer = await client.post(STEERING, json=body)
            assert answer.status == 400, (body, await answer.text())
        assert not (tmp_path / "steering.json").exists()


async def test_another_site_cannot_steer_through_a_browser(tmp_path: Path) -> None:
    async with served(tmp_path, "web") as (client, _, _):
        for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json", "Host": "evil.example"}):
            answer = await client.post(STEERING, data=b'{"by": "x", "shadow": true}', headers=headers)
            assert answer.status == 403


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    async with playwright.async_playwright() as running:
        flags = ["--no-sandbox", "--disable-background-networking"]
        chromium = await running.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        try:
            yield chromium
        finally:
            await chromium.close()


class Watched:
    """A page whose console and requests are looked at."""

    def __init__(self, page: Any, origin: str) -> None:
        self.page, self.origin = page, origin
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(self.origin):
            self.complaints.append(f"asked elsewhere: {request.url}")


@pytest.mark.process
async def test_a_browser_sees_the_future_and_steers_with_the_token_only(tmp_path: Path) -> None:
    async with (
        served(tmp_path, "web", "<script>alert(1)</script>", secret=True) as (client, engine, clock),
        browser() as ours,
    ):
        origin = str(client.make_url("")).rstrip("/")
        watched = Watched(await ours.new_page(viewport={"width": 1280, "height": 900}), origin)
        page = watched.page
        await page.goto(origin + "/")
        await page.wait_for_selector(".line-link")
        assert await page.locator(".line-link").count() == 2
        assert await page.locator("text=<script>alert(1)</script>").count() >= 1
        assert "demo" in (await page.text_content(".welcome")).lower()
        await page.fill("input[type=search]", "web")
        assert await page.locator(".line-link").count() == 1
        await page.click(".line-link")
        await page.wait_for_selector(".plot path.line.median")
        now_x = float(await page.locator(".plot line.now").first.get_attribute("x1"))
        points = re.findall(r"[ML]([\d.]+)", await page.locator(".plot path.line.median").first.get_attribute("d"))
        assert max(map(float, points)) > now_x + 100, "the forecast reaches beyond now"
        await page.locator(".plot svg").first.focus()
        await page.keyboard.press("ArrowRight")
        assert "forecast, median" in await page.text_content(".tip >> nth=0")
        await page.locator(".reason", has_text="replicas").first.wait_for()

        async def toggle(secret: str) -> None:
            await page.click("#shadow")
            await page.fill("dialog input[autocomplete=name]", "ann")
            await page.fill("dialog input[type=password]", secret)
            await page.click("dialog button.strong")

        await toggle("wrong-and-long-enough")
        await page.wait_for_selector("dialog .refused:not([hidden])")
        assert "401" in await page.text_content("dialog .refused")
        assert not engine.lookout._cluster.running(engine.roster.find("web"), clock.now_s).shadow
        await page.keyboard.press("Escape")
        watched.complaints = [one for one in watched.complaints if "401" not in one]  # the browser tells of it, rightly
        await toggle(SECRET)
        await page.wait_for_selector(".toast")
        await tick(engine, clock, 2)
        await page.wait_for_selector("#shadow[aria-checked=true]")
        assert SECRET not in page.url
        assert watched.complaints == []


@pytest.mark.process
async def test_many_workloads_are_listed_and_filtered_quickly_on_a_phone(tmp_path: Path) -> None:
    names = [f"w{n:03d}" for n in range(200 if os.environ.get("FORESAIL_EVIDENCE") == "1" else 40)]
    async with served(tmp_path, *names, ticks=2) as (client, engine, clock), browser() as ours:
        origin = str(client.make_url("")).rstrip("/")
        watched = Watched(await ours.new_page(viewport={"width": 390, "height": 844}), origin)
        page = watched.page
        await page.goto(origin + "/")
        await page.wait_for_selector(".line-link")
        assert await page.locator(".line-link").count() == len(names)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "nothing is wider than a phone"
        )
        took = await page.evaluate(
            "() => { const box = document.querySelector('input[type=search]'), began = performance.now();"
            " box.value = 'w03'; box.dispatchEvent(new Event('input')); return performance.now() - began; }"
        )
        assert await page.locator(".line-link").count() == 10
        assert took < 500.0
        await tick(engine, clock)
        assert watched.complaints == []
