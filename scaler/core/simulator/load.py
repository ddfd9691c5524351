"""From a recorded history to the load of each step, and what monitoring makes of it."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from forecasting.forecast import FloatArray
from scaler.core.simulator.constants import METRIC_WINDOW_S, NOISE

HELD_S = 60.0
"""A sample up to this wide is held within its width; a wider one is interpolated between the middles."""


class Noise(Enum):
    """What happens between the recorded samples."""

    MULTIPLICATIVE = "multiplicative"
    """Independent relative noise at every step."""
    POISSON = "poisson"
    """The load is a count of events per recorded interval; they come independently of each other."""
    NONE = "none"
    """The recorded value itself."""


@dataclass(frozen=True, slots=True)
class Load:
    """One load for all clusters, one sample per step, (T,); or one per cluster, (T, B)."""

    t_s: FloatArray
    """Stamps, (T,): a sample is the mean over the step before its stamp."""
    value: FloatArray
    """What arrives, (T,); NaN inside a gap."""
    metric: FloatArray
    """What a metric query reports at each stamp: the mean over its window, delayed; NaN while it cannot be read."""
    sample: FloatArray
    """What a query over one step reports at each stamp, delayed, (T,)."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How load is seen."""

    window_s: float = METRIC_WINDOW_S.value
    """Window of the HPA's metric."""
    lag_s: float = 0.0
    """Age of the newest sample that a query sees."""
    lost: float = 0.0
    """Share of queries that fail."""


def arrivals(values: FloatArray, spacing_s: float, step_s: float, noise: Noise, rng: np.random.Generator) -> FloatArray:
    """Load of every step of `step_s`, (T,), from samples every `spacing_s`, a multiple of it; NaN stays NaN."""
    k = round(spacing_s / step_s)
    spread = np.repeat(values, k) if spacing_s <= HELD_S else _interpolated(values, k)
    if noise is Noise.MULTIPLICATIVE:
        return np.asarray(np.maximum(spread * (1.0 + NOISE.value * rng.standard_normal(len(spread))), 0.0))
    if noise is Noise.POISSON:
        mean = spread / k
        return np.where(np.isnan(mean), np.nan, k * rng.poisson(np.where(np.isnan(mean), 0.0, mean)))
    return spread


def _interpolated(values: FloatArray, k: int) -> FloatArray:
    middle = (np.arange(len(values) * k) + 0.5) / k - 0.5
    left = np.clip(np.floor(middle).astype(np.int64), 0, max(len(values) - 2, 0))
    right = np.minimum(left + 1, len(values) - 1)
    share = np.clip(middle - left, 0.0, 1.0)
    joined = values[left] * (1.0 - share) + values[right] * share
    own = np.repeat(values, k)
    # Beside a gap there is nothing to interpolate with: the sample is held; the gap itself stays one.
    return np.where(np.isnan(own), np.nan, np.where(np.isnan(joined), own, joined))


def seen_through(
    monitoring: Monitoring, value: FloatArray, t_s: FloatArray, step_s: float, rng: np.random.Generator
) -> Load:
    """What monitoring reports of `value`."""
    lag = round(monitoring.lag_s / step_s)
    failed = rng.random(len(value)) < monitoring.lost
    window = max(round(monitoring.window_s / step_s), 1)
    metric, sample = (
        np.where(failed, np.nan, delayed(series, lag)) for series in (trailing_mean(value, window), value)
    )
    return Load(t_s, value, metric, sample)


def delayed(series: FloatArray, n: int) -> FloatArray:
    """The series n steps later, (T,); NaN before its first sample."""
    return series if n == 0 else np.concatenate([np.full(n, np.nan), series])[: len(series)]


def trailing_mean(series: FloatArray, n: int) -> FloatArray:
    """Mean of the known samples among the last n, (T,); NaN where none is."""
    known = ~np.isnan(series)
    total, count = (np.cumsum(np.concatenate([[0.0], x])) for x in (np.where(known, series, 0.0), known))
    first = np.maximum(np.arange(len(series)) + 1 - n, 0)
    present = count[1:] - count[first]
    return np.where(present > 0, (total[1:] - total[first]) / np.maximum(present, 1.0), np.nan)


def peak_ahead(series: FloatArray, h: int) -> FloatArray:
    """Largest known sample among the next h, (T,); NaN where none is known."""
    ahead = np.concatenate([series[1:], [np.nan]])
    return _window_maximum(ahead, h)


def _window_maximum(series: FloatArray, n: int) -> FloatArray:
    """Maximum of series[t : t + n], (T,), by windows that double."""
    widest, reach = series, 1
    while reach < n:
        shift = min(reach, n - reach)
        widest = np.fmax(widest, np.concatenate([widest[shift:], np.full(min(shift, len(widest)), np.nan)]))
        reach += shift
    return widest


def same_time_before(series: FloatArray, steps: int, window: int) -> FloatArray:
    """Largest of the `window` samples that followed the moment `steps` earlier, (T,); NaN where that is unknown."""
    return delayed(_window_maximum(np.concatenate([series[1:], [np.nan]]), window), steps)
