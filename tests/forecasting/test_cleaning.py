"""Holes, launches, level shifts, lonely spikes, absent seasons and rare load leave the forecasts sane."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forecasting import boosting, catalog
from forecasting.catalog import Models
from forecasting.cleaning import cleaned, launched, lonely_spikes
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import FloatArray, at_score
from forecasting.ratios import MISSING, RATIOS, View
from forecasting.series import History, Rows
from forecasting.training import dithered_targets
from scaler.core.decision import LIKELY_SCORE
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load

H = 21
Load = Callable[[FloatArray], FloatArray]
USUAL = seasonal_load()


def at(load: Load, end_s: float, span_s: float = 8 * DAY_S) -> History:
    """The history of `load` up to `end_s`."""
    by_s = end_s - WEDNESDAY_S
    history = history_of(lambda t_s: load(t_s + by_s), span_s)
    return replace(history, end_s=end_s, bucket_end_s=end_s, coarse_end_s=end_s)


def peak(models: Models, history: History) -> FloatArray:
    return catalog.predict(models, history, Rows.live(history, np.array([H]))).peak[0]


def fitted(load: Load, end_s: float = WEDNESDAY_S) -> Models:
    return catalog.fit(at(load, end_s), H, averaged=False)


@pytest.fixture(scope="module")
def usual() -> Models:
    return fitted(USUAL)


@pytest.mark.parametrize("days", [(3, 1), (2.25, 0.25), (6, 4)])
def test_a_two_day_hole_does_not_teach_that_nights_are_empty(usual, days):
    def holed(t_s):
        inside = (t_s > WEDNESDAY_S - days[0] * DAY_S) & (t_s <= WEDNESDAY_S - days[1] * DAY_S)
        return np.where(inside, np.nan, USUAL(t_s))

    models = fitted(holed)
    for hour in (0, 6, 12, 18, 30):
        end_s = WEDNESDAY_S + 3600.0 * hour
        assert peak(models, at(holed, end_s)) == pytest.approx(peak(usual, at(USUAL, end_s)), rel=0.08), hour


def test_what_is_missing_stays_missing():
    def holed(t_s):
        return np.where((t_s > WEDNESDAY_S - DAY_S) & (t_s <= WEDNESDAY_S - 3600.0), np.nan, USUAL(t_s))

    history = at(holed, WEDNESDAY_S)
    known = np.isnan(history.mean[0])
    assert known.sum() == 1380
    assert (np.isnan(cleaned(history, 1.0).mean[0]) == known).all()


@pytest.mark.parametrize("hours", [0.2, 1.5, 3.0, 6.0, 24.0, 48.0])
def test_after_a_launch_the_empty_days_before_it_count_for_nothing(hours):
    launch_s = WEDNESDAY_S - 3600.0 * hours

    def load(t_s):
        return np.where(t_s > launch_s, USUAL(t_s), 0.0)

    history = at(load, WEDNESDAY_S)
    if hours < 1.0:
        with pytest.raises(NotEnoughHistory):
            catalog.fit(history, H, averaged=False)
        return
    said = peak(catalog.fit(history, H, averaged=False), history)
    now = history.mean[0, -5:].mean()
    assert now * 0.9 < said[0] < said[2] < 1.3 * now
    assert said[4] < 1.5 * now


def test_a_model_of_an_empty_past_forecasts_what_has_come(usual):
    def load(t_s):
        return np.where(t_s > WEDNESDAY_S - 1800.0, USUAL(t_s), 0.0)

    models = fitted(load, WEDNESDAY_S - 1800.0)
    assert peak(models, at(load, WEDNESDAY_S)) == pytest.approx(peak(usual, at(USUAL, WEDNESDAY_S)), rel=0.2)


def test_only_a_day_of_zeros_at_the_beginning_is_the_time_before_a_launch():
    def asleep(t_s):
        return np.where((t_s - 1.0) % DAY_S < 6 * 3600.0, 0.0, USUAL(t_s))

    history = at(asleep, WEDNESDAY_S, 4 * DAY_S)
    assert launched(history) is history
    silent = at(lambda t_s: np.zeros(len(t_s)), WEDNESDAY_S)
    assert launched(silent) is silent
    late = launched(at(lambda t_s: np.where(t_s > WEDNESDAY_S - 2 * DAY_S, USUAL(t_s), 0.0), WEDNESDAY_S))
    assert (~np.isnan(late.mean)).sum() == (~np.isnan(late.maximum)).sum() == 2880
    assert (~np.isnan(late.coarse_mean)).sum() == (~np.isnan(late.coarse_maximum)).sum() == 576


@pytest.mark.parametrize("factor", [8.0, 0.125])
def test_a_changed_level_is_followed_by_old_models_and_new_ones(factor):
    for minutes in (10, 60, 360):
        changed_s = WEDNESDAY_S - 60.0 * minutes

        def load(t_s, changed_s=changed_s):
            return np.where(t_s > changed_s, factor, 1.0) * USUAL(t_s)

        history, now = at(load, WEDNESDAY_S), factor * USUAL(np.array([WEDNESDAY_S]))[0]
        for cutoff_s in (changed_s, WEDNESDAY_S):
            said = peak(fitted(load, cutoff_s), history)
            assert 0.9 * now < said[2] < 2.0 * now, (minutes, cutoff_s)


@pytest.mark.parametrize("lasts_s", [15.0, 60.0, 300.0])
def test_a_lonely_spike_lifts_neither_forecasts_nor_the_ceiling(usual, lasts_s):
    spike_s = WEDNESDAY_S - DAY_S + 6 * 3600.0

    def spiky(t_s):
        return np.where((t_s > spike_s) & (t_s <= spike_s + lasts_s), 100.0, 1.0) * USUAL(t_s)

    models = fitted(spiky)
    assert models.boosting.ceiling[0] == pytest.approx(usual.boosting.ceiling[0], rel=0.01)
    for hour in (0.0, 5.95, 6.0, 18.0, 30.0):
        end_s = WEDNESDAY_S + 3600.0 * hour
        assert peak(models, at(spiky, end_s)) == pytest.approx(peak(usual, at(USUAL, end_s)), rel=0.08), hour


def test_a_peak_that_comes_again_is_no_spike():
    def daily(t_s):
        return np.where(t_s % DAY_S <= 240.0, 20.0, 1.0) * USUAL(t_s)

    history = at(daily, WEDNESDAY_S + 2 * DAY_S)
    assert cleaned(history, 1.0) is history
    models = fitted(daily)
    assert models.boosting.ceiling[0] > 15 * USUAL(np.array([WEDNESDAY_S]))[0]
    before = at(daily, WEDNESDAY_S + DAY_S - 300.0)
    assert peak(models, before)[3] > 5 * before.mean[0, -5:].mean()


def test_spikes_are_told_from_noise_load_and_little_history():
    rng = np.random.default_rng(1)
    noise = 100 * np.exp(0.3 * rng.standard_normal(5000))
    assert not lonely_spikes(noise, 60.0, 1.0).any()
    one, long = noise.copy(), noise.copy()
    one[2000:2002] = 1e5
    long[2000:2010] = 1e5
    assert np.flatnonzero(lonely_spikes(one, 60.0, 1.0)).tolist() == [2000, 2001]
    assert not lonely_spikes(long, 60.0, 1.0).any()
    assert not lonely_spikes(one, 600.0, 1.0).any()
    assert not lonely_spikes(one[1990:2010], 60.0, 1.0).any()
    assert not lonely_spikes(np.full(5000, np.nan), 60.0, 1.0).any()
    assert not lonely_spikes(np.zeros(5000), 60.0, 1.0).any()


def test_where_there_is_no_season_looking_for_one_costs_nothing(monkeypatch):
    """An autocorrelated load without a day or week: forecasts that may look a week back are as good as those blind."""
    rng = np.random.default_rng(4)
    t_s = WEDNESDAY_S - 60.0 * np.arange(18 * 1440)[::-1]
    walk = np.zeros(len(t_s))
    for step, shock in enumerate(rng.standard_normal(len(t_s) - 1)):
        walk[step + 1] = 0.98 * walk[step] + 0.05 * shock

    def load(asked_s):
        return 100 * np.exp(walk[np.clip(np.searchsorted(t_s, asked_s), 0, len(t_s) - 1)])

    history = history_of(load, 16 * DAY_S)
    before = history.until(WEDNESDAY_S - 2 * DAY_S)
    back = np.arange(20, 2 * 1440, 7)
    origin_s = WEDNESDAY_S - 60.0 * back
    rows = Rows(np.zeros(len(back), np.int64), origin_s, np.full(len(back), H), origin_s)
    actual, _ = dithered_targets(history, rows, averaged=False)
    losses = []
    for blind in (False, True):
        if blind:
            see = boosting.view

            def without_days(*asked, see=see) -> View:
                seen = see(*asked)
                features = seen.features.copy()
                features[:, -28:-4] = MISSING
                features[:, -4:-1] = 0.0
                return replace(seen, features=features)

            monkeypatch.setattr(boosting, "view", without_days)
        said = boosting.predict(boosting.fit(before, H, averaged=False), history, rows).peak[:, 1:4]
        error = actual[:, None] - said
        level = np.array([0.9, 0.97, 0.99])
        losses.append(float(np.maximum(level * error, (level - 1) * error).mean()))
    assert RATIOS == 41
    assert losses[0] < 1.05 * losses[1]


def rare(probability: float) -> Load:
    """Two minutes of load now and then: from 8 to 18 o'clock a window of 315 s sees any with this probability."""

    def load(t_s):
        rng = np.random.default_rng(1)
        per_step = -np.log(1 - probability) / H
        open_now = (t_s % DAY_S > 8 * 3600) & (t_s % DAY_S < 18 * 3600)
        begins = rng.random(len(t_s)) < np.where(open_now, per_step, 0.0)
        on = np.convolve(begins, np.ones(8))[: len(t_s)] > 0
        return np.where(on, 40.0 * np.exp(0.3 * rng.standard_normal(len(t_s))), 0.0)

    return load


@pytest.mark.parametrize(("probability", "likely"), [(0.02, False), (0.05, False), (0.25, True), (0.4, True)])
def test_whether_any_load_is_likely_is_said_honestly_where_load_is_rare(probability, likely):
    history = history_of(rare(probability), 9 * DAY_S)
    models = catalog.fit(history.until(WEDNESDAY_S - 2 * DAY_S), H, averaged=False)
    back = np.arange(10, 2 * 1440, 5)
    origin_s = WEDNESDAY_S - 60.0 * back
    rows = Rows(np.zeros(len(back), np.int64), origin_s, np.full(len(back), H), origin_s)
    said = catalog.predict(models, history, rows)
    expected = at_score(said.peak, LIKELY_SCORE) > 0
    quiet = said.level == 0
    hour = origin_s % DAY_S / 3600.0
    day, night = quiet & (hour > 8.5) & (hour < 17.5), quiet & ((hour < 7.5) | (hour > 18.5))
    assert night.sum() > 100
    assert expected[night].mean() < 0.1
    assert expected[day].mean() > 0.95 if likely else expected[day].mean() < 0.05
