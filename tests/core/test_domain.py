"""Columns: rows taken out and put back, and rings pushed."""

import numpy as np

from scaler.core import decision
from scaler.core.domain import HPA_SYNC_S, UNBOUNDED, UNKNOWN, Workload, columns_of, pushed, put, take
from tests.core.test_decision import assert_same
from tests.fakes import counts, some_fleet, some_forecasts, some_observations


def test_rows_that_were_taken_and_put_back_change_nothing():
    state, again = decision.initial_state(5, 15.0), decision.initial_state(5, 15.0)
    put(state, slice(1, 3), take(state, slice(1, 3)))
    assert_same(state, again)


def test_putting_rows_reaches_nested_columns_and_no_other_row():
    state = decision.initial_state(3, 15.0)
    other = decision.initial_state(1, 15.0)
    other.price.log_price[:] = 9.0
    other.guard.decided[:] = 7
    put(state, slice(1, 2), other)
    assert state.price.log_price.tolist() == [decision.price.INITIAL, 9.0, decision.price.INITIAL]
    assert state.guard.decided[:, 0].tolist() == [-1, 7, -1]


def test_rows_are_taken_by_index_too():
    fleet = some_fleet(4, capacity=np.arange(1.0, 5.0))
    assert take(fleet, counts(3, 1)).capacity.tolist() == [4.0, 2.0]


def test_what_is_not_an_array_is_kept():
    assert take(some_observations(4), slice(0, 2)).step_s == 15.0


def test_a_ring_takes_the_newest_first_and_drops_the_oldest():
    assert pushed(np.array([[3, 2, 1]]), counts(4)).tolist() == [[4, 3, 2]]
    assert pushed(np.zeros((2, 3, 1), np.int64), np.full((2, 3), 5)).tolist() == [[[5]] * 3] * 2


def test_what_was_not_stated_has_its_default():
    fleet = columns_of([Workload("shop", "web", "0", threshold=50.0)])
    assert (fleet.minimum[0], fleet.maximum[0]) == (0, UNBOUNDED)
    assert (fleet.hpa_minimum[0], fleet.hpa_maximum[0]) == (UNKNOWN, UNKNOWN)
    assert (fleet.tolerance[0], fleet.lead_s[0]) == (0.1, 120.0 + HPA_SYNC_S)
    assert np.isnan(fleet.slo[0])
    assert fleet.h[0] == 9


def test_a_tick_without_a_sample_is_not_fresh():
    assert some_observations(2, load=np.array([0.0, np.nan])).fresh.tolist() == [True, False]


def test_a_sure_forecast_is_the_same_at_every_level():
    assert some_forecasts(1, 5.0).peak.tolist() == [[5.0] * 5]
