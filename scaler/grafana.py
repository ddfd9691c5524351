"""The part of Prometheus' HTTP API by which Grafana's own Prometheus data source draws forecasts: stamps may lie ahead.

    http://…:8080/prometheus   the data source's URL; GET and form POST, everything read-only

A query is gathered in the loop and evaluated in a thread, one after the other: the loop goes on deciding meanwhile.
"""

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

import numpy as np
from aiohttp import web
from multidict import MultiDict

from forecasting.forecast import FloatArray
from scaler import __version__
from scaler.curves import Curves, Gathered, meant
from scaler.engine import Engine
from scaler.errors import ForesailError, QueryTooLarge, RequestError
from scaler.families import FAMILIES
from scaler.openapi import Handler
from scaler.promql import Expression, duration_s, parse, parse_selector
from scaler.query import Grid, Line, evaluated, grid_of

PREFIX = "/prometheus"
SPOKEN = "2.53.0"
"""Version of Prometheus whose API this is a part of: data sources ask, to know what they may ask."""
PATIENCE_S = 20.0
"""How long a query waits for those before it."""
LARGEST_LIMIT = 40_000
"""Most labels or series in one answer: what Grafana asks for at most."""
LONGEST_TIME = 40
JSON = "application/json"


class Door:
    """The handlers, over the series of one engine."""

    def __init__(self, engine: Engine, curves: Curves) -> None:
        self._engine, self._curves = engine, curves
        self._turn = asyncio.Semaphore(1)

    def routes(self) -> list[web.RouteDef]:
        """All routes: those that Grafana posts to by GET as well."""
        both = {
            "query": self.query,
            "query_range": self.query_range,
            "labels": self.labels,
            "series": self.series,
            "query_exemplars": self.exemplars,
        }
        only_get = {"label/{label}/values": self.label_values, "metadata": self.metadata,
                    "status/buildinfo": self.build}  # fmt: skip
        base = PREFIX + "/api/v1/"
        found = [web.get(base + path, _shaped(handler)) for path, handler in (both | only_get).items()]
        return found + [web.post(base + path, _shaped(handler)) for path, handler in both.items()]

    async def query(self, request: web.Request) -> web.Response:
        """An instant query."""
        asked = await _asked(request)
        at_s = time_of(asked["time"]) if "time" in asked else self._engine.clock()
        return await self._answer(asked, Grid(at_s, 1.0, 1), _instant)

    async def query_range(self, request: web.Request) -> web.Response:
        """A range query."""
        asked = await _asked(request)
        start_s, end_s = (time_of(_required(asked, name)) for name in ("start", "end"))
        return await self._answer(asked, grid_of(start_s, end_s, step_of(_required(asked, "step"))), _range)

    async def _answer(self, asked: "MultiDict[str]", grid: Grid, shape: "Shape") -> web.Response:
        expression = parse(_required(asked, "query"))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise QueueTooLong(f"other queries took longer than {PATIENCE_S:g} s") from error
        try:
            gathered = await self._curves.gather(expression, grid)
            text = await asyncio.to_thread(_evaluated, expression, grid, gathered, shape)
        finally:
            self._turn.release()
        return web.Response(text=text, content_type=JSON)

    async def labels(self, request: web.Request) -> web.Response:
        """Names of all labels."""
        asked = await _asked(request)
        found = {name for labels in await self._series(asked) for name in labels}
        return _success(sorted(found)[: _limit(asked)])

    async def label_values(self, request: web.Request) -> web.Response:
        """Values of one label."""
        asked = await _asked(request)
        label = request.match_info["label"]
        found = {labels[label] for labels in await self._series(asked) if label in labels}
        return _success(sorted(found)[: _limit(asked)])

    async def series(self, request: web.Request) -> web.Response:
        """Labels of all series that are meant."""
        asked = await _asked(request)
        if "match[]" not in asked:
            raise RequestError("no match[] parameter provided")
        return _success((await self._series(asked))[: _limit(asked)])

    async def _series(self, asked: "MultiDict[str]") -> list[dict[str, str]]:
        selectors = [parse_selector(text) for text in asked.getall("match[]", ['{__name__!=""}'])]
        workloads = self._curves.workloads()

        def listed() -> list[dict[str, str]]:
            found = (labels for one in selectors for chosen in meant(one, workloads) for labels in chosen.all_labels())
            return list({tuple(labels.items()): labels for labels in found}.values())

        return await asyncio.to_thread(listed)

    async def metadata(self, request: web.Request) -> web.Response:
        """What each name means."""
        wanted = request.query.get("metric")
        return _success({
            name: [{"type": "gauge", "help": family.help, "unit": ""}]
            for name, family in FAMILIES.items()
            if wanted in {None, "", name}
        })  # fmt: skip

    async def exemplars(self, request: web.Request) -> web.Response:
        """None: no series here has any."""
        parse(_required(await _asked(request), "query"))
        return _success([])

    async def build(self, request: web.Request) -> web.Response:
        """Which Prometheus this may be taken for."""
        del request
        return _success({"version": SPOKEN, "revision": f"foresail-{__version__}", "branch": "", "buildUser": "",
                         "buildDate": "", "goVersion": ""})  # fmt: skip


