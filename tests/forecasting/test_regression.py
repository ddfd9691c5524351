"""What the regression adds to seasonal naive."""

import numpy as np
import pytest

from forecasting import naive, regression
from forecasting.errors import NotEnoughHistory
from forecasting.regression import RegressionConfig
from forecasting.scores import pinball
from forecasting.series import Rows
from forecasting.training import training_rows, window_targets
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load


def loss(forecaster, history, h, n_days) -> float:
    """Mean pinball loss above the median over the last days, fitted on what came before."""
    params = forecaster.fit(history.until(WEDNESDAY_S - n_days * DAY_S), h, averaged=False)
    origin_s = WEDNESDAY_S - np.arange(120, n_days * 1440, 7) * 60.0
    n = len(origin_s)
    rows = Rows(np.zeros(n, np.int64), origin_s, np.full(n, h), origin_s)
    peak, _ = window_targets(history, rows, averaged=False)
    return float(pinball(peak, forecaster.predict(params, history, rows).peak)[:, 1:].mean())


@pytest.mark.parametrize("h", [9, 21, 41])
def test_it_beats_naive_on_a_seasonal_noisy_load_that_grows(h):
    history = history_of(seasonal_load(seed=4, growth=0.08), 8 * DAY_S)
    assert loss(regression, history, h, 2) < 0.9 * loss(naive, history, h, 2)


def test_it_follows_a_level_that_shifted_today():
    def shifted(t_s):
        return seasonal_load(seed=4)(t_s) * np.where(t_s > WEDNESDAY_S - 6 * 3600, 3.0, 1.0)

    history = history_of(shifted, 6 * DAY_S)
    params = regression.fit(history.until(WEDNESDAY_S - DAY_S), 9, averaged=False)
    said = regression.predict(params, history, Rows.live(history, np.array([9])))
    assert 450 < said.peak[0, 0] < 1000


def test_a_longer_lead_is_less_certain():
    history = history_of(seasonal_load(seed=4), 6 * DAY_S)
    params = regression.fit(history, 20, averaged=False)
    n = 200
    origin_s = WEDNESDAY_S - np.arange(n) * 420.0
    spread = []
    for h in (5, 20, 80):
        rows = Rows(np.zeros(n, np.int64), origin_s, np.full(n, h), origin_s)
        peak = regression.predict(params, history, rows).peak
        spread.append(float(np.median(peak[:, 0])))
    assert spread == sorted(spread)


def test_no_forecast_exceeds_twice_of_what_was_ever_seen():
    def exploding(t_s):
        return np.exp((t_s - WEDNESDAY_S) / DAY_S * 20)

    history = history_of(exploding, 2 * DAY_S)
    params = regression.fit(history, 240, averaged=False)
    assert regression.predict(params, history, Rows.live(history, np.array([240]))).peak.max() <= 2.0 * (1 + 1e-6)


def test_too_short_a_history_says_how_much_it_takes():
    with pytest.raises(NotEnoughHistory, match=r"regression: \d+ origins with a known lead window, 240 needed"):
        regression.fit(history_of(seasonal_load(), 4 * 3600.0), 9, averaged=False)
    with pytest.raises(NotEnoughHistory, match=r"naive: \d+ origins with a known lead window, 60 needed"):
        naive.fit(history_of(seasonal_load(), 3600.0), 9, averaged=False)


def test_the_mean_of_the_window_lies_below_its_peak():
    history = history_of(seasonal_load(), 3 * DAY_S)
    rows = Rows.live(history, np.array([20]))
    peak = regression.predict(regression.fit(history, 20, averaged=False), history, rows).peak
    mean = regression.predict(regression.fit(history, 20, averaged=True), history, rows).peak
    assert (mean < peak).all()


def test_more_iterations_change_the_loss_little():
    history = history_of(seasonal_load(), 5 * DAY_S)
    losses = []
    for iterations in (12, 60):
        config = RegressionConfig(iterations=iterations)
        params = regression.fit(history, 9, averaged=False, config=config)
        rows = training_rows(history, 9, max_rows=2000)
        peak, _ = window_targets(history, rows, averaged=False)
        losses.append(pinball(peak, regression.predict(params, history, rows).peak).mean())
    assert losses[0] == pytest.approx(losses[1], rel=0.005)


def test_naive_keeps_the_season_that_served_best():
    def daily(t_s):
        return 200.0 + 150.0 * np.sin(2 * np.pi * t_s / DAY_S)

    def walking(t_s):
        steps = np.random.default_rng(1).standard_normal(len(t_s))
        return 100.0 * np.exp(np.cumsum(steps) * 0.003)

    chosen = [naive.fit(history_of(load, 6 * DAY_S), 20, averaged=False).season[0] for load in (daily, walking)]
    assert chosen == [0, -1]


def test_naive_takes_no_season_for_chance():
    def seasonless(seed):
        def load(t_s):
            rng = np.random.default_rng(seed)
            held = np.repeat(np.exp(0.3 * rng.standard_normal(len(t_s) // 20 + 1)), 20)[: len(t_s)]
            return 100.0 * held * np.exp(0.05 * rng.standard_normal(len(t_s)))

        return load

    def chosen(sure):
        config = naive.NaiveConfig(sure=sure)
        fits = [naive.fit(history_of(seasonless(n), 4 * DAY_S), 20, averaged=False, config=config) for n in range(20)]
        return [int(fitted.season[0]) for fitted in fits].count(-1)

    assert chosen(naive.NaiveConfig().sure) >= 19
    assert chosen(0.0) <= 15
