"""Load histories from a Prometheus server: its HTTP API's range query."""

import asyncio
import math
from typing import Any

import aiohttp
import numpy as np

from forecasting.forecast import FloatArray
from forecasting.series import DAY_S
from scaler.errors import HistoryError
from scaler.trace import Trace, evenly_spaced

SPACING_S = 60.0
"""Step of the query: fine enough for minutes of start-up, and 14 days are 20,160 points."""
POINTS = 10_000
"""Points per request: Prometheus refuses more than 11,000 per series."""
DEADLINE_S = 60.0
"""For each request: a range over recorded raw series may take its time."""


def fetch(server: str, query: str, days: float, now_s: float, name: str) -> Trace:
    """The last `days` of one series.

    Raises:
        HistoryError: the server cannot be asked, refuses, or the query yields no series or several.
    """
    return asyncio.run(_fetched(server, query, days, now_s, name))


async def _fetched(server: str, query: str, days: float, now_s: float, name: str) -> Trace:
    end_s = now_s // SPACING_S * SPACING_S
    n = round(days * DAY_S / SPACING_S)
    values = np.full(n, np.nan)
    start_s = end_s - (n - 1) * SPACING_S
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for first in range(0, n, POINTS):
            last = min(first + POINTS, n) - 1
            span = (start_s + first * SPACING_S, start_s + last * SPACING_S)
            _fill(values, start_s, await _asked(session, server, query, span))
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        raise HistoryError(f"{query!r} matches nothing on {server} in the last {days:g} days")
    kept = values[known[0] :]
    # A sample of Prometheus closes its interval; a trace's stamp opens it.
    stamps: FloatArray = start_s + SPACING_S * (known[0] - 1 + np.arange(len(kept)))
    if (kept[~np.isnan(kept)] < 0).any():
        raise HistoryError(f"{query!r} on {server} has negative values: a load must not be negative")
    return evenly_spaced(name, stamps, kept, range(1, len(kept) + 1))


async def _asked(session: aiohttp.ClientSession, server: str, query: str, span: tuple[float, float]) -> list[Any]:
    parameters = {"query": query, "start": str(span[0]), "end": str(span[1]), "step": str(SPACING_S)}
    try:
        async with session.post(f"{server.rstrip('/')}/api/v1/query_range", data=parameters) as response:
            body = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise HistoryError(f"{server}: the query failed: {error or type(error).__name__}") from error
    if not isinstance(body, dict) or body.get("status") != "success":
        said = body.get("error", "no reason given") if isinstance(body, dict) else "not a Prometheus API"
        raise HistoryError(f"{server}: the query was refused: {said}")
    series = body["data"]["result"]
    if body["data"]["resultType"] != "matrix" or len(series) > 1:
        raise HistoryError(
            f"{query!r} yields {len(series)} series on {server}: one is needed, the total over replicas; "
            "wrap it in sum(…)"
        )
    return list(series)


def _fill(values: FloatArray, start_s: float, series: list[Any]) -> None:
    for one in series:
        for stamp_s, text in one["values"]:
            value = float(text)
            values[round((float(stamp_s) - start_s) / SPACING_S)] = value if math.isfinite(value) else math.nan