class QueueTooLong(ForesailError):  # noqa: N818
    """Too many queries at once."""


REFUSALS: tuple[tuple[type[Exception], HTTPStatus, str], ...] = (
    (QueryTooLarge, HTTPStatus.UNPROCESSABLE_ENTITY, "execution"),
    (RequestError, HTTPStatus.BAD_REQUEST, "bad_data"),
    (QueueTooLong, HTTPStatus.SERVICE_UNAVAILABLE, "timeout"),
    (web.HTTPRequestEntityTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "bad_data"),
    (UnicodeError, HTTPStatus.BAD_REQUEST, "bad_data"),
)
"""Status and Prometheus' word for each refusal; the first that fits counts."""


def _shaped(handler: Handler) -> Handler:
    """A handler whose refusals look as Prometheus' do; pages of other sites are refused."""

    async def shaped(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            return _error(HTTPStatus.FORBIDDEN, "forbidden", "pages of other sites may not ask")
        try:
            return await handler(request)
        except tuple(kind for kind, _, _ in REFUSALS) as error:
            status, word = next((status, word) for kind, status, word in REFUSALS if isinstance(error, kind))
            return _error(status, word, str(error))

    return shaped


def _error(status: HTTPStatus, kind: str, message: str) -> web.Response:
    return web.json_response({"status": "error", "errorType": kind, "error": message[:2000]}, status=status)


def _success(found: Any) -> web.Response:
    return web.json_response({"status": "success", "data": found})


async def _asked(request: web.Request) -> "MultiDict[str]":
    """Parameters of the address and of a form."""
    asked: MultiDict[str] = MultiDict(request.query)
    if request.method == "POST" and request.content_type == "application/x-www-form-urlencoded":
        asked.extend((name, value) for name, value in (await request.post()).items() if isinstance(value, str))
    return asked


def _required(asked: "MultiDict[str]", name: str) -> str:
    if not asked.get(name):
        raise RequestError(f"invalid parameter {name!r}: it is missing")
    return asked[name]


def _limit(asked: "MultiDict[str]") -> int:
    text = asked.get("limit", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise RequestError(f"invalid parameter 'limit': a whole number is expected, not {text[:40]!r}")
    return min(int(text) or LARGEST_LIMIT, LARGEST_LIMIT)


def time_of(text: str) -> float:
    """Unix seconds of a number or an RFC 3339 stamp. Raises RequestError."""
    try:
        found = float(text[:LONGEST_TIME])
    except ValueError:
        try:
            stamp = datetime.fromisoformat(text[:LONGEST_TIME])
            found = math.nan if stamp.tzinfo is None else stamp.timestamp()
        except (ValueError, OverflowError):
            found = math.nan
    if not abs(found) < 1e11:
        raise RequestError(f"cannot parse {text[:LONGEST_TIME]!r} to a valid timestamp")
    return found


def step_of(text: str) -> float:
    """Seconds of a number or a duration. Raises RequestError."""
    try:
        found = float(text[:LONGEST_TIME])
    except ValueError:
        return duration_s(text)
    if not abs(found) < 1e11:
        raise RequestError(f"cannot parse {text[:LONGEST_TIME]!r} to a valid duration")
    return found


Found = Sequence[Line] | FloatArray
Shape = Callable[[Found, Grid], tuple[str, Iterable[str]]]
"""Kind of a result, and its parts as JSON."""


def _evaluated(expression: Expression, grid: Grid, gathered: Gathered, shape: "Shape") -> str:
    kind, parts = shape(evaluated(expression, grid, gathered.curves()), grid)
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":[{",".join(parts)}]}}}}'


def _instant(found: Found, grid: Grid) -> tuple[str, Iterable[str]]:
    at = _stamps(grid)[0]
    if isinstance(found, np.ndarray):
        return "scalar", (at, f'"{_number(float(found[0]))}"')
    kept = [(line, float(line.values[0])) for line in found if not np.isnan(line.values[0])]
    return "vector", (f'{{"metric":{_labels(line)},"value":[{at},"{_number(value)}"]}}' for line, value in kept)


def _range(found: Found, grid: Grid) -> tuple[str, Iterable[str]]:
    lines = [Line({}, found)] if isinstance(found, np.ndarray) else found
    return "matrix", _matrix(lines, _stamps(grid))


def _matrix(lines: Sequence[Line], stamps: list[str]) -> Iterator[str]:
    for line in lines:
        known = np.flatnonzero(~np.isnan(line.values))
        if len(known):
            values = line.values[known].tolist()
            points = ",".join([f'[{stamps[at]},"{_number(v)}"]' for at, v in zip(known.tolist(), values, strict=True)])
            yield f'{{"metric":{_labels(line)},"values":[{points}]}}'


def _labels(line: Line) -> str:
    return json.dumps(dict(line.labels))


def _stamps(grid: Grid) -> list[str]:
    return [f"{t_s:.3f}".removesuffix(".000") for t_s in grid.times_s.tolist()]


def _number(value: float) -> str:
    """As Prometheus writes numbers."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value).removesuffix(".0")
