"""Calendars as people write them mean what they say, in their own time zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from scaler.core.agenda import Agenda, Event, lay_out, length_s, moment_of, multiplier_of

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def begins(text: str, first: str, last: str, zone: str = "UTC") -> list[str]:
    """Local beginnings of an event in a span."""
    agenda = Agenda(events=(Event("sale", moment_of(text), 3600.0, None),))
    calendar = lay_out(zone, agenda, at(first), at(last))
    assert (calendar.end_s - calendar.begin_s == 3600.0).all()
    return [datetime.fromtimestamp(s, ZoneInfo(zone)).strftime("%a %d %H:%M") for s in calendar.begin_s.tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily 08:00", [f"{name} {day:02} 08:00" for name, day in (("Mon", 2), ("Tue", 3), ("Wed", 4), ("Thu", 5))]),
        ("Wednesday 9:30", ["Wed 04 09:30"]),
        ("first monday 08:00", ["Mon 02 08:00"]),
        ("second monday 08:00", []),
        ("2026-11-03T12:15", ["Tue 03 12:15"]),
        ("2026-11-03 12:15:00+02:00", ["Tue 03 10:15"]),
    ],
)
def test_an_event_falls_where_its_words_say(text, expected):
    assert begins(text, "2026-11-02T00:00", "2026-11-05T12:00") == expected


def test_the_last_weekday_of_a_month_is_its_fourth_or_fifth():
    assert begins("last friday 18:00", "2026-10-01", "2026-12-01") == ["Fri 30 18:00", "Fri 27 18:00"]
    assert begins("fourth friday 18:00", "2026-10-01", "2026-12-01") == ["Fri 23 18:00", "Fri 27 18:00"]


def test_an_event_stays_at_its_local_time_when_clocks_change():
    agenda = Agenda(events=(Event("sale", moment_of("daily 08:00"), 3600.0, None),))
    calendar = lay_out(BERLIN, agenda, at("2026-10-24"), at("2026-10-27"))
    utc = [datetime.fromtimestamp(s, UTC).hour for s in calendar.begin_s.tolist()]
    assert utc == [6, 7, 7]
    assert calendar.change_s.tolist() == [at("2026-10-25T01:00")]
    assert calendar.offset_s.tolist() == [7200.0, 3600.0]


@pytest.mark.parametrize("zone", [BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Tokyo"])
def test_local_time_is_that_of_the_zone_all_year(zone):
    first_s, last_s = at("2026-01-01"), at("2027-01-01")
    calendar = lay_out(zone, Agenda(), first_s, last_s)
    moment_s = np.arange(first_s, last_s, 1800.0)
    expected = [s + datetime.fromtimestamp(s, ZoneInfo(zone)).utcoffset().total_seconds() for s in moment_s.tolist()]
    local_s = calendar.local_s(moment_s)
    assert local_s.tolist() == expected
    # Back again, but for the hours that a change repeats.
    again_s = calendar.moment_s(local_s)
    assert (calendar.local_s(again_s) == local_s).all()
    assert np.count_nonzero(again_s != moment_s) <= 8


@pytest.mark.parametrize(
    "text",
    [
        "",
        "08:00",
        "daily",
        "daily 25:00",
        "montag 08:00",
        "fifth monday 08:00",
        "first daily 08:00",
        "2026-02-30T08:00",
    ],
)
def test_other_words_are_refused_with_the_right_ones(text):
    with pytest.raises(ValueError, match=r'must be "daily 08:00", "monday 09:30", .*, not \''):
        moment_of(text)


@pytest.mark.parametrize("text", ["30s", "8d", "4 hours", "-1h", ""])
def test_a_length_is_a_duration_of_a_minute_to_a_week(text):
    assert length_s("1h30m") == 5400.0
    with pytest.raises(ValueError, match="must be a duration between 1m and 7d"):
        length_s(text)


@pytest.mark.parametrize("value", ["lern", 0.5, -1.0, 2000.0, float("nan"), "5x"])
def test_a_multiplier_is_learnt_or_a_number_that_raises(value):
    assert multiplier_of("learn") is None
    assert multiplier_of(2.5) == 2.5
    with pytest.raises(ValueError, match='must be "learn" or a number between 1 and 1000'):
        multiplier_of(value)
