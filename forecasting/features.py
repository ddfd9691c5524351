"""Scale-free features of a workload's recent and seasonal load.

All load enters as a logarithm of a ratio to the level, the mean of the newest bucket, so that a model fitted at one
scale holds at another. `epsilon` (a hundredth of the workload's mean load) keeps ratios finite at zero load. A window
that is missing contributes 0 and raises its mask feature.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.calendar import DAY_S, local
from forecasting.forecast import FloatArray, IntArray
from forecasting.series import (
    RECENT,
    History,
    Rows,
    bucket_index,
    earlier_s,
    lead_buckets,
    recent_windows,
    windows_around,
)

MEAN_WINDOWS: IntArray = np.array([1, 2, 5, 10, 20, 40, RECENT])
"""Trailing windows, in buckets, whose means are features."""
PEAK_WINDOWS: IntArray = np.array([2, 5, 10, 40, RECENT])
"""Trailing windows, in buckets, whose maxima are features."""
SEASONS_S = (DAY_S, 2 * DAY_S, 7 * DAY_S)
"""How far back the same moment of an earlier period lies."""
LAGS_S = np.array(SEASONS_S)
SEASON_LEVEL = 5
"""Buckets whose mean is the level at the earlier moment: one bucket alone is too noisy a denominator."""
VOLATILITY = 20
"""Increments whose spread is a feature."""
HARMONICS = (1, 2, 3)
"""Waves of the time of day; the minute of the hour has the first two."""
WAVES: FloatArray = 2 * np.pi * np.array([*(wave / DAY_S for wave in HARMONICS), 1 / 3600.0, 2 / 3600.0])
"""Radians per second of all calendar features."""
FEATURES = 1 + len(MEAN_WINDOWS) + len(PEAK_WINDOWS) + 4 * len(SEASONS_S) + 2 + 2 * (len(HARMONICS) + 2)
"""F: intercept, trailing means and maxima, per season three ratios and a mask, scale, volatility, calendar."""
VOLATILITY_COLUMN = FEATURES - 2 * (len(HARMONICS) + 2) - 1
"""Where the volatility stands among the features."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What R origins look like."""

    level: FloatArray
    """Mean of the newest bucket that has a sample, in load units, (R,); NaN where the recent past is empty."""
    features: FloatArray
    """(R, F), finite."""
    season_mean: FloatArray
    """Mean over the lead window one of SEASONS_S ago, in load units, (R, S); NaN where missing."""
    season_peak: FloatArray
    """Largest sample of the same windows, (R, S)."""


def describe(history: History, rows: Rows, epsilon: FloatArray) -> Situation:
    """Compute the features of `rows`; `epsilon` is per row, (R,), positive."""
    recent = recent_windows(history, rows)
    backward = recent.mean[:, ::-1]
    level = newest(backward)
    season_level, season_mean, season_peak = _seasons(history, rows)
    means, peaks = _trailing(backward, recent.maximum[:, ::-1])
    offset = epsilon[:, None]
    base = np.where(np.isnan(level), 0.0, level)[:, None] + offset
    columns = [
        np.ones_like(base),
        _log_ratio(np.concatenate([means, peaks, season_level], axis=1) + offset, base),
        _log_ratio(
            np.concatenate([season_mean, season_peak], axis=1) + offset,
            np.concatenate([season_level, season_level], axis=1) + offset,
        ),
        np.isnan(season_level + season_mean),
        np.log(base / (100.0 * offset)),
        _volatility(backward, offset),
        _calendar(local(history.places, rows.workload, rows.season_s)[0]),
    ]
    return Situation(level, np.concatenate(columns, axis=1), season_mean, season_peak)


def newest(backward: FloatArray) -> FloatArray:
    """Newest value that is not missing of each row of a newest-first array, (R,)."""
    present = ~np.isnan(backward)
    first = present.argmax(axis=1)
    return np.asarray(backward[np.arange(len(backward)), first])


def _trailing(mean: FloatArray, largest: FloatArray) -> tuple[FloatArray, FloatArray]:
    present = ~np.isnan(mean)
    total = np.cumsum(np.where(present, mean, 0.0), axis=1)[:, MEAN_WINDOWS - 1]
    count = np.cumsum(present, axis=1)[:, MEAN_WINDOWS - 1]
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means, np.fmax.accumulate(largest, axis=1)[:, PEAK_WINDOWS - 1]


def _seasons(history: History, rows: Rows) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Level before, mean and peak over the lead window, one of SEASONS_S ago; (R, S) each."""
    moments = earlier_s(history, rows, np.rint(LAGS_S / DAY_S).astype(np.int64)).reshape(-1)
    first = bucket_index(history, moments) + 1
    n = np.repeat(lead_buckets(rows.h, history.step_s), len(SEASONS_S))
    workload = np.repeat(rows.workload, len(SEASONS_S))
    before, after = windows_around(history, workload, first, SEASON_LEVEL, n)
    shape = (len(rows.h), len(SEASONS_S))
    return before.reshape(shape), after.mean.reshape(shape), after.maximum.reshape(shape)


def _log_ratio(values: FloatArray, base: FloatArray) -> FloatArray:
    ratio = np.log(values / base)
    return np.where(np.isnan(ratio), 0.0, ratio)


def _volatility(backward: FloatArray, offset: FloatArray) -> FloatArray:
    logs = np.log(backward[:, : VOLATILITY + 1] + offset)
    steps = np.abs(logs[:, 1:] - logs[:, :-1])
    present = ~np.isnan(steps)
    total = np.cumsum(np.where(present, steps, 0.0), axis=1)[:, -1:]
    return np.asarray(total / np.maximum(present.sum(axis=1, keepdims=True), 1))


def _calendar(local_s: FloatArray) -> FloatArray:
    angles = local_s[:, None] % DAY_S * WAVES
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
