"""What a booster looks at: logarithms of ratios to the load now, over the last hour and a half and the last week.

The load now is the mean of the newest five minutes. A quarter of a usual replica's load (`epsilon`) keeps ratios finite
and says that ratios of loads below it mean nothing. What is not known is MISSING, which every split puts on its left.

The same window on each of the last seven days, by local time, comes from coarse blocks; a day's own rise, its peak over
its own level at the same moment, is compared beside the peak itself, so that growth and a changed level do not hide the
shape.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S, local
from forecasting.forecast import FloatArray, IntArray
from forecasting.series import RECENT, History, Rows, Windows, earlier_s, gather, median_of, recent_windows

MISSING = np.float32(-1e30)
LEVEL_S = 300.0
"""Span whose mean is the load now: one minute is too noisy a base, ten lag behind."""
MEANS: IntArray = np.array([1, 2, 10, 20, 40, 90])
"""Trailing windows, in buckets, whose means are features."""
MAXIMA: IntArray = np.array([1, 5, 20, 90])
"""Trailing windows, in buckets, whose largest samples are features."""
SPREADS: IntArray = np.array([20, 90])
"""Trailing windows, in buckets, whose mean absolute increment is a feature."""
DAYS = 7
NAMED: IntArray = np.array([0, 1, 6])
"""Days looked at one by one: yesterday, the day before and a week ago."""
BEFORE, AROUND = 4, 2
"""Coarse blocks before the same moment that give its longer level, and around its window that give its envelope."""
RATIOS = len(MEANS) + len(MAXIMA) + 1 + len(SPREADS) + 6 * len(NAMED) + 6 + 4
"""F: trailing means and maxima, minimum, spreads, six per named day, six over all days, calendar and lead."""
MINUTES, BLOCK = 30, 5
"""Newest buckets whose means are looked at one by one, and buckets per block beyond them."""
BLOCKS = RECENT // BLOCK
ALONG = BEFORE + AROUND + 3
"""Coarse blocks of each named day that are looked at one by one, from BEFORE before the moment on."""
CURVES = MINUTES + (BLOCKS - MINUTES // BLOCK) + BLOCKS + ALONG * len(NAMED)
"""C: minutes, means of the blocks before them, maxima of all blocks, and the blocks of each named day."""
Features = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """What R origins look like."""

    level: FloatArray
    """Load now, (R,); NaN where the recent past is empty."""
    highest: FloatArray
    """Largest recent sample, (R,); NaN where the recent past is empty."""
    features: Features
    """(R, F), MISSING where unknown."""
    curves: Features
    """The recent past and the named days' same time bucket by bucket, (R, C), MISSING where unknown."""


@dataclass(frozen=True, slots=True)
class _Around:
    """The coarse blocks around the same lead window on each of the last DAYS days, (R, DAYS, …)."""

    begin_s: FloatArray
    end_s: FloatArray
    stop_s: FloatArray
    """End of each block."""
    mean: FloatArray
    maximum: FloatArray
    """NaN where not known at the origin."""


def view(history: History, rows: Rows, epsilon: FloatArray) -> View:
    """Compute what R origins look like; `epsilon` is per row, (R,), positive."""
    recent, offset, around = _backward(history, rows), epsilon[:, None], _around(history, rows)
    level = _load_now(recent.mean, max(round(LEVEL_S / history.bucket_s), 1))
    base = np.log(np.where(np.isnan(level), 1.0, level)[:, None] + offset)
    windows = _same_windows(around, offset, history.coarse_s)
    trailing, highest = _trailing(recent.mean, recent.maximum, offset, base)
    named, pooled = _days(windows, trailing[0][:, 3:4], base)
    along = np.log(around.mean[:, NAMED, :ALONG] + offset[:, :, None]) - windows[0][:, NAMED, None]
    curves = [_lately(recent, offset, base), along.reshape(len(base), ALONG * len(NAMED))]
    return View(level, highest, _told([*trailing, named, pooled, _place(history, rows)]), _told(curves))


def _backward(history: History, rows: Rows) -> Windows:
    """The recent buckets, newest first."""
    recent = recent_windows(history, rows)
    return Windows(recent.mean[:, ::-1], recent.maximum[:, ::-1])


def _told(columns: list[FloatArray]) -> Features:
    together = np.concatenate(columns, axis=1)
    return np.where(np.isnan(together), MISSING, together).astype(np.float32)


def _lately(recent: Windows, offset: FloatArray, base: FloatArray) -> FloatArray:
    """Logarithms over the load now: newest minutes, means of the blocks before them, maxima of all blocks."""
    mean, largest = recent.mean, recent.maximum
    parts = mean.reshape(len(mean), BLOCKS, BLOCK)[:, MINUTES // BLOCK :]
    present = ~np.isnan(parts)
    count, total = present.sum(axis=2), np.cumsum(np.where(present, parts, 0.0), axis=2)[:, :, -1]
    blocks = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    peaks = np.fmax.reduce(largest.reshape(len(mean), BLOCKS, BLOCK), axis=2)
    return np.log(np.concatenate([mean[:, :MINUTES], blocks, peaks], axis=1) + offset) - base


def _load_now(backward: FloatArray, n: int) -> FloatArray:
    """Mean of the newest n buckets, else the newest bucket that has a sample, (R,)."""
    present = ~np.isnan(backward)
    total = np.cumsum(np.where(present, backward, 0.0)[:, :n], axis=1)[:, -1]
    count = present[:, :n].sum(axis=1)
    newest = backward[np.arange(len(backward)), present.argmax(axis=1)]
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), newest))


