"""Loads that nobody recorded, with forecasts that are as good as they claim to be.

A daily wave, wandering noise, events that are known beforehand and bursts that are not. The forecast of a peak is the
true one of all that can be foreseen, times an error whose distribution is the one that the quantiles state; a burst is
seen once it is there.
"""

import numpy as np

from forecasting.forecast import NORMAL_SCORES, FloatArray
from forecasting.series import DAY_S
from scaler.core.domain import HPA_SYNC_S
from scaler.core.simulator.constants import NOISE, SYNC_S
from scaler.core.simulator.draws import Foretold, Span
from scaler.core.simulator.load import peak_ahead

LEADS_S = (30.0, 60.0, 120.0, 300.0, 600.0)
MEAN = 100.0
"""Mean load: only ratios matter."""
ERROR: Span = (0.03, 0.3)
"""Deviation of the logarithm of the forecast's error, log-uniform."""
DEPTH: Span = (0.0, 0.8)
"""Of the daily wave."""
WANDER: Span = (0.02, 0.25)
"""Deviation of the noise that wanders, with memories from five minutes to three hours."""
EVENTS_PER_DAY, BURSTS_PER_DAY = 2.0, 1.5
"""How many are foreseen and how many are not, at most, on average."""
LASTS_S: Span = (120.0, 5400.0)
GROWS: Span = (1.2, 3.0)
"""To so many times the load, within a tenth of the time that it lasts."""


def imagined(name: str, days: float, rng: np.random.Generator, *, queue: bool) -> Foretold:
    """One load of so many days, its nature and its lead time drawn."""
    n = round(days * DAY_S / SYNC_S.value)
    lead_s = float(rng.choice(LEADS_S))
    foreseen = _wave(n, rng) * np.exp(_wandering(n, rng)) * _events(n, EVENTS_PER_DAY, rng)
    burst = _events(n, BURSTS_PER_DAY, rng)
    foreseen *= MEAN / float((foreseen * burst).mean())
    value = np.maximum(foreseen * burst * (1.0 + NOISE.value * rng.standard_normal(n)), 0.0)
    h = int(np.ceil((lead_s + HPA_SYNC_S) / SYNC_S.value))
    peak = _forecast(foreseen, value, burst, h, rng, averaged=queue)
    ceiling = np.full(n, 3.0 * value.max())
    return Foretold(name, lead_s, queue, *(array.astype(np.float32) for array in (value, peak, ceiling)))


def _forecast(
    foreseen: FloatArray, value: FloatArray, burst: FloatArray, h: int, rng: np.random.Generator, *, averaged: bool
) -> FloatArray:
    """Quantiles of what the lead window brings, (T, Q)."""
    if averaged:
        total = np.concatenate([[0.0], np.cumsum(foreseen)])
        last = np.minimum(np.arange(1, len(foreseen) + 1) + h, len(foreseen))
        ahead = (total[last] - total[np.arange(1, len(foreseen) + 1) - 1]) / (last - np.arange(len(foreseen)))
    else:
        # The noise of single samples makes their peak larger than the load's own, as much as it does on average.
        noisy = np.where(burst > 1.0, foreseen, value)
        ahead = np.nan_to_num(peak_ahead(noisy, h), nan=float(foreseen[-1]))
    ahead = np.where(burst > 1.0, np.maximum(ahead, value), ahead)
    sigma = _log_uniform(ERROR, rng)
    error = sigma * _memory(len(foreseen), max(h, 4), rng)
    return np.asarray(ahead[:, None] * np.exp(sigma * NORMAL_SCORES - error[:, None]))


def _wave(n: int, rng: np.random.Generator) -> FloatArray:
    at = 2.0 * np.pi * SYNC_S.value * np.arange(n) / DAY_S + rng.uniform(0.0, 2.0 * np.pi)
    depth = rng.uniform(*DEPTH)
    return np.asarray(1.0 + depth * (0.8 * np.sin(at) + 0.2 * np.sin(2.0 * at + rng.uniform(0.0, 6.0))))


def _wandering(n: int, rng: np.random.Generator) -> FloatArray:
    return _log_uniform(WANDER, rng) * _memory(n, int(rng.integers(20, 720)), rng)


def _memory(n: int, steps: int, rng: np.random.Generator) -> FloatArray:
    """Noise of deviation 1 that is forgotten within so many steps: a moving mean of white noise, twice."""
    width = max(steps // 2, 2)
    white = rng.standard_normal(n + 2 * width)
    for _ in range(2):
        total = np.cumsum(np.concatenate([[0.0], white]))
        white = total[width:] - total[:-width]
    return np.asarray(white[:n] / max(float(white[:n].std()), 1e-12))


def _events(n: int, per_day: float, rng: np.random.Generator) -> FloatArray:
    """Factors on the load, (n,): 1, and more within events."""
    factor = np.ones(n)
    for _ in range(rng.poisson(rng.uniform(0.0, per_day) * n * SYNC_S.value / DAY_S)):
        lasts = max(round(_log_uniform(LASTS_S, rng) / SYNC_S.value), 4)
        start, rise = int(rng.integers(n)), max(lasts // 10, 1)
        shape = np.minimum(np.arange(1, lasts + 1) / rise, 1.0)
        rows = slice(start, min(start + lasts, n))
        grown = 1.0 + (_log_uniform(GROWS, rng) - 1.0) * shape[: rows.stop - start]
        factor[rows] = np.maximum(factor[rows], grown)
    return factor


def _log_uniform(span: Span, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]))))
