"""Load as evenly spaced samples, and the questions asked of it.

A sample stamped t is the mean over (t − spacing, t]. A missing sample is NaN and never zero; no sample is negative.
All workloads of one `History` share a time axis; rows are C-contiguous and reductions run along them, so that a row's
result does not depend on its neighbours.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecasting.calendar import DAY_S as DAY_S  # noqa: PLC0414 - a unit of series too: re-exported
from forecasting.calendar import SUNDAY, Calendar, Places
from forecasting.forecast import BoolArray, FloatArray, IntArray

LoadArray = NDArray[np.floating[Any]]
"""Load as it is stored; float32 is enough for days of it. Computations run in float64."""
BUCKET_S = 60.0
"""Spacing of the long history, unless the step itself is wider."""
RECENT = 90
"""Buckets before an origin that a forecaster may look at closely."""
REACH = 28
"""Days back among which a holiday looks for Sundays and other holidays."""

COARSE_S = 300.0
"""Spacing of the longest history, as far as buckets divide it: seasons need no more."""


def bucket_spacing(step_s: float) -> float:
    """Spacing of the long history for samples every `step_s` seconds."""
    return max(BUCKET_S, step_s)


def coarse_spacing(step_s: float) -> float:
    """Spacing of the longest history, a multiple of the bucket spacing."""
    return bucket_spacing(step_s) * max(round(COARSE_S / bucket_spacing(step_s)), 1)


@dataclass(frozen=True, slots=True)
class History:
    """Load of B workloads, oldest first: finely for the last hours, in buckets for days."""

    step_s: float
    """Spacing of the fine samples in seconds."""
    end_s: float
    """Stamp of the newest fine sample, Unix seconds, a multiple of `step_s`."""
    fine: LoadArray
    """Samples at `step_s`, (B, n)."""
    bucket_end_s: float
    """Stamp of the newest complete bucket, a multiple of the bucket spacing, at most `end_s`."""
    mean: LoadArray
    """Mean of the samples of each bucket, (B, m)."""
    maximum: LoadArray
    """Largest sample of each bucket, (B, m)."""
    coarse_end_s: float
    """Stamp of the newest complete coarse block, a multiple of the coarse spacing, at most `bucket_end_s`."""
    coarse_mean: LoadArray
    """Mean of each coarse block, (B, c)."""
    coarse_maximum: LoadArray
    """Largest sample of each coarse block, (B, c)."""
    places: Places | None = None
    """Calendars that the workloads live by; None: UTC, and every day is like the others."""

    @property
    def bucket_s(self) -> float:
        """Spacing of the buckets in seconds."""
        return bucket_spacing(self.step_s)

    @property
    def coarse_s(self) -> float:
        """Spacing of the coarse blocks in seconds."""
        return coarse_spacing(self.step_s)

    @property
    def coarse_stops_s(self) -> FloatArray:
        """Stamps of the ends of the coarse blocks, (c,)."""
        return self.coarse_end_s - self.coarse_s * np.arange(self.coarse_mean.shape[1], dtype=np.float64)[::-1]

    @property
    def samples_per_bucket(self) -> int:
        """Fine samples in one bucket."""
        return round(self.bucket_s / self.step_s)

    def since(self, first: int) -> "History":
        """Return the same history with nothing known before bucket `first`, the blocks that end there included."""
        n = self.mean.shape[1]
        buckets = np.arange(n) < first
        blocks = self.coarse_stops_s <= self.bucket_end_s - (n - first) * self.bucket_s
        return replace(
            self,
            mean=np.where(buckets, np.float32(np.nan), self.mean),
            maximum=np.where(buckets, np.float32(np.nan), self.maximum),
            coarse_mean=np.where(blocks, np.float32(np.nan), self.coarse_mean),
            coarse_maximum=np.where(blocks, np.float32(np.nan), self.coarse_maximum),
        )

    def until(self, cutoff_s: float) -> "History":
        """Return the same history as it stood at `cutoff_s`, a multiple of the bucket spacing.

        In buckets only: how many fine samples reach back to the cutoff depends on when it is asked.
        """
        coarse_end_s = min(cutoff_s // self.coarse_s * self.coarse_s, self.coarse_end_s)
        forgotten = round((self.bucket_end_s - cutoff_s) / self.bucket_s)
        blocks = round((self.coarse_end_s - coarse_end_s) / self.coarse_s)
        return History(
            step_s=self.step_s,
            end_s=cutoff_s,
            fine=self.fine[:, :0],
            bucket_end_s=cutoff_s,
            mean=_earlier(self.mean, forgotten),
            maximum=_earlier(self.maximum, forgotten),
            coarse_end_s=coarse_end_s,
            coarse_mean=_earlier(self.coarse_mean, blocks),
            coarse_maximum=_earlier(self.coarse_maximum, blocks),
            places=self.places,
        )


def _earlier(values: LoadArray, n: int) -> LoadArray:
    if n <= 0:
        return values
    shifted = np.full_like(values, np.nan)
    shifted[:, n:] = values[:, : max(values.shape[1] - n, 0)]
    return shifted


@dataclass(frozen=True, slots=True)
class Rows:
    """R questions: what follows after `origin_s` for `h` steps?"""

    workload: IntArray
    """Row of the history, (R,)."""
    origin_s: FloatArray
    """Time of the newest sample that may be used, (R,): at any fine stamp near the end, at bucket stamps before."""
    h: IntArray
    """Length of the lead window in steps, at least 1, (R,)."""
    season_s: FloatArray
    """Moment whose place in the day and week counts, (R,): the origin itself, unless one asks "what if it were"."""
    imagined: IntArray | None = None
    """Row of the history's fine samples, (R,), where one asks "what if the load were"; None: that of the workload."""

    @property
    def recent(self) -> IntArray:
        """Row of the fine samples that are the recent past, (R,)."""
        return self.workload if self.imagined is None else self.imagined

    def some(self, chosen: IntArray) -> "Rows":
        """Return the chosen rows."""
        imagined = None if self.imagined is None else self.imagined[chosen]
        return Rows(self.workload[chosen], self.origin_s[chosen], self.h[chosen], self.season_s[chosen], imagined)

    @staticmethod
    def live(history: History, h: IntArray) -> "Rows":
        """One row per workload of `history` at its newest sample."""
        origin_s = np.full(len(h), history.end_s)
        return Rows(np.arange(len(h)), origin_s, h, origin_s)