def _trailing(
    mean: FloatArray, largest: FloatArray, offset: FloatArray, base: FloatArray
) -> tuple[list[FloatArray], FloatArray]:
    """Trailing means, maxima, the smallest of 20 minutes and spreads, and the largest sample itself."""
    present = ~np.isnan(mean)
    total, count = (np.cumsum(part, axis=1)[:, MEANS - 1] for part in (np.where(present, mean, 0.0), present))
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    maxima = np.fmax.accumulate(largest, axis=1)[:, MAXIMA - 1]
    smallest = np.fmin.accumulate(mean[:, :20], axis=1)[:, -1:]
    logs = np.log(mean + offset)
    steps = np.abs(logs[:, 1:] - logs[:, :-1])
    known = ~np.isnan(steps)
    moved, n = (np.cumsum(part, axis=1)[:, SPREADS - 2] for part in (np.where(known, steps, 0.0), known))
    ratios = np.log(np.concatenate([means, maxima, smallest], axis=1) + offset) - base
    return [ratios, np.where(n > 0, moved / np.maximum(n, 1), np.nan)], maxima[:, -1]


def _days(windows: tuple[FloatArray, ...], recent20: FloatArray, base: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Six ratios for each named day, (R, 6·N), and six over all days, (R, 6)."""
    before, before20, mean, peak, envelope = windows
    over, own = peak - base, peak - before
    named = np.stack([over, mean - base, mean - before, own, before20 - base - recent20, envelope - base], axis=2)
    pooled = [_mean(own), _largest(own), median_of(own), median_of(over), _largest(over), -_largest(-over)]
    return named[:, NAMED].reshape(len(base), 6 * len(NAMED)), np.stack(pooled, axis=1)


def _around(history: History, rows: Rows) -> _Around:
    block_s = history.coarse_s
    begin_s = earlier_s(history, rows, np.arange(1, DAYS + 1))
    end_s = begin_s + (rows.h * history.step_s)[:, None]
    width = int(np.ceil(rows.h.max(initial=1) * history.step_s / block_s)) + BEFORE + AROUND + 2
    n_blocks = history.coarse_mean.shape[1]
    first = np.floor((begin_s - history.coarse_end_s) / block_s).astype(np.int64) + n_blocks - BEFORE
    index = first[:, :, None] + np.arange(width)
    stop_s = history.coarse_end_s - (n_blocks - 1 - index) * block_s
    workload = rows.workload[:, None, None]
    known = stop_s <= rows.origin_s[:, None, None]
    mean = np.where(known, gather(history.coarse_mean, workload, index), np.nan)
    largest = np.where(known, gather(history.coarse_maximum, workload, index), np.nan)
    return _Around(begin_s[:, :, None], end_s[:, :, None], stop_s, mean, largest)


def _same_windows(around: _Around, offset: FloatArray, block_s: float) -> tuple[FloatArray, ...]:
    """Logarithms around the same lead window on each of the last DAYS days, (R, DAYS) each.

    The level just before, the level BEFORE blocks long, mean and largest sample of the window, largest mean around it.
    """
    begin_s, end_s, stop_s, mean = around.begin_s, around.end_s, around.stop_s, around.mean

    def weighed(low_s: FloatArray, high_s: FloatArray) -> FloatArray:
        share = np.maximum(np.minimum(stop_s, high_s) - np.maximum(stop_s - block_s, low_s), 0.0)
        share = np.where(np.isnan(mean), 0.0, share)
        total = np.cumsum(share * np.where(share > 0, mean, 0.0), axis=2)[:, :, -1]
        weight = np.cumsum(share, axis=2)[:, :, -1]
        return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)

    inside = (stop_s > begin_s) & (stop_s - block_s < end_s)
    near = (stop_s > begin_s - AROUND * block_s) & (stop_s - block_s < end_s + AROUND * block_s)
    found = (
        weighed(begin_s - block_s, begin_s),
        weighed(begin_s - BEFORE * block_s, begin_s),
        weighed(begin_s, end_s),
        _last(np.fmax.accumulate(np.where(inside, around.maximum, np.nan), axis=2)),
        _last(np.fmax.accumulate(np.where(near, mean, np.nan), axis=2)),
    )
    return tuple(np.log(values + offset) for values in found)


def _last(values: FloatArray) -> FloatArray:
    return values[:, :, -1]


def _mean(values: FloatArray) -> FloatArray:
    present = ~np.isnan(values)
    total = np.cumsum(np.where(present, values, 0.0), axis=1)[:, -1]
    return np.where(present.any(axis=1), total / np.maximum(present.sum(axis=1), 1), np.nan)


def _largest(values: FloatArray) -> FloatArray:
    return np.fmax.accumulate(values, axis=1)[:, -1]


def _place(history: History, rows: Rows) -> FloatArray:
    """Local hour of the day, minute of the hour, day of the week and logarithm of the lead in seconds, (R, 4)."""
    local_s, weekday = local(history.places, rows.workload, rows.season_s)
    parts = [
        local_s % DAY_S / 3600.0,
        local_s % 3600.0 / 60.0,
        weekday,
        np.log(rows.h * history.step_s),
    ]
    return np.stack(parts, axis=1)
