"""What happens at known times: declared events, and rises that came at the same time in each of the last two weeks.

    past occurrences → what each multiplied the load by, against the same hours of ordinary days → their median
    an occurrence begins inside the lead window → the forecast as if none did, times that

A fitted model cannot learn from a handful of minutes in a month; a look-up can. The rise of the last two weeks counts
only where both had it and it lies beyond what is forecast with 97 %, so that noise, which seldom strikes twice at the
same time of the week, costs nothing. Over next to no load a rise is large by chance, so no more is expected than came.
"""

from dataclasses import replace

import numpy as np

from forecasting.calendar import DAY_S, EVENTS, Calendar
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles
from forecasting.series import History, Rows, bucket_index, earlier_s, gather, windows_around

BEFORE_S = 1800.0
"""Span whose mean load is that before an occurrence."""
ORDINARY_DAYS = 14
"""Days before an occurrence whose same hours say what would have come without it."""
HOLD_S = 900.0
"""How long a begun event is waited for: people come late, and what they need is there."""
WEEKS: IntArray = np.array([7, 14])
"""Days back at which a rise must have come to be expected again."""
RISE = 1.5
"""Smallest factor that is a rise: below it the fitted model speaks. By as much may more be expected than came: a load
grows."""
SURE = int(np.argmax(LEVELS == 0.97))
"""Level whose forecast a repeated rise must exceed."""


def learnt(history: History, epsilon: float) -> FloatArray:
    """What each event of the single workload's calendar multiplies its load by, (1, EVENTS); NaN where unknown."""
    found = np.full((1, EVENTS), np.nan)
    for _, calendar in () if history.places is None else history.places.of(np.zeros(1, np.int64)):
        found[0] = calendar.stated
        for event in np.unique(calendar.event[np.isnan(calendar.stated[calendar.event])]):
            occurrences = np.flatnonzero((calendar.event == event) & (calendar.end_s <= history.coarse_end_s))
            factors = [_factor(history, calendar, at, epsilon) for at in occurrences.tolist()]
            known = [factor for factor in factors if np.isfinite(factor)]
            found[0, event] = np.median(known) if known else np.nan
    return found


def _factor(history: History, calendar: Calendar, at: int, epsilon: float) -> float:
    """By how much more the load rose in an occurrence than in the same hours of ordinary days."""
    begin_s, end_s = float(calendar.begin_s[at]), float(calendar.end_s[at])
    local_s = calendar.local_s(np.array([begin_s])) - DAY_S * np.arange(1, ORDINARY_DAYS + 1)
    days_s = calendar.moment_s(local_s)
    usual = [_rise(history, day_s, day_s + end_s - begin_s, epsilon) for day_s in days_s if _free(calendar, day_s)]
    known = [rise for rise in usual if np.isfinite(rise)]
    return _rise(history, begin_s, end_s, epsilon) / (float(np.median(known)) if known else 1.0)


def _free(calendar: Calendar, moment_s: float) -> bool:
    """Whether no event is on, or about to begin, at `moment_s`."""
    return not ((calendar.begin_s < moment_s + BEFORE_S) & (calendar.end_s > moment_s - BEFORE_S)).any()


def _rise(history: History, begin_s: float, end_s: float, epsilon: float) -> float:
    """Largest load of [begin_s, end_s) over the mean of the time before it; NaN where either is unknown."""
    stops_s = history.coarse_stops_s
    starts_s = stops_s - history.coarse_s
    inside = (stops_s > begin_s) & (starts_s < end_s)
    before = (stops_s <= begin_s) & (starts_s >= begin_s - BEFORE_S)
    largest = np.fmax.reduce(history.coarse_maximum[0, inside], initial=np.nan)
    earlier = history.coarse_mean[0, before]
    earlier = earlier[~np.isnan(earlier)]
    return float((largest + epsilon) / (earlier.mean() + epsilon)) if len(earlier) else np.nan


def expected(
    said: Quantiles, history: History, rows: Rows, multiplier: FloatArray, epsilon: FloatArray, averaged: BoolArray
) -> Quantiles:
    """The forecasts of R rows with what is known to come; `multiplier` (B, EVENTS), `epsilon` and `averaged` (B,)."""
    offset = epsilon[rows.workload]
    said = _with_events(said, history, rows, multiplier, offset)
    return _with_repeats(said, history, rows, offset, averaged[rows.workload])