@dataclass(frozen=True, slots=True)
class Windows:
    """Load around R origins; NaN where missing."""

    mean: FloatArray
    """Means, oldest first where there are several, (R, …)."""
    maximum: FloatArray
    """Maxima, the same shape."""


def recent_windows(history: History, rows: Rows) -> Windows:
    """Cut the RECENT buckets that end at each origin, (R, RECENT).

    They end exactly at the origin where the fine samples reach back far enough, else at its last full bucket.
    """
    offset = np.rint((history.end_s - rows.origin_s) / history.step_s).astype(np.int64)
    needed = RECENT * history.samples_per_bucket
    if needed <= history.fine.shape[1] and not offset.any():
        return _from_fine(history, history.fine[rows.recent, -needed:])
    return _from_both(history, rows, offset, needed)


def _from_both(history: History, rows: Rows, offset: IntArray, needed: int) -> Windows:
    fine = (offset >= 0) & (offset + needed <= history.fine.shape[1])
    mean, maximum = np.full((2, len(offset), RECENT), np.nan)
    if fine.any():
        stop = history.fine.shape[1] - offset[fine]
        column = stop[:, None] - needed + np.arange(needed)
        part = _from_fine(history, history.fine[rows.recent[fine][:, None], column])
        mean[fine], maximum[fine] = part.mean, part.maximum
    if not fine.all():
        index = bucket_index(history, rows.origin_s[~fine])[:, None] - RECENT + 1 + np.arange(RECENT)
        workload = rows.workload[~fine][:, None]
        mean[~fine], maximum[~fine] = (
            gather(history.mean, workload, index),
            gather(history.maximum, workload, index),
        )
    return Windows(mean, maximum)


def _from_fine(history: History, samples: LoadArray) -> Windows:
    parts = samples.astype(np.float64).reshape(len(samples), RECENT, history.samples_per_bucket)
    present = ~np.isnan(parts)
    count = present.sum(axis=-1)
    total = np.where(present, parts, 0.0).sum(axis=-1)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Windows(mean, np.fmax.reduce(parts, axis=-1))


