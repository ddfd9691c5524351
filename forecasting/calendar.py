"""Where and when workloads live: local time, holidays and known events, as arrays over the span that questions reach.

Whoever knows time zones and countries (the service) lays a `Calendar` out for weeks before and after now; here it only
says what local time it is, which day is a holiday, and which occurrence of an event begins when.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray

DAY_S = 86_400.0
EVENTS = 16
"""Most events of one calendar."""
SUNDAY = 3
"""Number of Sunday where days are counted from the epoch, a Thursday."""


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """One time zone with its holidays and events."""

    change_s: FloatArray
    """When local time is put forward or back, Unix seconds, rising, (K,)."""
    offset_s: FloatArray
    """Local time less UTC before the first change and after each of them, (K + 1,)."""
    holiday: IntArray
    """Local days since the epoch that are holidays, rising, (N,)."""
    begin_s: FloatArray
    """Beginnings of all occurrences of events, Unix seconds, rising, (O,)."""
    end_s: FloatArray
    """Their ends, (O,)."""
    event: IntArray
    """Which event each is an occurrence of, below EVENTS, (O,)."""
    stated: FloatArray
    """What each event multiplies the load by, (EVENTS,); NaN where that is to be learnt."""

    def local_s(self, moment_s: FloatArray) -> FloatArray:
        """Local time as if it were Unix seconds, same shape."""
        return moment_s + self.offset_s[np.searchsorted(self.change_s, moment_s, side="right")]

    def moment_s(self, local_s: FloatArray) -> FloatArray:
        """Unix seconds of a local time, same shape; of the hour that a change skips or repeats, either."""
        guess_s = 2 * local_s - self.local_s(local_s)
        return np.asarray(local_s - (self.local_s(guess_s) - guess_s))

    def is_holiday(self, day: IntArray) -> BoolArray:
        """Whether local days since the epoch are holidays, same shape."""
        return np.isin(day, self.holiday)


@dataclass(frozen=True, slots=True)
class Places:
    """Which calendar each of B workloads lives by."""

    which: IntArray
    """Index into `calendars`, −1 for UTC without holidays or events, (B,)."""
    calendars: tuple[Calendar, ...]

    def of(self, workload: IntArray) -> Iterator[tuple[IntArray, Calendar]]:
        """Each calendar with the positions in `workload` (R,) that live by it."""
        which = self.which[workload]
        for number, calendar in enumerate(self.calendars):
            rows = np.flatnonzero(which == number)
            if len(rows):
                yield rows, calendar


def local(places: Places | None, workload: IntArray, moment_s: FloatArray) -> tuple[FloatArray, IntArray]:
    """Local time as if it were Unix seconds and day of the week counted from Thursday, (R,) each.

    A holiday is a Sunday.
    """
    local_s = moment_s.copy()
    weekday = (moment_s // DAY_S % 7).astype(np.int64)
    for rows, calendar in () if places is None else places.of(workload):
        local_s[rows] = calendar.local_s(moment_s[rows])
        day = (local_s[rows] // DAY_S).astype(np.int64)
        weekday[rows] = np.where(calendar.is_holiday(day), SUNDAY, day % 7)
    return local_s, weekday


def begins(places: Places | None, workload: IntArray, first_s: FloatArray, last_s: FloatArray) -> BoolArray:
    """Whether a known event begins in [first_s, last_s), (R,)."""
    found = np.zeros(len(workload), np.bool_)
    for rows, calendar in () if places is None else places.of(workload):
        first, last = (np.searchsorted(calendar.begin_s, bound_s[rows]) for bound_s in (first_s, last_s))
        found[rows] = last > first
    return found
