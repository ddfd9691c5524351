"""What a forecast rests on: level, chance, trend, day, week, event and correction, in load units, summing to it.

    the forecast → without known events → without what lies days back → without yesterday and the time of day
    → without the way the load came here → the load now

Each step takes one thing away from the history and asks the forecaster again; what the number changes by is that
thing's part. What is taken away becomes the load now, as if nothing else had ever been: a gap would say something too.
Whoever forecasts is asked, so this holds for all forecasters. Some sixty forecasts of one row: made when asked, never
per tick.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forecasting.calendar import DAY_S
from forecasting.forecast import BoolArray, FloatArray, IntArray, Quantiles
from forecasting.series import RECENT, History, LoadArray, Rows

PARTS = ("level", "chance", "trend", "day", "week", "event", "correction")
"""Load now; what it may do by chance; the last hour and a half; the last two days and the time of day; the days before;
known events; and what was changed about the forecast after it was made."""
DAYS_S = 2.25 * DAY_S
"""Age up to which load counts as the day's: yesterday, the day before, and hours around."""
SMOOTH = 10
"""Buckets of a block; the lines through blocks are the trend, what happens beside them is chance."""
HOURS = 3
"""Spacing of the times of day over which a forecast is averaged where the time of day is taken away."""

Predict = Callable[[History, Rows], Quantiles]
Read = Callable[[Quantiles], FloatArray]


@dataclass(frozen=True, slots=True)
class Question:
    """One forecast that is asked about."""

    history: History
    """Of one workload."""
    rows: Rows
    """One row."""
    predict: Predict
    """The forecaster, without known events."""
    expected: Quantiles
    """What it said, known events included, (1, Q)."""
    read: Read
    """The number that is taken from R forecasts, (R,)."""
    total: float
    """The number to be explained."""
    heard: bool = True
    """False: what was served rests on the load now alone, and not on the forecaster."""


def explain(asked: Question) -> FloatArray:
    """Parts of the number in the order of PARTS, (P,); NaN where there is no forecast."""
    said = asked.predict(asked.history, asked.rows)
    level = float(said.level[0])
    if not asked.heard:
        event = float(asked.expected.level[0]) - level
        return np.array([level, 0.0, 0.0, 0.0, 0.0, event, asked.total - level - event])
    recent_s = RECENT * asked.history.bucket_s
    origin_s = float(asked.rows.origin_s[0])
    days = _older_than(asked.history, origin_s - DAYS_S, level)
    hours = _older_than(asked.history, origin_s - recent_s, level)
    minutes = _without_trend(hours, origin_s, level)
    anytime = _any_time(asked.rows)
    steps = [
        0.0,
        level,
        _mean(asked.read(asked.predict(minutes, anytime))),
        _mean(asked.read(asked.predict(hours, anytime))),
        _mean(asked.read(asked.predict(days, asked.rows))),
        _mean(asked.read(said)),
        _mean(asked.read(asked.expected)),
        asked.total,
    ]
    return np.diff(steps)


def _mean(values: FloatArray) -> float:
    return float(values.mean())


def _any_time(rows: Rows) -> Rows:
    """The same question at all times of the day on all days of the week."""
    back_s = np.arange(0.0, 7 * DAY_S, HOURS * 3600.0)
    n = len(back_s)
    return Rows(
        np.repeat(rows.workload, n),
        np.repeat(rows.origin_s, n),
        np.repeat(rows.h, n),
        np.repeat(rows.season_s, n) - back_s,
        None if rows.imagined is None else np.repeat(rows.imagined, n),
    )


def _changed(history: History, change: Callable[[LoadArray, FloatArray], LoadArray]) -> History:
    """The history with each of its arrays changed by `change(values, stamps_s)`."""

    def each(values: LoadArray, end_s: float, spacing_s: float) -> LoadArray:
        return change(values, end_s - spacing_s * np.arange(values.shape[1] - 1.0, -1.0, -1.0))

    return replace(
        history,
        fine=each(history.fine, history.end_s, history.step_s),
        mean=each(history.mean, history.bucket_end_s, history.bucket_s),
        maximum=each(history.maximum, history.bucket_end_s, history.bucket_s),
        coarse_mean=each(history.coarse_mean, history.coarse_end_s, history.coarse_s),
        coarse_maximum=each(history.coarse_maximum, history.coarse_end_s, history.coarse_s),
    )


def _older_than(history: History, since_s: float, level: float) -> History:
    """The history with the load now in place of all that is known up to `since_s`."""

    def flat(values: LoadArray, stamps_s: FloatArray) -> LoadArray:
        return np.where((stamps_s <= since_s) & ~np.isnan(values), level, values)

    return _changed(history, flat)


def _without_trend(history: History, origin_s: float, level: float) -> History:
    """The history brought to the load now, block by recent block; what happens beside a block's line stays."""
    stamps_s = history.bucket_end_s - history.bucket_s * np.arange(history.mean.shape[1] - 1.0, -1.0, -1.0)
    line = _lines(history, stamps_s, origin_s)

    def levelled(values: LoadArray, stamps_s: FloatArray) -> LoadArray:
        block, age, inside = _block(history, stamps_s, origin_s)
        before = line[0, block] + line[1, block] * age
        brought = np.where(before > 0, values * (level / np.where(before > 0, before, 1.0)), level)
        return np.where(inside & ~np.isnan(values), brought, values)

    return _changed(history, levelled)


def _lines(history: History, stamps_s: FloatArray, origin_s: float) -> FloatArray:
    """Least-squares line of each recent block over the age within it: value at 0 and slope, (2, n_blocks)."""
    block, age, inside = _block(history, stamps_s, origin_s)
    inside &= ~np.isnan(history.mean[0])
    block, age, load = block[inside], age[inside], history.mean[0, inside].astype(np.float64)
    count, ages, loads, squares, products = (
        np.bincount(block, weight, minlength=RECENT // SMOOTH)
        for weight in (np.ones(len(age)), age, load, age * age, age * load)
    )
    spread = count * squares - ages * ages
    slope = np.where(spread > 1e-9, (count * products - ages * loads) / np.maximum(spread, 1e-9), 0.0)
    mean = loads / np.maximum(count, 1.0)
    # A line that comes near to nothing would blow up what lies beside it.
    slope = np.clip(slope, -1.5 * mean, 1.5 * mean)
    return np.stack([mean - slope * ages / np.maximum(count, 1.0), slope])


def _block(history: History, stamps_s: FloatArray, origin_s: float) -> tuple[IntArray, FloatArray, BoolArray]:
    """Recent block of each stamp, newest first, the age within it from 0 to 1, and whether it is in any."""
    place = (origin_s - stamps_s) / (SMOOTH * history.bucket_s) + 1e-9
    block = np.floor(place).astype(np.int64)
    inside = (block >= 0) & (block < RECENT // SMOOTH)
    return np.where(inside, block, 0), place - block, inside
