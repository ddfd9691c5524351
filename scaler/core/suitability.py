"""Can a query be scaled on? It should give one series, a total, that the replica count does not drive.

Facts from samples, for a person who sets a workload up; nothing here decides while serving.
"""

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np

from forecasting.forecast import BoolArray, FloatArray
from scaler.core.domain import Workload
from scaler.core.signals import Signal

WINDOW_S = 120.0
"""Span before and after a scale event whose mean loads are compared."""
GAP_S = 60.0
"""Span left out on both sides: the range of a rate mixes before and after, and noise just before may be the cause."""
FEWEST_EVENTS = 8
"""Scale events below which nothing is said of what drives the query."""
DRIVEN = 0.4
"""Elasticity from which the replica count drives it: −1 is a value per replica, +1 a value that each replica adds."""
SURE = 4.0
"""Standard errors that the elasticity lies away from 0."""
PER_REPLICA = re.compile(r"^\s*(avg|min|max|quantile|stddev|topk|bottomk|histogram_quantile)\b", re.IGNORECASE)
"""Outermost functions that give something else than a total."""


class Problem(Enum):
    """What is wrong with a query; the value says what to do."""

    NONE = "it gives no series: check its labels, and that the tenant is right"
    SEVERAL = "it gives several series: wrap it in sum(…)"
    SEVERAL_FEEDBACK = "it gives several series: make one of them, as avg(…) over the replicas"
    SPARSE = "more than a tenth of its samples are missing: each gap is held, not taken for zero"
    COUNTER = "it only ever grows, as a counter does: wrap it in rate(…) before the sum"
    NO_TOTAL = "it is no total over the replicas but an average, an extreme or a quantile: use sum(…)"
    SHARE = "it never exceeds 1, as a share does: a total has the unit of the threshold times replicas"
    FALLS_WITH_REPLICAS = "it falls when replicas are added, as a value per replica does: use the total"
    NO_SHARE = "it exceeds 2 half of the time: utilisation is a share, 1 where replicas can do no more, not percent"
    NO_SECONDS = "it is above a minute half of the time: latency is in seconds"
    GROWS_WITH_REPLICAS = "it grows when replicas are added: scaling on it would feed itself"


@dataclass(frozen=True, slots=True)
class Elasticity:
    """How a load moves at scale events: d log load / d log replicas."""

    value: float
    error: float
    """Standard error."""
    n_events: int


def problems(workload: Workload, query: str, series: FloatArray, replicas: FloatArray, step_s: float) -> list[Problem]:
    """What is wrong with `query`, worst first.

    `series` (series, n) are its samples every `step_s`, `replicas` (n,) the replicas at the same stamps, NaN where
    unknown.
    """
    speaking = (~np.isnan(series)).sum(axis=0)
    if not speaking.any():
        return [Problem.NONE]
    if 2 * np.count_nonzero(speaking > 1) > np.count_nonzero(speaking):
        return [Problem.SEVERAL]
    load = np.where(speaking == 1, np.nansum(series, axis=0), np.nan)
    known = load[~np.isnan(load)]
    found = {
        Problem.SPARSE: len(known) < 0.9 * len(load),
        Problem.COUNTER: _is_counter(known),
        Problem.NO_TOTAL: PER_REPLICA.match(query) is not None,
        Problem.SHARE: known.max(initial=0.0) <= 1.0 < workload.threshold,
    }
    return [problem for problem, holds in found.items() if holds] + _driven(elasticity(load, replicas, step_s))


def feedback_problems(signal: Signal, series: FloatArray) -> list[Problem]:
    """What is wrong with the query of CPU, memory, latency or queue depth, by its samples (series, n)."""
    speaking = (~np.isnan(series)).sum(axis=0)
    if not speaking.any():
        return [Problem.NONE]
    if 2 * np.count_nonzero(speaking > 1) > np.count_nonzero(speaking):
        return [Problem.SEVERAL_FEEDBACK]
    known = np.nanmedian(np.where(speaking == 1, np.nansum(series, axis=0), np.nan))
    if signal in {Signal.CPU, Signal.MEMORY} and known > 2.0:
        return [Problem.NO_SHARE]
    return [Problem.NO_SECONDS] if signal is Signal.LATENCY and known > 60.0 else []


def _is_counter(known: FloatArray) -> bool:
    rises = np.diff(known)
    return len(known) >= 30 and bool((rises >= 0).mean() > 0.98 and (rises > 0).mean() > 0.5)


def _driven(found: Elasticity) -> list[Problem]:
    if found.n_events < FEWEST_EVENTS or abs(found.value) < max(DRIVEN, SURE * found.error):
        return []
    return [Problem.FALLS_WITH_REPLICAS if found.value < 0 else Problem.GROWS_WITH_REPLICAS]


def elasticity(load: FloatArray, replicas: FloatArray, step_s: float) -> Elasticity:
    """How `load` (n,) steps when `replicas` (n,) do; the trend before each event is taken off.

    A total rises before replicas are added and goes on as it was; a value per replica falls at that moment.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        log_load, log_replicas = np.log(load), np.log(replicas)
    log_load, log_replicas = (np.where(np.isfinite(values), values, np.nan) for values in (log_load, log_replicas))
    w, gap = max(round(WINDOW_S / step_s), 1), max(round(GAP_S / step_s), 1)
    y, n = [], []
    for event in _events(replicas, 2 * w + 3 * gap):
        if event < 3 * gap + 2 * w or event + gap + w > len(load):
            continue
        after, before = slice(event + gap, event + gap + w), slice(event - gap - w, event - gap)
        earlier = slice(event - 3 * gap - 2 * w, event - 3 * gap - w)
        step = log_load[after].mean() - 2 * log_load[before].mean() + log_load[earlier].mean()
        moved = log_replicas[after].mean() - 2 * log_replicas[before].mean() + log_replicas[earlier].mean()
        if np.isfinite(step) and np.isfinite(moved) and abs(moved) > 0.05:
            y.append(step)
            n.append(moved)
    return _slope(np.array(n), np.array(y))


def _events(replicas: FloatArray, apart: int) -> list[int]:
    """Columns where the replica count has just changed, at least `apart` from the one before."""
    moved: BoolArray = np.diff(replicas) != 0
    moved &= ~np.isnan(np.diff(replicas))
    events: list[int] = []
    for event in np.flatnonzero(moved) + 1:
        if not events or event - events[-1] >= apart:
            events.append(int(event))
    return events


def _slope(x: FloatArray, y: FloatArray) -> Elasticity:
    """Least squares through the origin."""
    if len(x) < 2:
        return Elasticity(0.0, np.inf, len(x))
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    return Elasticity(slope, float(np.sqrt(residual @ residual / (len(x) - 1) / (x @ x))), len(x))
