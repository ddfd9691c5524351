"""Seasons go by local time, and a holiday is no ordinary weekday."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import boosting, regression
from forecasting.calendar import EVENTS, SUNDAY, Calendar, Places, begins, local
from forecasting.features import describe
from forecasting.forecast import FloatArray
from forecasting.ratios import view
from forecasting.series import History, Rows, earlier_s
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, history_rows, seasonal_load

WEDNESDAY = round(WEDNESDAY_S / DAY_S)
NONE = np.zeros(0)
BACK = np.arange(1, 8)


def calendar(
    holidays: tuple[int, ...] = (), change_s: FloatArray = NONE, offset_s: tuple[float, ...] = (0.0,)
) -> Calendar:
    nothing = np.zeros(0, np.int64)
    days = np.array(sorted(holidays), np.int64)
    return Calendar(change_s, np.array(offset_s), days, NONE, NONE, nothing, np.full(EVENTS, np.nan))


def living_by(one: Calendar, history: History) -> History:
    return replace(history, places=Places(np.zeros(len(history.mean), np.int64), (one,)))


def row(moment_s: float, h: int = 8) -> Rows:
    return Rows(np.zeros(1, np.int64), np.array([moment_s]), np.array([h]), np.array([moment_s]))


def days_looked_at(history: History, moment_s: float) -> list[float]:
    return ((earlier_s(history, row(moment_s), BACK)[0] - moment_s) / DAY_S).tolist()


@pytest.fixture(scope="module")
def history() -> History:
    return history_of(seasonal_load(), 16 * DAY_S)


def test_without_a_calendar_each_day_counts_by_universal_time(history):
    assert days_looked_at(history, WEDNESDAY_S) == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0]
    assert days_looked_at(living_by(calendar(), history), WEDNESDAY_S) == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0]


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_look_ups_follow_local_time_when_clocks_change(history, hours):
    change_s = WEDNESDAY_S - 3 * DAY_S + 3600.0
    changed = living_by(calendar((), np.array([change_s]), (7200.0, 7200.0 + 3600.0 * hours)), history)
    moment_s = WEDNESDAY_S - 3600.0
    expected = [-1.0, -2.0] + [-day + hours / 24 for day in (3.0, 4.0, 5.0, 6.0, 7.0)]
    assert days_looked_at(changed, moment_s) == pytest.approx(expected)
    local_s, _ = local(changed.places, np.zeros(2, np.int64), np.array([moment_s, change_s - 60.0]))
    assert (local_s - [moment_s, change_s - 60.0]).tolist() == [7200.0 + 3600.0 * hours, 7200.0]


def test_on_a_holiday_sundays_and_other_holidays_are_looked_at(history):
    # Wednesday; Sundays lie 3 and 10 days back, another holiday 5 days back, one beyond all history 20 days back.
    living = living_by(calendar((WEDNESDAY, WEDNESDAY - 5, WEDNESDAY - 20)), history)
    assert days_looked_at(living, WEDNESDAY_S + 3600.0) == [-3.0, -5.0, -10.0, -3.0, -5.0, -10.0, -3.0]
    assert local(living.places, np.zeros(1, np.int64), np.array([WEDNESDAY_S]))[1][0] == SUNDAY


def test_a_holiday_without_known_sundays_looks_at_ordinary_days():
    living = living_by(calendar((WEDNESDAY,)), history_of(seasonal_load(), 2 * DAY_S))
    assert days_looked_at(living, WEDNESDAY_S) == [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0]


def test_a_past_holiday_is_replaced_by_the_same_weekday_before_it(history):
    living = living_by(calendar((WEDNESDAY - 7, WEDNESDAY - 1)), history)
    assert days_looked_at(living, WEDNESDAY_S) == [-8.0, -2.0, -3.0, -4.0, -5.0, -6.0, -14.0]


def test_a_workload_without_a_calendar_is_not_touched_by_its_neighbours():
    loads = [seasonal_load(1), seasonal_load(2)]
    alone = history_rows(loads, 9 * DAY_S)
    living = replace(alone, places=Places(np.array([-1, 0]), (calendar((WEDNESDAY,), NONE, (3600.0,)),)))
    rows, epsilon = Rows.live(alone, np.array([8, 8])), np.ones(2)
    for features in (
        lambda history: view(history, rows, epsilon).features,
        lambda history: describe(history, rows, epsilon).features,
    ):
        plain, placed = features(alone), features(living)
        assert plain[0].tobytes() == placed[0].tobytes()
        assert plain[1].tobytes() != placed[1].tobytes()


def working_days(holidays: tuple[int, ...], zone_s: float = 0.0):
    """A load of 300 by day and 60 by night from Monday to Saturday, 60 on Sundays and holidays, at local time."""

    def load(t_s: FloatArray) -> FloatArray:
        local_s = t_s - 1.0 + zone_s
        day = (local_s // DAY_S).astype(np.int64)
        free = (day % 7 == SUNDAY) | np.isin(day, holidays)
        open_now = (local_s % DAY_S >= 8 * 3600.0) & (local_s % DAY_S < 20 * 3600.0) & ~free
        noise = np.random.default_rng(3).standard_normal(len(t_s))
        return np.asarray(np.where(open_now, 300.0, 60.0) * np.exp(0.03 * noise))

    return load


def at_opening(end_s: float, holidays: tuple[int, ...], known: tuple[int, ...], zone_s: float = 0.0) -> FloatArray:
    """Peak quantiles five minutes before opening time, by a booster that knows some of the holidays."""
    by_s = end_s - WEDNESDAY_S
    history = history_of(lambda t_s: working_days(holidays, zone_s)(t_s + by_s), 16 * DAY_S)
    history = replace(
        history,
        end_s=end_s,
        bucket_end_s=end_s,
        coarse_end_s=end_s,
        places=Places(np.zeros(1, np.int64), (calendar(known),)),
    )
    params = boosting.fit(history.until(end_s // DAY_S * DAY_S), 21, averaged=False)
    return boosting.predict(params, history, row(end_s, 21)).peak[0]


def test_a_known_holiday_is_not_taken_for_a_working_day():
    opening_s = WEDNESDAY_S + 8 * 3600.0 - 300.0
    past = (WEDNESDAY - 4,)
    assert at_opening(opening_s, past, past)[2] > 240
    surprised, told = (at_opening(opening_s, (*past, WEDNESDAY), known)[2] for known in ((), (*past, WEDNESDAY)))
    assert surprised > 240
    assert told < 0.6 * surprised


@pytest.mark.parametrize("forecaster", [regression, boosting])
def test_after_clocks_change_the_day_begins_at_the_same_local_time(forecaster):
    """Clocks went back at midnight: what came at 8:00 now comes an hour later by universal time."""
    change_s = WEDNESDAY_S

    def load(t_s):
        return working_days((), 0.0)(np.where(t_s <= change_s, t_s, t_s - 3600.0))

    before_s = WEDNESDAY_S + 8 * 3600.0 - 300.0
    peaks = {}
    for name, one in (("universal", calendar()), ("local", calendar((), np.array([change_s]), (0.0, -3600.0)))):
        for end_s in (before_s, before_s + 3600.0):
            history = history_of(lambda t_s, end_s=end_s: load(t_s + end_s - WEDNESDAY_S), 16 * DAY_S)
            history = replace(history, end_s=end_s, bucket_end_s=end_s, coarse_end_s=end_s)
            living = living_by(one, history)
            params = forecaster.fit(living.until(WEDNESDAY_S), 21, averaged=False)
            peaks[name, end_s] = forecaster.predict(params, living, row(end_s, 21)).peak[0, 2]
    assert peaks["local", before_s + 3600.0] > 240 > peaks["local", before_s]
    assert peaks["universal", before_s] > 240


def test_an_event_that_begins_at_the_end_of_a_window_is_not_in_it():
    one = replace(calendar(), begin_s=np.array([100.0]), end_s=np.array([200.0]), event=np.zeros(1, np.int64))
    places = Places(np.zeros(1, np.int64), (one,))
    found = [
        bool(begins(places, np.zeros(1, np.int64), np.array([first]), np.array([last]))[0])
        for first, last in ((0.0, 99.0), (0.0, 100.0), (0.0, 101.0), (100.0, 130.0), (101.0, 130.0))
    ]
    assert found == [False, False, True, True, False]
