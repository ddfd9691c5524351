"""Small worlds for tests: columns with one thing changed, histories with a known shape."""

import os
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import settings

from forecasting.drift import no_drift
from forecasting.forecast import LEVELS, FloatArray, IntArray
from forecasting.series import History, bucket_spacing, coarse_spacing, summed_up
from rl_agent.agent import Agent
from scaler.core.domain import UNKNOWN, Forecasts, Observations, Workload, Workloads, columns_of
from scaler.core.learned import MEMORY, MOVES, OBSERVATION

WEDNESDAY_S = 1_789_516_800.0
"""2026-09-16 00:00 UTC, a multiple of every step."""
DAY_S = 86_400.0


def few(n: int) -> settings:
    """A costly property: n examples, twenty times as many where evidence is gathered (see conftest.py)."""
    return settings(max_examples=20 * n if os.environ.get("FORESAIL_EVIDENCE") == "1" else n)


def some_fleet(n: int = 1, **columns: Any) -> Workloads:
    """n rows of threshold = capacity = 10, lead window 4 steps, 1 to 100 replicas, but for what is given."""
    if "tolerance" in columns:
        columns.setdefault("tolerance_down", columns["tolerance"])
    fleet = columns_of([Workload("shop", "web", "0", threshold=10.0, lead_s=45.0, max_replicas=100)] * n)
    fleet.minimum[:] = 1
    return changed(fleet, n, columns)


def some_observations(n: int = 1, **columns: Any) -> Observations:
    """n rows that see a fresh load of 100 on 10 replicas after a week of history, but for what is given."""
    seen = Observations(
        t_s=WEDNESDAY_S,
        step_s=15.0,
        load=np.full(n, 100.0),
        arrivals=np.full(n, np.nan),
        stale_s=np.zeros(n),
        history_s=np.full(n, 7 * DAY_S),
        replicas=np.full(n, 10),
        ready=np.full(n, 10),
        feedback=np.full((n, 4), np.nan),
        doubt=np.zeros(n, np.int64),
    )
    return changed(seen, n, columns)


def some_forecasts(n: int = 1, peak: Any = 100.0) -> Forecasts:
    """n rows that are sure of one peak, or whose quantiles are given as (n, Q)."""
    fitted_s = np.full(n, int(WEDNESDAY_S - 3600))
    quantiles = np.array(np.broadcast_to(peak, (n, len(LEVELS))), dtype=np.float64)
    return Forecasts(quantiles, quantiles.copy(), np.full(n, np.inf), fitted_s, np.full(n, True), no_drift(n))


def changed(columns: Any, n: int, changes: dict[str, Any]) -> Any:
    """The same columns with some of them replaced; one value stands for all rows."""
    kinds = {f.name: getattr(columns, f.name) for f in fields(columns)}
    values = {
        name: np.array(np.broadcast_to(value, kinds[name].shape), dtype=kinds[name].dtype)
        if isinstance(kinds[name], np.ndarray)
        else value
        for name, value in changes.items()
    }
    assert all(not isinstance(v, np.ndarray) or len(v) == n for v in values.values())
    return replace(columns, **values)


def history_of(load: Callable[[FloatArray], FloatArray], span_s: float, step_s: float = 15.0) -> History:
    """One workload whose sample stamped t is load(t), for `span_s` up to Wednesday midnight."""
    return history_rows([load], span_s, step_s)


def history_rows(
    loads: list[Callable[[FloatArray], FloatArray]], span_s: float, step_s: float = 15.0, end_s: float = WEDNESDAY_S
) -> History:
    """The same for several workloads."""
    bucket_s = bucket_spacing(step_s)
    k = round(bucket_s / step_s)
    k_coarse, days = round(coarse_spacing(step_s) / bucket_s), max(round(16 * DAY_S / bucket_s), 200)
    n_buckets, n_fine = max(round(8 * DAY_S / bucket_s), 200), max(round(3 * 3600 / step_s), 2 * 90 * k)
    days -= days % k_coarse
    stamps_s = end_s - step_s * np.arange(days * k)[::-1]
    samples = np.stack([np.where(stamps_s > end_s - span_s, load(stamps_s), np.nan) for load in loads])
    mean, maximum = summed_up(samples, samples, k)
    coarse_mean, coarse_maximum = summed_up(mean, maximum, k_coarse)
    return History(
        step_s=step_s,
        end_s=end_s,
        fine=np.ascontiguousarray(samples[:, -n_fine:]),
        bucket_end_s=end_s,
        mean=np.ascontiguousarray(mean[:, -n_buckets:]).astype(np.float32),
        maximum=np.ascontiguousarray(maximum[:, -n_buckets:]).astype(np.float32),
        coarse_end_s=end_s,
        coarse_mean=coarse_mean.astype(np.float32),
        coarse_maximum=coarse_maximum.astype(np.float32),
    )


def seasonal_load(seed: int = 0, growth: float = 0.0) -> Callable[[FloatArray], FloatArray]:
    """Day and week, 5 % noise per minute, and a growth per day; the same seed gives the same load."""

    def load(t_s: FloatArray) -> FloatArray:
        day = t_s / DAY_S
        shape = 1.0 + 0.5 * np.sin(2 * np.pi * day) + 0.15 * np.sin(2 * np.pi * day / 7 + 1)
        noise = np.random.default_rng(seed).standard_normal(len(t_s))
        grown = np.exp(growth * (t_s - WEDNESDAY_S) / DAY_S)
        return np.asarray(200.0 * shape * grown * np.exp(0.05 * noise))

    return load


def counts(*values: int) -> IntArray:
    """Replica counts as a column."""
    return np.array(values, dtype=np.int64)


def loads(*values: float) -> FloatArray:
    """Loads as a column."""
    return np.array(values, dtype=np.float64)


__all__ = [
    "DAY_S",
    "UNKNOWN",
    "WEDNESDAY_S",
    "changed",
    "counts",
    "few",
    "history_of",
    "history_rows",
    "loads",
    "seasonal_load",
    "some_fleet",
    "some_forecasts",
    "some_observations",
]


def always(move: int) -> Agent:
    """An agent that makes one move whatever it sees."""
    layers = [(len(OBSERVATION), MEMORY), (MEMORY, 3 * MEMORY), (MEMORY, 3 * MEMORY), (MEMORY, len(MOVES))]
    arrays = [np.zeros(shape) for layer in layers for shape in (layer, layer[1:])]
    return Agent(*arrays[:-1], 1.0 * (np.arange(len(MOVES)) == move))
