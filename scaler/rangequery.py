"""A history for the backtest from a server that a person named: the newest days of one query, per minute."""

import asyncio

import numpy as np

from forecasting.forecast import FloatArray
from forecasting.series import DAY_S
from scaler.core.answer import total_of
from scaler.core.domain import Workload
from scaler.errors import HistoryError, SourceError, TriggerError
from scaler.prometheus import PrometheusSource
from scaler.servers import for_everyone
from scaler.trace import Trace, evenly_spaced

SPACING_S = 60.0
"""Step of the query: fine enough for minutes of start-up, and 14 days are 20,160 points."""
DEADLINE_S = 60.0
"""For each request: a range over recorded raw series may take its time."""


def fetch(server: str, query: str, days: float, now_s: float, name: str) -> Trace:
    """The last `days` of one series.

    Raises:
        HistoryError: the server cannot be asked, refuses, or the query yields no series or several.
    """
    end_s, n = now_s // SPACING_S * SPACING_S, round(days * DAY_S / SPACING_S)
    try:
        values = total_of(asyncio.run(_read(server, query, end_s, n)))
    except (SourceError, TriggerError) as error:
        raise HistoryError(str(error)) from error
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        raise HistoryError(f"{query!r} matches nothing on {server} in the last {days:g} days")
    kept = values[known[0] :]
    # A sample of Prometheus closes its interval; a trace's stamp opens it.
    stamps_s: FloatArray = end_s - SPACING_S * np.arange(len(kept), 0, -1, dtype=np.float64)
    return evenly_spaced(name, stamps_s, kept, range(1, len(kept) + 1))


async def _read(server: str, query: str, end_s: float, n: int) -> FloatArray:
    source = PrometheusSource([for_everyone(server, DEADLINE_S)])
    asking = Workload("", "", "0", threshold=1.0, server_address=server, query=query)
    try:
        return await source.series(asking, query, end_s, n, SPACING_S)
    finally:
        await source.close()
