"""The status page: static files from `console/`, and the stream that keeps it live.

Its script may do nothing but what the policy below says: no other origin, nothing inline, no string made code.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from scaler import __version__
from scaler.feed import Feed

FILES = Path(__file__).parent / "console"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LOOK_S = 1.0
"""Between two looks whether something has changed."""
BEAT_S = 5.0
"""Between two signs of life of a stream that has nothing to say."""
PATIENCE_S = 30.0
"""How long a line may take to go out: a reader that has gone to sleep is cut off."""
MOST_STREAMS = 100
"""Open streams: a page has one."""


class Page:
    """The handlers."""

    def __init__(self, feed: Feed, *, demo: bool, token: bool) -> None:
        """`token`: whether what changes something asks for one."""
        self._feed = feed
        self._hello = {"version": __version__, "demo": demo, "token": token}
        self._files = {path.name: _File(path) for path in sorted(FILES.iterdir()) if path.suffix in TYPES}
        self._stopping = asyncio.Event()
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """The page, its files, and the stream."""
        return [
            web.get("/", self.index),
            web.get("/console/{file}", self.file),
            web.get("/v1/stream", self.stream),
        ]

    async def stop(self, app: web.Application) -> None:
        """End all streams: a server that shuts down waits for them."""
        del app
        self._stopping.set()

    async def index(self, request: web.Request) -> web.Response:
        """The page itself."""
        return self._files["index.html"].answer(request)

    async def file(self, request: web.Request) -> web.Response:
        """One of its files."""
        found = self._files.get(request.match_info["file"])
        if found is None:
            raise web.HTTPNotFound
        return found.answer(request)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """All workloads, then whatever changes, as lines of JSON."""
        if self._streams >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(reason=f"{MOST_STREAMS} streams are open already")
        said = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await said.prepare(request)
        self._streams += 1
        try:
            await self._tell(said)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._streams -= 1
        return said

    async def _tell(self, said: web.StreamResponse) -> None:
        serial, quiet_s = -1, BEAT_S
        while not self._stopping.is_set():
            self._feed.look()
            parts = self._changes(serial)
            serial, quiet_s = self._feed.serial, quiet_s + LOOK_S
            if parts or quiet_s >= BEAT_S:
                quiet_s = 0.0
                async with asyncio.timeout(PATIENCE_S):
                    await said.write(("\n".join(parts or ["{}"]) + "\n").encode())
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_S)
            except TimeoutError:
                continue

    def _changes(self, serial: int) -> list[str]:
        """Lines to send to who knows everything up to `serial`; -1: nothing."""
        lines = list(self._feed.since(serial))
        first = [json.dumps({"hello": self._hello})] if serial < 0 else []
        gone: list[Any] = [name for number, name in self._feed.gone if number > serial >= 0]
        rows = [f'{{"rows":[{",".join(lines)}]}}'] if lines or serial < 0 else []
        return first + rows + ([json.dumps({"gone": gone})] if gone else [])


class _File:
    """A static file, read once."""

    def __init__(self, path: Path) -> None:
        self._body, self._type = path.read_bytes(), TYPES[path.suffix]
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:16]}"'

    def answer(self, request: web.Request) -> web.Response:
        """The file, or that it is as it was."""
        headers = {**HEADERS, "ETag": self._tag}
        if request.headers.get("If-None-Match") == self._tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._body, content_type=self._type, charset="utf-8", headers=headers)
