"""What a fit does not look at: the time before a workload's first load, and lonely spikes.

    zeros for a day or more before the first load → missing: the workload did not live yet
    minutes far above the median of the hour around them, in median absolute deviations → spikes
    spikes that last five minutes at most and came at most twice → missing

A peak that comes again is no spike, and what is missing stays missing: nothing is made up in its place.
"""

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from forecasting.calendar import DAY_S
from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import History, median_of

IDLE_S = DAY_S
"""Shortest stretch of zeros before the first load that is taken for the time before a launch."""
AROUND = 61
"""Buckets around a bucket whose median is what was usual then."""
FAR = 12.0
"""Deviations from the median, in robust standard deviations, beyond which a bucket is a spike …"""
TIMES = 3.0
"""… but never below this multiple of the median."""
SHORT_S = 300.0
"""Longest spike: what lasts longer is load."""
SELDOM = 2
"""Most often that a spike may have come in a history."""
APART_S = 3600.0
"""Spikes closer together are one."""
NORMAL = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""


def cleaned(history: History, epsilon: float) -> History:
    """The single workload's history with missing values where nothing is to be learnt; `epsilon` is a small load."""
    return without_spikes(launched(history), epsilon)


def launched(history: History) -> History:
    """Without the zeros before the first load, where they lasted a day; a history of zeros only stays one."""
    loaded, known = np.flatnonzero(history.mean[0] > 0), np.flatnonzero(~np.isnan(history.mean[0]))
    if not len(loaded) or (loaded[0] - known[0]) * history.bucket_s < IDLE_S:
        return history
    return history.since(int(loaded[0]))


def without_spikes(history: History, epsilon: float) -> History:
    """Without buckets that hold a lonely spike; the coarse blocks stay as they are."""
    spikes = lonely_spikes(history.maximum[0].astype(np.float64), history.bucket_s, epsilon)
    if not spikes.any():
        return history
    return replace(
        history,
        mean=np.where(spikes, np.float32(np.nan), history.mean),
        maximum=np.where(spikes, np.float32(np.nan), history.maximum),
    )


def lonely_spikes(largest: FloatArray, bucket_s: float, epsilon: float) -> BoolArray:
    """Buckets, (m,), whose largest sample is a spike that came at most SELDOM times."""
    spikes = np.zeros(len(largest), np.bool_)
    if bucket_s > SHORT_S or len(largest) < AROUND:
        return spikes
    logs = np.log(largest + epsilon)
    usual = _running_median(logs)
    above = logs - usual
    known = above[~np.isnan(above)]
    if not len(known):
        return spikes
    spread = NORMAL * float(np.median(np.abs(known)))
    high = np.flatnonzero(above > max(FAR * spread, np.log(TIMES)))
    heights, runs = _runs(high, above, round(APART_S / bucket_s))
    for run, height in zip(runs, heights, strict=True):
        alike = np.count_nonzero(heights > 0.5 * height)
        if alike <= SELDOM and (run[-1] - run[0] + 1) * bucket_s <= SHORT_S:
            spikes[run] = True
    return spikes


def _running_median(logs: FloatArray) -> FloatArray:
    """Median of the known values among the AROUND centred at each, (m,); NaN where none is known."""
    half = AROUND // 2
    return median_of(sliding_window_view(np.pad(logs, half, constant_values=np.nan), AROUND))


def _runs(high: IntArray, above: FloatArray, apart: int) -> tuple[FloatArray, list[IntArray]]:
    """Largest height of each run of high buckets, and the runs."""
    runs = [run for run in np.split(high, np.flatnonzero(np.diff(high) > apart) + 1) if len(run)]
    return np.array([above[run].max() for run in runs]), runs
