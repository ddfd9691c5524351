"""The coming day, hour by hour: what its season promises beyond the lead window.

For people, who can raise a maximum hours before it is needed; no decision is made from it. The largest load of the same
hour a day or a week ago, whichever told the last three days best, times how the last hours compare with theirs, times
the events that are known to come. Nothing is said where neither tells an hour better than the mean of all hours does.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from forecasting.series import History, Rows, earlier_s, gather

HOURS = 24
"""Hours that are foreseen."""
JUDGED = 72
"""Hours that a season is judged by."""
RECENT = 3
"""Hours that say how today compares."""
WORTH = 0.7
"""Share of the plain mean's error that a season's may have."""
GROWTH = 2.0
"""Today counts as at most so many times the season's, or as its inverse."""
SEASONS: IntArray = np.array([1, 7])
"""Days back."""
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class DayAhead:
    """What one workload is expected to see."""

    begin_s: FloatArray
    """Beginning of each hour, Unix seconds, (HOURS,); the first begins now."""
    peak: FloatArray
    """Median of its largest load, (HOURS,); NaN where nothing can be said."""


def day_ahead(history: History, multiplier: FloatArray) -> DayAhead:
    """Look a day ahead for the one workload of `history`; `multiplier` (1, EVENTS) is its model's."""
    n = JUDGED + HOURS
    begin_s: FloatArray = history.coarse_end_s + HOUR_S * np.arange(-JUDGED, HOURS, dtype=np.float64)
    steps = np.full(n, round(HOUR_S / history.step_s))
    rows = Rows(np.zeros(n, np.int64), np.full(n, history.end_s), steps, begin_s)
    earlier: FloatArray = _peaks(history, earlier_s(history, rows, SEASONS))
    seen = _peaks(history, begin_s[:JUDGED, None])
    # Hours without load compare like those with next to none.
    least = max(0.01 * float(np.fmax.reduce(seen, axis=None, initial=0.0)), 1e-12)
    ratio = np.log((seen + least) / (earlier[:JUDGED] + least))
    season = _best_season(ratio, np.log(seen[:, 0] + least))
    coming = begin_s[JUDGED:]
    if season is None:
        return DayAhead(coming, np.full(HOURS, np.nan))
    recent = ratio[-RECENT:, season]
    recent = recent[~np.isnan(recent)]
    growth = np.clip(np.exp(np.median(recent)), 1.0 / GROWTH, GROWTH) if len(recent) else 1.0
    return DayAhead(coming, growth * _events(history, coming, multiplier) * earlier[JUDGED:, season])


def _peaks(history: History, begin_s: FloatArray) -> FloatArray:
    """Largest load of the hour from each moment on, the same shape; NaN where less than half is known."""
    width = max(round(HOUR_S / history.coarse_s), 1)
    first = history.coarse_mean.shape[1] - np.ceil((history.coarse_end_s - begin_s) / history.coarse_s - 1e-9)
    index = first.astype(np.int64)[..., None] + np.arange(width)
    values = gather(history.coarse_maximum, np.zeros_like(index), index)
    known = 2 * (~np.isnan(values)).sum(axis=-1) >= width
    return np.where(known, np.fmax.reduce(values, axis=-1), np.nan)


def _best_season(ratio: FloatArray, seen: FloatArray) -> int | None:
    """Index into SEASONS of the one that told the hours best, if better than their median; of logs, (JUDGED, S)."""
    seen = seen[~np.isnan(seen)]
    best, error = None, WORTH * float(np.abs(seen - np.median(seen)).mean()) if len(seen) else 0.0
    for season in range(len(SEASONS)):
        known = np.abs(ratio[:, season][~np.isnan(ratio[:, season])])
        if 2 * len(known) >= JUDGED and known.mean() < error:
            best, error = season, float(known.mean())
    return best


def _events(history: History, begin_s: FloatArray, multiplier: FloatArray) -> FloatArray:
    """What the declared events multiply each hour by, the largest where several are on, (HOURS,)."""
    factor = np.full(len(begin_s), np.nan)
    for _, calendar in () if history.places is None else history.places.of(np.zeros(1, np.int64)):
        on = (calendar.begin_s < begin_s[:, None] + HOUR_S) & (calendar.end_s > begin_s[:, None])
        factor = np.fmax.reduce(np.where(on, multiplier[0, calendar.event], np.nan), axis=1, initial=np.nan)
    return np.where(np.isnan(factor), 1.0, factor)