def summed_up(mean: LoadArray, maximum: LoadArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Mean and maximum of blocks of k buckets, (B, m // k) each; m is a multiple of k, missing buckets do not count."""
    means = mean.astype(np.float64).reshape(len(mean), -1, k)
    present = ~np.isnan(means)
    count = present.sum(axis=2)
    total = np.where(present, means, 0.0).sum(axis=2)
    largest = np.fmax.reduce(maximum.reshape(len(maximum), -1, k), axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), largest.astype(np.float64)


def bucket_index(history: History, stamp_s: FloatArray) -> IntArray:
    """Column of the last bucket complete at `stamp_s`, same shape; may lie outside of the history."""
    back = np.ceil((history.bucket_end_s - stamp_s) / history.bucket_s - 1e-9)
    return np.asarray(history.mean.shape[1] - 1 - back, dtype=np.int64)


def gather(values: LoadArray, workload: IntArray, index: IntArray) -> FloatArray:
    """Pick columns by row, NaN where the column lies outside of the history; `workload` and `index` broadcast."""
    inside = (index >= 0) & (index < values.shape[1])
    picked = values[workload, np.clip(index, 0, values.shape[1] - 1)]
    return np.where(inside, picked.astype(np.float64), np.nan)


def earlier_s(history: History, rows: Rows, back: IntArray) -> FloatArray:
    """The same local time on the days `back` (D,) before that of each row, Unix seconds, (R, D).

    Instead of a holiday the same weekday a week before it counts; for a holiday itself the D newest Sundays and
    holidays of which the history knows that moment, in turn, if there is any.
    """
    found: FloatArray = rows.season_s[:, None] - DAY_S * back
    for mine, calendar in () if history.places is None else history.places.of(rows.workload):
        local_s = calendar.local_s(rows.season_s[mine])
        day = (local_s // DAY_S).astype(np.int64)
        earlier = day[:, None] - back
        earlier -= 7 * calendar.is_holiday(earlier)
        second: FloatArray = (local_s - DAY_S * day)[:, None]
        free = np.flatnonzero(calendar.is_holiday(day))
        if len(free):
            candidates = day[free, None] - np.arange(1, REACH + 1)
            moment_s = calendar.moment_s(np.asarray(DAY_S * candidates + second[free], dtype=np.float64))
            usable = _known_at(history, rows.workload[mine[free]], moment_s) & _is_free(calendar, candidates)
            earlier[free] = _in_turn(candidates, usable, earlier[free])
        found[mine] = calendar.moment_s(np.asarray(DAY_S * earlier + second, dtype=np.float64))
    return found


def _is_free(calendar: Calendar, day: IntArray) -> BoolArray:
    return np.asarray((day % 7 == SUNDAY) | calendar.is_holiday(day))


def _known_at(history: History, workload: IntArray, moment_s: FloatArray) -> BoolArray:
    """Whether the coarse block that holds a moment has a sample, (R, D)."""
    back = np.floor((history.coarse_end_s - moment_s) / history.coarse_s).astype(np.int64)
    index = history.coarse_mean.shape[1] - 1 - back
    return ~np.isnan(gather(history.coarse_mean, workload[:, None], index))


def _in_turn(candidates: IntArray, usable: BoolArray, otherwise: IntArray) -> IntArray:
    """The usable candidates of each row in their order, repeated to the width of `otherwise`."""
    order = np.argsort(~usable, axis=1, kind="stable")
    count = usable.sum(axis=1)[:, None]
    turn = np.arange(otherwise.shape[1]) % np.maximum(count, 1)
    chosen = np.take_along_axis(candidates, np.take_along_axis(order, turn, axis=1), axis=1)
    return np.where(count > 0, chosen, otherwise)


def median_of(values: FloatArray) -> FloatArray:
    """Lower median of the known values of each row, (R,); NaN where none is known."""
    rising = np.sort(values, axis=1)
    middle = np.maximum((~np.isnan(rising)).sum(axis=1) - 1, 0) // 2
    return np.asarray(rising[np.arange(len(rising)), middle])


def lead_buckets(h: IntArray, step_s: float) -> IntArray:
    """Buckets that a lead window of `h` steps touches, (R,)."""
    return np.asarray(np.ceil(h * step_s / bucket_spacing(step_s) - 1e-9), dtype=np.int64)


def windows_around(
    history: History, workload: IntArray, first: IntArray, n_before: int, n: IntArray
) -> tuple[FloatArray, Windows]:
    """Mean of the n_before buckets before column first[r], then mean and maximum of the n[r] buckets from it on.

    (R,) each; a window with fewer than half of its buckets is missing (NaN). Sums run by `cumsum`, so that a row's
    result does not depend on the longest window beside it.
    """
    width = int(n.max(initial=1))
    index = first[:, None] + np.arange(-n_before, width)
    inside = (index >= 0) & (index < history.mean.shape[1])
    column = np.where(inside, index, 0)
    mean = np.where(inside, history.mean[workload[:, None], column], np.nan).astype(np.float64)
    largest = np.where(inside, history.maximum[workload[:, None], column], np.nan)[:, n_before:]
    present = ~np.isnan(mean)
    rows = np.arange(len(n))
    count = np.cumsum(present, axis=1)
    total = np.cumsum(np.where(present, mean, 0.0), axis=1)
    last = n_before + n - 1
    n_earlier, earlier = (count[:, n_before - 1], total[:, n_before - 1]) if n_before else (0, 0.0)
    n_later, later = count[rows, last] - n_earlier, total[rows, last] - earlier
    peak = np.fmax.accumulate(largest, axis=1)[rows, n - 1].astype(np.float64)
    enough = 2 * n_later >= n
    before = np.where(2 * n_earlier >= n_before, earlier / np.maximum(n_earlier, 1), np.nan)
    after = np.where(enough, later / np.maximum(n_later, 1), np.nan)
    return before, Windows(after, np.where(enough, peak, np.nan))
