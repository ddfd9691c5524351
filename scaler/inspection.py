"""Look at a workload's queries as `foresail check` does: read a day of each and say what is wrong with it."""

import numpy as np

from scaler.core.answer import total_of
from scaler.core.domain import Workload
from scaler.core.signals import FEEDBACK
from scaler.core.suitability import Problem, feedback_problems, problems
from scaler.prometheus import WIDEST_POINT_S, PrometheusSource

SPAN_S = 86_400.0
"""Span that is looked at: a day has its scale events."""


async def inspect(
    source: PrometheusSource, workload: Workload, now_s: float, replicas_query: str | None = None
) -> dict[str, list[Problem]]:
    """Problems of each declared query, by the query.

    `replicas_query` gives the replica count of the scale target; without it nothing is said of what drives a query.

    Raises:
        SourceError: a query cannot be read at all; says why.
    """
    step_s = min(workload.step_s, WIDEST_POINT_S)
    n, end_s = round(SPAN_S / step_s), now_s // step_s * step_s
    replicas = np.full(n, np.nan)
    if replicas_query is not None:
        replicas = total_of(await source.series(workload, replicas_query, end_s, n, step_s))
    found = {
        query: problems(workload, query, await source.series(workload, query, end_s, n, step_s), replicas, step_s)
        for query in (workload.query, workload.arrival_query)
        if query is not None
    }
    for signal in FEEDBACK:
        query = workload.query_of(signal)
        if query is not None:
            series = await source.series(workload, query, end_s, n, step_s)
            found[query] = feedback_problems(signal, series)
    return found
