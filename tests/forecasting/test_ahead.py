"""What a season promises of the coming day, and silence where there is none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecasting.ahead import HOURS, day_ahead
from forecasting.calendar import EVENTS, Calendar, Places
from forecasting.forecast import FloatArray
from forecasting.series import History
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load

NO_EVENTS = np.full((1, EVENTS), np.nan)


def daily_peaks(load: Callable[[FloatArray], FloatArray]) -> FloatArray:
    hours_s = WEDNESDAY_S + 3600.0 * np.arange(HOURS)
    return np.array([load(begin_s + 15.0 * np.arange(240)).max() for begin_s in hours_s])


def smooth(t_s: FloatArray) -> FloatArray:
    return 200.0 * (1.0 + 0.5 * np.sin(2 * np.pi * t_s / DAY_S))


def weekdays(t_s: FloatArray) -> FloatArray:
    """Every weekday has a level of its own."""
    return smooth(t_s) * (1.0 + (t_s // DAY_S) % 7)


@pytest.mark.parametrize("load", [smooth, weekdays])
def test_the_hours_of_a_regular_load_are_foreseen(load):
    ahead = day_ahead(history_of(load, 16 * DAY_S), NO_EVENTS)
    assert ahead.begin_s.tolist() == [WEDNESDAY_S + 3600.0 * hour for hour in range(HOURS)]
    np.testing.assert_allclose(ahead.peak, daily_peaks(load), rtol=0.03)


def test_a_noisy_season_is_foreseen_with_the_growth_of_today():
    load = seasonal_load(3)

    def grown(t_s):
        return load(t_s) * np.where(t_s > WEDNESDAY_S - DAY_S / 2, 1.4, 1.0)

    plain, more = (day_ahead(history_of(one, 16 * DAY_S), NO_EVENTS).peak for one in (load, grown))
    assert (more[:12] / plain[:12]).mean() == pytest.approx(1.4, rel=0.1)
    assert plain[16:20].max() < plain[4:8].min()


@pytest.mark.parametrize(
    "load",
    [
        lambda t_s: np.full(len(t_s), 100.0),
        lambda t_s: 100.0 * np.exp(0.3 * np.random.default_rng(5).standard_normal(len(t_s))),
        lambda t_s: 100.0 * np.exp(0.01 * np.random.default_rng(6).standard_normal(len(t_s)).cumsum()),
        lambda t_s: np.zeros(len(t_s)),
        lambda t_s: np.full(len(t_s), np.nan),
    ],
    ids=["constant", "noise", "walk", "nothing", "missing"],
)
def test_a_load_without_a_season_promises_nothing(load):
    assert np.isnan(day_ahead(history_of(load, 16 * DAY_S), NO_EVENTS).peak).all()


def test_a_single_day_is_no_season():
    assert np.isnan(day_ahead(history_of(smooth, 1.2 * DAY_S), NO_EVENTS).peak).all()


def with_event(history: History, begin_s: float) -> History:
    one = Calendar(
        change_s=np.zeros(0),
        offset_s=np.zeros(1),
        holiday=np.zeros(0, np.int64),
        begin_s=np.array([begin_s]),
        end_s=np.array([begin_s + 7200.0]),
        event=np.zeros(1, np.int64),
        stated=np.full(EVENTS, np.nan),
    )
    return replace(history, places=Places(np.zeros(1, np.int64), (one,)))


def test_a_declared_event_multiplies_the_hours_that_it_is_on():
    history = history_of(smooth, 16 * DAY_S)
    multiplier = np.where(np.arange(EVENTS) == 0, 3.0, np.nan)[None]
    plain = day_ahead(history, NO_EVENTS).peak
    risen = day_ahead(with_event(history, WEDNESDAY_S + 5.5 * 3600), multiplier).peak
    assert np.round(risen / plain).tolist() == [3.0 if 5 <= hour <= 7 else 1.0 for hour in range(HOURS)]
    unknown = day_ahead(with_event(history, WEDNESDAY_S + 5.5 * 3600), NO_EVENTS).peak
    np.testing.assert_array_equal(unknown, plain)
