"""Reading a grid of quantiles at any level, and back."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.forecast import (
    LEVELS,
    NORMAL_SCORES,
    at_level,
    at_score,
    level_of,
    normal_probability,
    ordered,
)


def read(quantiles, level, offset=0.0) -> float:
    return float(at_level(quantiles, np.array([level]), np.array([offset]))[0])


SPREAD = np.array([[100.0, 150.0, 200.0, 250.0, 300.0]])
quantile_grids = st.lists(st.floats(0.01, 1e4), min_size=5, max_size=5).map(lambda steps: np.cumsum([steps], axis=1))


def test_the_scores_of_the_grid_are_the_normal_distributions_own():
    exact = [NormalDist().inv_cdf(p) for p in LEVELS]
    assert NORMAL_SCORES.tolist() == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.6, 0.8, 0.9, 0.97, 0.99, 0.995, 0.999])
def test_normal_probabilities_are_close_to_exact(level):
    exact = NormalDist().inv_cdf(level)
    assert normal_probability(np.array([exact]))[0] == pytest.approx(level, abs=1e-7)


def test_the_grids_own_levels_are_read_as_they_stand():
    for score, quantile in zip(NORMAL_SCORES, SPREAD[0], strict=True):
        assert at_score(SPREAD, np.array([score]))[0] == pytest.approx(quantile)


def test_between_two_levels_it_is_linear_in_the_score():
    halfway = (NORMAL_SCORES[1] + NORMAL_SCORES[2]) / 2
    assert at_score(SPREAD, np.array([halfway]))[0] == pytest.approx(175.0)


def test_beyond_the_last_level_it_goes_on_and_below_the_first_it_stops():
    beyond = NORMAL_SCORES[4] + (NORMAL_SCORES[4] - NORMAL_SCORES[3])
    assert at_score(SPREAD, np.array([beyond]))[0] == pytest.approx(350.0)
    assert read(SPREAD, 0.1) == read(SPREAD, 0.5)
    assert read(SPREAD, 0.9999) == read(SPREAD, 0.9997)


def test_what_is_missing_stays_missing():
    nothing = np.full((1, 5), np.nan)
    assert np.isnan(read(nothing, 0.9))
    assert np.isnan(level_of(nothing, np.array([5.0]))[0])


@given(quantile_grids, st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_a_higher_level_never_reads_less(quantiles, one, other):
    low, high = sorted([one, other])
    assert read(quantiles, low, 1.0) <= read(quantiles, high, 1.0) + 1e-9


@given(quantile_grids, st.floats(0.5, 0.999))
def test_the_level_of_what_was_read_is_the_level_it_was_read_at(quantiles, level):
    value = at_score(quantiles, np.array([NormalDist().inv_cdf(level)]))
    assert level_of(quantiles, value)[0] == pytest.approx(level, abs=1e-3)


@given(quantile_grids, st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_larger_value_is_never_less_probable_to_suffice(quantiles, one, other):
    low, high = (level_of(quantiles, np.array([value]))[0] for value in sorted([one, other]))
    assert 0 <= low <= high + 1e-9
    assert high <= 0.999


def test_nothing_suffices_with_probability_zero():
    assert level_of(SPREAD, np.array([0.0]))[0] == 0.0
    assert level_of(SPREAD, np.array([50.0]))[0] == pytest.approx(0.25)
    assert level_of(SPREAD, np.array([100.0]))[0] == pytest.approx(0.5)
    assert level_of(SPREAD, np.array([1e9]))[0] == 0.999


def test_a_sure_forecast_is_exceeded_or_not():
    sure = np.full((1, 5), 10.0)
    assert level_of(sure, np.array([10.0]))[0] >= 0.5
    assert level_of(sure, np.array([10.1]))[0] == 0.999
    assert level_of(sure, np.array([9.9]))[0] < 0.5


def test_quantiles_are_put_in_order_and_above_zero():
    assert ordered(np.array([[-5.0, 3.0, 2.0, 7.0, 6.0]])).tolist() == [[0.0, 3.0, 3.0, 7.0, 7.0]]


def test_a_level_is_read_along_a_parabola_of_logarithms():
    tails = -np.log(1 - LEVELS)
    exact = np.exp(1.0 + 0.5 * tails - 0.02 * tails**2)[None]
    for level in (0.5, 0.8, 0.97, 0.985, 0.999):
        tail = -np.log(1 - level)
        assert read(exact, level) == pytest.approx(np.exp(1.0 + 0.5 * tail - 0.02 * tail**2), rel=1e-9)
        assert read(exact - 1.0, level, 1.0) == pytest.approx(read(exact, level) - 1.0, rel=1e-9)


def test_a_parabola_that_turns_is_held_at_its_top():
    tails = -np.log(1 - LEVELS)
    turning = np.exp(1.0 + tails - 0.15 * tails**2)[None]
    top = np.exp(1.0 + 1 / 0.6)
    assert read(turning, 0.98) == pytest.approx(top, rel=0.01)
    assert read(turning, 0.9997) == pytest.approx(top, rel=1e-9)


def test_a_sure_forecast_is_read_as_it_is_at_any_level():
    assert read(np.full((1, 5), 70.0), 0.999, 5.0) == pytest.approx(70.0)
    assert read(np.zeros((1, 5)), 0.999, 5.0) == pytest.approx(0.0)
