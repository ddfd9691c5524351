"""Honest coverage, online: each level is shifted by what the forecasts of the last two days lacked at that level.

    forecasts as they were made, every four minutes → joined with the peak once its whole window is known
    → residual of each level in logarithms → its quantile at that level is the shift in force for the next hour

Rolling split conformal prediction on a quantile forecast (Romano, Patterson, Candès 2019; Gibbs and Candès 2021 for
drift): a shift learnt on the newest residuals follows a model that drifts. Nothing but stored forecasts and the load
history goes in, so what is learnt can be learnt again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles
from forecasting.series import DAY_S, History, Rows, lead_buckets
from forecasting.training import dithered_targets

SPAN_S = 2 * DAY_S
"""How long a residual counts: long enough for the 0.995 level, short enough to forget a model that was replaced."""
STRIDE_S = 240.0
"""Between two forecasts that are kept: lead windows overlap anyway, so more of them say nothing more."""
LEAST = 0.25
"""Share of the span that must be known before anything is shifted: twelve hours."""
OFTEN_ZERO = 0.2
"""Share of windows without load beyond which bounds are only raised: falling to zero with the load is not coverage."""


@dataclass(frozen=True, slots=True)
class Record:
    """Forecasts of B workloads as they were made, N slots each; the slot of stride number n is n % N."""

    number: NDArray[np.int32]
    """Stride that a slot holds, counted from the epoch, (B, N); −1 where empty."""
    level: NDArray[np.float32]
    """Load at that time, (B, N)."""
    peak: NDArray[np.float32]
    """Quantiles of the peak as forecast then, before any shift, (B, N, Q)."""


@dataclass(frozen=True, slots=True)
class Track:
    """What one workload's kept forecasts said and what came, oldest first, S of them, in load units."""

    age_s: FloatArray
    """Time since each was made, (S,)."""
    level: FloatArray
    """Load at that time, (S,)."""
    peak: FloatArray
    """(S, Q)"""
    actual: FloatArray
    """Largest (or mean) load of the window, (S,)."""


def stride_s(bucket_s: float) -> float:
    """Spacing of kept forecasts, a multiple of the bucket spacing."""
    return bucket_s * max(round(STRIDE_S / bucket_s), 1)


def slots(bucket_s: float) -> int:
    """N: slots that cover the span."""
    return round(SPAN_S / stride_s(bucket_s))


def empty(n: int, bucket_s: float) -> Record:
    """Nothing kept of n workloads."""
    width, q = slots(bucket_s), len(LEVELS)
    nothing = np.full((n, width, q), np.nan, np.float32)
    return Record(np.full((n, width), -1, np.int32), np.full((n, width), np.nan, np.float32), nothing)


@dataclass(frozen=True, slots=True)
class Kept:
    """Forecasts that are kept, oldest first."""

    made_s: FloatArray
    """(S,), on strides."""
    level: NDArray[np.float32]
    """Load at that time, (S,)."""
    peak: NDArray[np.float32]
    """Quantiles of the peak, (S, Q)."""

    def then(self, later: "Kept") -> "Kept":
        """Both, one after the other."""
        return Kept(*(np.concatenate([getattr(self, name), getattr(later, name)]) for name in Kept.__slots__))


def kept_at(moment_s: FloatArray, peak: FloatArray, level: FloatArray, bucket_s: float) -> Kept:
    """Those of one workload's forecasts, made at `moment_s` (T,), that fall on a stride and say something."""
    spacing_s = stride_s(bucket_s)
    chosen = (np.abs(moment_s - np.rint(moment_s / spacing_s) * spacing_s) < 1e-6) & ~np.isnan(peak[:, 0] + level)
    return Kept(moment_s[chosen], level[chosen].astype(np.float32), peak[chosen].astype(np.float32))


def keep(record: Record, said: Quantiles, stale: BoolArray, now_s: float, bucket_s: float) -> None:
    """Write the forecasts of B workloads made at `now_s`, on a stride, into their record; `stale` ones are not kept."""
    number = int(now_s // stride_s(bucket_s))
    slot = number % record.number.shape[1]
    known = ~stale & ~np.isnan(said.peak[:, 0] + said.level)
    record.number[:, slot] = np.where(known, number, -1)
    record.level[:, slot] = said.level
    record.peak[:, slot] = said.peak


def filled(kept: Kept, bucket_s: float) -> Record:
    """The newest of them as a record of one workload."""
    record = empty(1, bucket_s)
    width = slots(bucket_s)
    number = np.rint(kept.made_s / stride_s(bucket_s)).astype(np.int64)[-width:]
    record.number[0, number % width] = number
    record.level[0, number % width] = kept.level[-width:]
    record.peak[0, number % width] = kept.peak[-width:]
    return record


def kept_in(record: Record, now_s: float, bucket_s: float) -> Kept:
    """What the record of one workload holds at `now_s`."""
    spacing_s = stride_s(bucket_s)
    newest = int(now_s // spacing_s)
    numbers = np.arange(newest - len(record.number[0]) + 1, newest + 1)
    slot = numbers % len(record.number[0])
    there = record.number[0, slot] == numbers
    return Kept(numbers[there] * spacing_s, record.level[0, slot[there]], record.peak[0, slot[there]])


@dataclass(frozen=True, slots=True)
class Joined:
    """Kept forecasts beside what came, whenever that became known; S of them, oldest first."""

    made_s: FloatArray
    known_s: FloatArray
    """When the window was over; inf where it was never known."""
    level: FloatArray
    peak: FloatArray
    actual: FloatArray

    def until(self, now_s: float) -> Track:
        """Those made within the span before `now_s` whose windows were known by then."""
        used = (self.known_s <= now_s) & (self.made_s > now_s - SPAN_S)
        return Track(now_s - self.made_s[used], self.level[used], self.peak[used], self.actual[used])


def joined(history: History, kept: Kept, h: int, *, averaged: bool) -> Joined:
    """Set what the history of one workload knows beside each forecast that was kept of it."""
    n = len(kept.made_s)
    rows = Rows(np.zeros(n, np.int64), kept.made_s, np.full(n, h), kept.made_s)
    actual, _ = dithered_targets(history, rows, averaged=averaged)
    level, peak = kept.level.astype(np.float64), kept.peak.astype(np.float64)
    window_s = float(lead_buckets(np.array([h]), history.step_s)[0]) * history.bucket_s
    known_s = np.where(np.isnan(actual + level + peak[:, 0]), np.inf, kept.made_s + window_s)
    return Joined(kept.made_s, known_s, level, peak, actual)


def enough(track: Track, bucket_s: float) -> bool:
    """Whether as much is known as it takes to shift anything."""
    return len(track.actual) >= LEAST * slots(bucket_s)


def shift(track: Track, said: FloatArray, epsilon: float) -> FloatArray:
    """What to add to the logarithm of each level, (Q,), so that it held as often as it says.

    `said` is (S, Q) or (S, 1). The conservative quantile of n residuals, ceil(q·(n + 1)) in order.
    """
    residual = np.log(track.actual + epsilon)[:, None] - np.log(said + epsilon)
    rising = np.sort(np.broadcast_to(residual, (len(residual), len(LEVELS))), axis=0)
    place: IntArray = np.minimum(np.ceil(LEVELS * (len(rising) + 1)), len(rising)).astype(np.int64) - 1
    found = rising[place, np.arange(len(LEVELS))]
    often_zero = np.count_nonzero(track.actual <= 0) > OFTEN_ZERO * len(rising)
    return np.maximum(found, 0.0) if often_zero else found