def _with_events(
    said: Quantiles, history: History, rows: Rows, multiplier: FloatArray, offset: FloatArray
) -> Quantiles:
    factor = np.ones(len(rows.h))
    stop_s = rows.season_s + rows.h * history.step_s
    for mine, calendar in () if history.places is None else history.places.of(rows.workload):
        first = np.searchsorted(calendar.begin_s, rows.season_s[mine] - HOLD_S, side="right")
        last = np.searchsorted(calendar.begin_s, stop_s[mine])
        for turn in range(int((last - first).max(initial=0))):
            on = np.flatnonzero(first + turn < last)
            at, some = first[on] + turn, mine[on]
            begun_s = np.minimum(calendar.begin_s[at], rows.season_s[some])
            before = _level_before(history, rows.workload[some], begun_s)
            before = np.where(calendar.begin_s[at] < rows.season_s[some], before, said.level[some])
            wanted = multiplier[rows.workload[some], calendar.event[at]] * (before + offset[some])
            wanted = np.where(calendar.end_s[at] > rows.season_s[some], wanted, np.nan)
            factor[some] = np.fmax(factor[some], wanted / (said.level[some] + offset[some]))
    if (factor == 1.0).all():
        return said
    return Quantiles(
        said.peak * factor[:, None], said.path * factor[:, None], said.level * factor, said.ceiling * factor
    )


def _level_before(history: History, workload: IntArray, moment_s: FloatArray) -> FloatArray:
    """Mean load of the five minutes before a moment, (R,); NaN where unknown."""
    n = max(round(300.0 / history.bucket_s), 1)
    before, _ = windows_around(
        history, workload, bucket_index(history, moment_s) + 1, n, np.ones(len(workload), np.int64)
    )
    return before


def _with_repeats(said: Quantiles, history: History, rows: Rows, offset: FloatArray, averaged: BoolArray) -> Quantiles:
    """Raise forecasts to the smaller rise of the same lead window in the last two weeks, where both had a clear one."""
    smallest, most = np.full(len(rows.h), np.inf), np.zeros(len(rows.h))
    asked = np.arange(len(rows.h))
    begin_s = earlier_s(history, rows, WEEKS)
    for week in range(len(WEEKS)):
        before, largest = _blocks(history, rows.some(asked), begin_s[asked, week], averaged[asked])
        most[asked] = np.maximum(most[asked], largest)
        rise = (largest + offset[asked]) / (before + offset[asked])
        smallest[asked] = np.minimum(smallest[asked], rise)
        asked = asked[rise >= RISE]
    if not len(asked):
        return said
    # In blocks as well, so that minutes into the rise it is not expected on top of itself.
    now, _ = _blocks(history, rows.some(asked), rows.origin_s[asked], averaged[asked])
    wanted = np.full(len(rows.h), np.nan)
    risen = (now + offset[asked]) * smallest[asked] - offset[asked]
    wanted[asked] = np.minimum(risen, RISE * most[asked])
    floor = np.where(wanted > said.peak[:, SURE], wanted, 0.0)
    return replace(
        said,
        peak=np.maximum(said.peak, floor[:, None]),
        level=np.maximum(said.level, floor),
        ceiling=np.maximum(said.ceiling, floor),
    )


def _blocks(history: History, rows: Rows, begin_s: FloatArray, averaged: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Mean of the last coarse block before the one that `begin_s` falls into, and largest load of the lead window.

    The window begins at `begin_s` and counts in whole blocks, (R,) each; NaN where unknown. Where a mean is forecast
    the largest load is that of a whole block.
    """
    n_blocks, block_s = history.coarse_mean.shape[1], history.coarse_s
    end_s = begin_s + rows.h * history.step_s
    first = n_blocks - np.ceil((history.coarse_end_s - begin_s) / block_s - 1e-9).astype(np.int64)
    last = n_blocks - 1 - np.floor((history.coarse_end_s - end_s) / block_s + 1e-9).astype(np.int64)
    index = first[:, None] + np.arange(int((last - first).max(initial=0)) + 1)
    index = np.where(index <= last[:, None], index, -1)
    within = gather(history.coarse_maximum, rows.workload[:, None], index)
    within[averaged] = gather(history.coarse_mean, rows.workload[averaged, None], index[averaged])
    largest = np.fmax.accumulate(within, axis=1)[:, -1]
    return gather(history.coarse_mean, rows.workload, np.minimum(first, n_blocks) - 1), largest
