"""Origins and targets of a fit: shared by all forecasters, so that they are compared on the same windows."""

import numpy as np

from forecasting.calendar import begins
from forecasting.errors import NegativeLoad
from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import RECENT, History, Rows, bucket_index, gather, lead_buckets, windows_around

DITHER: FloatArray = (np.array([0, 4, 1, 5, 2, 6, 3]) + 0.5) / 7
"""Evenly spread thresholds for windows that end inside a bucket; seven, so that every minute of the hour sees each."""


def training_rows(history: History, h: int, max_rows: int) -> Rows:
    """Origins whose lead window of `h` steps ends inside the history of its single workload, evenly thinned.

    The stride is odd, so that thinning never locks onto one minute of the hour.
    """
    m = history.mean.shape[1]
    ahead = int(lead_buckets(np.array([h]), history.step_s)[0])
    known = np.flatnonzero(~np.isnan(history.mean[0]))
    first = max(int(known[0]) if len(known) else m, 0) + RECENT // 10
    stride = max((m - ahead - first) // max_rows, 1) | 1
    index = np.arange(m - 1 - ahead, first - 1, -stride)[::-1]
    return rows_at(history, index, h)


def rows_at(history: History, index: IntArray, h: int) -> Rows:
    """Rows of the single workload with origins at bucket columns `index`, (R,)."""
    origin_s = history.bucket_end_s - (history.mean.shape[1] - 1 - index) * history.bucket_s
    n = len(index)
    return Rows(np.zeros(n, np.int64), origin_s, np.full(n, h, np.int64), origin_s)


def window_targets(history: History, rows: Rows, *, averaged: bool) -> tuple[FloatArray, FloatArray]:
    """What came after each origin: peak (or mean) of the lead window, and its last bucket's mean; (R,), NaN unknown."""
    return _targets(history, rows, lead_buckets(rows.h, history.step_s), averaged=averaged)


def dithered_targets(history: History, rows: Rows, *, averaged: bool) -> tuple[FloatArray, FloatArray]:
    """The same where a lead window ends inside a bucket: it counts for as many of the rows as its share is long.

    Rounding 315 s of 15 s samples up to six minutes would look at 24 samples instead of 21 and forecast too much.
    """
    number = np.rint(rows.origin_s / history.bucket_s).astype(np.int64)
    exact = rows.h * history.step_s / history.bucket_s
    n = np.maximum(np.floor(exact + DITHER[number % len(DITHER)] + 1e-9), 1).astype(np.int64)
    return _targets(history, rows, n, averaged=averaged)


def _targets(history: History, rows: Rows, n: IntArray, *, averaged: bool) -> tuple[FloatArray, FloatArray]:
    """The same for windows of n buckets, (R,)."""
    first = bucket_index(history, rows.origin_s) + 1
    _, after = windows_around(history, rows.workload, first, 0, n)
    ended = first + n <= history.mean.shape[1]
    last = gather(history.mean, rows.workload, first + n - 1)
    return np.where(ended & ~_eventful(history, rows), after.mean if averaged else after.maximum, np.nan), last


def _eventful(history: History, rows: Rows) -> BoolArray:
    """Whether a known event begins in the window, (R,): then it is no example of what comes without one."""
    return begins(history.places, rows.workload, rows.origin_s, rows.origin_s + rows.h * history.step_s)


def mean_load(history: History) -> float:
    """Mean of all known buckets of the single workload, 0 where none is.

    Raises:
        NegativeLoad: a bucket is below zero.
    """
    known = history.mean[0][~np.isnan(history.mean[0])]
    if known.min(initial=0.0) < 0:
        raise NegativeLoad(f"load must not be negative, not {known.min():g}")
    return float(known.mean(dtype=np.float64)) if len(known) else 0.0
