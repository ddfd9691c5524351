"""Scale-free features: a few of them worked out by hand."""

import numpy as np
import pytest

from forecasting.features import (
    FEATURES,
    MEAN_WINDOWS,
    PEAK_WINDOWS,
    SEASONS_S,
    VOLATILITY_COLUMN,
    describe,
)
from forecasting.series import Rows
from tests.fakes import DAY_S, WEDNESDAY_S, history_of, seasonal_load

MEANS = slice(1, 1 + len(MEAN_WINDOWS))
PEAKS = slice(MEANS.stop, MEANS.stop + len(PEAK_WINDOWS))
SEASONS = slice(PEAKS.stop, PEAKS.stop + 3 * len(SEASONS_S))
MASKS = slice(SEASONS.stop, SEASONS.stop + len(SEASONS_S))


def described(load, span_s=8 * DAY_S, epsilon=1.0, h=8):
    history = history_of(load, span_s)
    return describe(history, Rows.live(history, np.array([h])), np.array([epsilon]))


def test_there_are_as_many_as_stated_and_all_are_finite():
    features = described(seasonal_load()).features
    assert features.shape == (1, FEATURES)
    assert np.isfinite(features).all()


def test_a_constant_load_has_no_ratio_and_no_volatility():
    situation = described(lambda t_s: np.full(len(t_s), 99.0))
    assert situation.level[0] == 99.0
    assert situation.features[0, MEANS] == pytest.approx(0.0)
    assert situation.features[0, PEAKS] == pytest.approx(0.0)
    assert situation.features[0, SEASONS] == pytest.approx(0.0)
    assert situation.features[0, VOLATILITY_COLUMN] == 0.0


def test_trailing_means_and_maxima_are_ratios_to_the_level():
    # 100 for the last minute, 50 before.
    def stepped(t_s):
        return np.where(t_s > WEDNESDAY_S - 60, 100.0, 50.0)

    situation = described(stepped, epsilon=1e-9)
    assert situation.level[0] == 100.0
    assert np.exp(situation.features[0, MEANS][:3]) == pytest.approx([1.0, 0.75, 0.6])
    assert np.exp(situation.features[0, PEAKS]) == pytest.approx(1.0)
    # One step of log 2 among twenty.
    assert situation.features[0, VOLATILITY_COLUMN] == pytest.approx(np.log(2) / 20)


def test_the_same_window_a_day_ago_is_measured_against_its_own_level():
    # A peak of four times the load in the two minutes after this moment yesterday.
    def daily(t_s):
        since_s = t_s - (WEDNESDAY_S - DAY_S)
        return np.where((since_s > 0) & (since_s <= 120), 400.0, 100.0)

    situation = described(daily, epsilon=1e-9)
    assert (situation.season_mean[0, 0], situation.season_peak[0, 0]) == (400.0, 400.0)
    assert (situation.season_mean[0, 1], situation.season_peak[0, 1]) == (100.0, 100.0)


def test_a_missing_season_is_masked_and_counts_as_no_change():
    features = described(seasonal_load(), span_s=1.5 * DAY_S).features[0]
    assert features[MASKS].tolist() == [0.0, 1.0, 1.0]
    assert features[SEASONS].reshape(3, 3)[:, 1:] == pytest.approx(0.0)


def test_an_empty_past_has_no_level():
    assert np.isnan(described(lambda t_s: np.full(len(t_s), np.nan)).level[0])


def test_other_units_give_the_same_features():
    one = described(seasonal_load(), epsilon=2.0)
    other = described(lambda t_s: 1024.0 * seasonal_load()(t_s), epsilon=2048.0)
    assert other.features == pytest.approx(one.features, abs=1e-9)
