"""Calendars as people write them → the arrays that forecasting reads, for a span of time.

`at` of an event is one of

    daily 08:00                 every day
    monday 09:30                every week
    first monday 08:00          every month; also second, third, fourth and last
    2026-11-27T08:00            once

in the workload's time zone; an ISO date-time may state an offset of its own.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np

from forecasting.calendar import DAY_S, EVENTS, Calendar
from forecasting.forecast import FloatArray
from scaler.core.trigger import duration_s
from scaler.errors import TriggerError

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PLACES = ("first", "second", "third", "fourth", "last")
SHORTEST_S, LONGEST_S = 60.0, 7 * DAY_S
"""Range of an event's length."""
LARGEST = 1000.0
"""Largest stated multiplier."""
GRAMMAR = '"daily 08:00", "monday 09:30", "first monday 08:00" or "2026-11-27T08:00"'
LAID_OUT_BACK_S, LAID_OUT_AHEAD_S = 63 * DAY_S, 14 * DAY_S
"""Span around a week for which calendars are laid out: what history reaches back to, and what lead windows reach."""
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Moment:
    """When an event begins."""

    clock: time
    """Local time of day."""
    weekday: int | None = None
    """0 is Monday; None: any day."""
    place: int | None = None
    """Which of the month's such weekdays, from 0; −1 the last; None: all."""
    once: datetime | None = None
    """The only time, instead of all of the above."""

    def on(self, day: date) -> bool:
        """Whether it falls on a local day."""
        if self.weekday is not None and day.weekday() != self.weekday:
            return False
        if self.place is None:
            return True
        last = (day + timedelta(days=7)).month != day.month
        return last if self.place < 0 else (day.day - 1) // 7 == self.place


@dataclass(frozen=True, slots=True)
class Event:
    """Something that multiplies the load, at known times."""

    name: str
    at: Moment
    lasts_s: float
    multiplier: float | None
    """None: learnt from past occurrences."""


@dataclass(frozen=True, slots=True)
class Agenda:
    """A calendar of the settings, understood."""

    holidays: frozenset[int] = frozenset()
    """Days since the epoch."""
    events: tuple[Event, ...] = field(default=())


def moment_of(text: str) -> Moment:
    """Understand `at`.

    Raises:
        ValueError: it is none of the forms.
    """
    words = text.lower().split()
    try:
        if len(words) <= 2 and re.match(r"\d{4}-", text):
            once = datetime.fromisoformat(text.strip())
            return Moment(once.time(), once=once)
        clock = datetime.strptime(words[-1], "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone of its own
        match words[:-1]:
            case ["daily"]:
                return Moment(clock)
            case [weekday]:
                return Moment(clock, WEEKDAYS.index(weekday))
            case [place, weekday]:
                number = PLACES.index(place)
                return Moment(clock, WEEKDAYS.index(weekday), -1 if number == len(PLACES) - 1 else number)
    except (ValueError, IndexError):
        pass
    raise ValueError(f"must be {GRAMMAR}, not {text!r}")


def length_s(text: str) -> float:
    """Understand `lasts`.

    Raises:
        ValueError: not a duration between a minute and a week.
    """
    try:
        value = duration_s(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_S <= value <= LONGEST_S:
        raise ValueError(f"must be a duration between 1m and 7d, such as 4h, not {text!r}")
    return value


def multiplier_of(value: float | str) -> float | None:
    """Understand `multiplier`: a number of at least 1, or None for "learn".

    Raises:
        ValueError: anything else.
    """
    if value == "learn":
        return None
    if isinstance(value, str) or not 1.0 <= value <= LARGEST:
        raise ValueError(f'must be "learn" or a number between 1 and {LARGEST:g}, not {value!r}')
    return float(value)


def check(calendar: str | None, known: Collection[str]) -> None:
    """Refuse the name of a calendar that the settings do not hold.

    Raises:
        TriggerError: they do not.
    """
    if calendar is not None and calendar not in known:
        names = ", ".join(sorted(known)) or "none"
        raise TriggerError(f"calendar must be one of the settings' calendars ({names}), not {calendar!r}")


def lay_out(timezone: str, agenda: Agenda, first_s: float, last_s: float) -> Calendar:
    """What forecasting needs to know of [first_s, last_s], Unix seconds, in a time zone."""
    zone = ZoneInfo(timezone)
    change_s, offset_s = _changes(zone, first_s, last_s)
    occurrences = sorted(
        (begin_s, begin_s + event.lasts_s, number)
        for number, event in enumerate(agenda.events)
        for begin_s in _beginnings(event.at, zone, first_s, last_s)
    )
    begin_s, end_s, event = np.array(occurrences, np.float64).reshape(-1, 3).T
    days = np.array(sorted(agenda.holidays), np.int64)
    stated = np.full(EVENTS, np.nan)
    for number, one in enumerate(agenda.events):
        stated[number] = np.nan if one.multiplier is None else one.multiplier
    return Calendar(
        change_s=change_s,
        offset_s=offset_s,
        holiday=days[(days >= first_s // DAY_S - 1) & (days <= last_s // DAY_S + 1)],
        begin_s=np.ascontiguousarray(begin_s),
        end_s=np.ascontiguousarray(end_s),
        event=event.astype(np.int64),
        stated=stated,
    )


def _beginnings(at: Moment, zone: ZoneInfo, first_s: float, last_s: float) -> Iterator[float]:
    if at.once is not None:
        once = at.once if at.once.tzinfo is not None else at.once.replace(tzinfo=zone)
        if first_s <= once.timestamp() <= last_s:
            yield once.timestamp()
        return
    for number in range(int(first_s // DAY_S) - 1, int(last_s // DAY_S) + 2):
        day = EPOCH + timedelta(days=number)
        if at.on(day):
            begin_s = datetime.combine(day, at.clock, zone).timestamp()
            if first_s <= begin_s <= last_s:
                yield begin_s


def _changes(zone: ZoneInfo, first_s: float, last_s: float) -> tuple[FloatArray, FloatArray]:
    """When the zone's offset from UTC changes in a span, and the offsets before and after."""
    changes_s, offsets_s = [], [_offset_s(zone, first_s)]
    days = np.arange(first_s, last_s + DAY_S, DAY_S).tolist()
    for low_s, high_s in pairwise(days):
        if _offset_s(zone, high_s) != offsets_s[-1]:
            while high_s - low_s > 1.0:
                middle_s = (low_s + high_s) // 2
                low_s, high_s = (  # noqa: PLW2901 - a bisection narrows what it was given
                    (middle_s, high_s) if _offset_s(zone, middle_s) == offsets_s[-1] else (low_s, middle_s)
                )
            changes_s.append(high_s)
            offsets_s.append(_offset_s(zone, high_s))
    return np.array(changes_s, np.float64), np.array(offsets_s, np.float64)


def _offset_s(zone: ZoneInfo, moment_s: float) -> float:
    offset = datetime.fromtimestamp(moment_s, UTC).astimezone(zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
