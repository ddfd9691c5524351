"""What a replica bears is learnt from CPU or latency, followed through a deploy, and never made up."""

from dataclasses import fields, replace

import numpy as np
import pytest

from forecasting.forecast import FloatArray
from scaler.core import capacity
from scaler.core.capacity import CPU_LIMIT, CapacityState, Line, Sums
from scaler.core.domain import take
from scaler.core.simulator import service
from scaler.core.simulator.constants import IDLE_CPU, UTILISATION
from tests.core.worlds import STEP_S, Days, scheduled, seen, utilised
from tests.fakes import DAY_S, WEDNESDAY_S, some_fleet, some_observations

SEEDS = 10
TRUE = 10.0 * (CPU_LIMIT - IDLE_CPU.value) / (1.0 - IDLE_CPU.value) / UTILISATION.value
"""Load at which a replica of capacity 10 uses CPU_LIMIT: 9.87."""


def taught(days: Days) -> CapacityState:
    n = days.utilisation.shape[1]
    columns, state = some_fleet(n), capacity.initial_state(n)
    for now in seen(days):
        state = capacity.step(now.load, now, columns, state)
    return state


def within(load: FloatArray, true: float, share: float) -> int:
    return int((np.abs(load / true - 1.0) <= share).sum())


@pytest.fixture(scope="module")
def a_day() -> CapacityState:
    """A day of 40 fleets: as they are, with pods that start with much work, held at one load, with little load."""
    steps = round(DAY_S / STEP_S)
    held = np.broadcast_to(np.linspace(0.4, 0.85, SEEDS), (steps, SEEDS))
    swings = [utilised(1.0, SEEDS), utilised(1.0, SEEDS), held, utilised(1.0, SEEDS, 0.05, 0.2)]
    spike = np.repeat([0.6, 4.0, 0.6, 0.6], SEEDS)
    return taught(Days(np.concatenate(swings, axis=1), scheduled(1.0, 4 * SEEDS), spike=spike))


def group(state: CapacityState, number: int) -> CapacityState:
    return take(state, slice(number * SEEDS, (number + 1) * SEEDS))


def test_after_a_day_it_is_within_10_percent_in_9_of_10_seeds(a_day: CapacityState) -> None:
    state = group(a_day, 0)
    assert within(state.load, TRUE, 0.1) >= 9
    assert within(state.load, 10.0, 0.1) >= 9
    assert ((state.low <= TRUE) & (state.high >= TRUE)).sum() >= 7


def test_young_pods_would_spoil_it_and_are_left_out(a_day: CapacityState) -> None:
    assert within(group(a_day, 1).load, TRUE, 0.1) >= 9


def test_it_is_not_identifiable_where_the_load_per_replica_never_varies(a_day: CapacityState) -> None:
    state = group(a_day, 2)
    assert np.isnan([state.load, state.low, state.high]).all()


def test_a_narrow_range_far_from_the_limit_is_no_ground_to_stand_on(a_day: CapacityState) -> None:
    assert np.isnan(group(a_day, 3).load).all()


@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_a_deploy_that_changes_it_by_30_percent_is_followed_within_two_hours(factor: float) -> None:
    span = 1.0 + 1.0 / 12.0
    drift = np.ones((round(span * DAY_S / STEP_S), 1))
    drift[round(DAY_S / STEP_S) :] = factor
    # Between 30 and 90 % before and after.
    low, high = (0.3, 0.9 * factor) if factor < 1.0 else (0.3 * factor, 0.9)
    columns, state, said = some_fleet(SEEDS), capacity.initial_state(SEEDS), {}
    for now in seen(Days(utilised(span, SEEDS, low, high), scheduled(span, SEEDS), drift=drift)):
        state = capacity.step(now.load, now, columns, state)
        said[round((now.t_s - WEDNESDAY_S - DAY_S) / 60.0)] = state
    assert within(said[0].load, TRUE, 0.1) >= 9
    # What is no longer true is not said for long, …
    assert within(said[40].load, TRUE, 0.1) <= 1
    # … and what is true, soon.
    assert within(said[120].load, factor * TRUE, 0.1) >= 9
    assert (said[120].changed_s >= WEDNESDAY_S + DAY_S).sum() >= 9


def test_latency_near_its_target_tells_it_too() -> None:
    alone = np.ones((round(DAY_S / STEP_S), SEEDS), np.int64)
    days = Days(utilised(1.0, SEEDS, 0.3, 0.9), alone, noise=0.05)
    columns, state = some_fleet(SEEDS, latency_target_s=service.latency_target_s()), capacity.initial_state(SEEDS)
    for now in seen(days):
        now.feedback[:, 0] = np.nan
        state = capacity.step(now.load, now, columns, state)
    assert within(state.load, 10.0, 0.1) >= 9


def test_latency_below_its_target_tells_nothing() -> None:
    alone = np.ones((round(0.3 * DAY_S / STEP_S), 2), np.int64)
    columns, state = some_fleet(2, latency_target_s=1.0), capacity.initial_state(2)
    for now in seen(Days(utilised(0.3, 2, 0.2, 0.6), alone)):
        now.feedback[:, 0] = np.nan
        state = capacity.step(now.load, now, columns, state)
    assert np.isnan(state.load).all()


def test_nothing_is_learnt_without_feedback_or_of_a_load_in_doubt() -> None:
    fresh = capacity.initial_state(1)
    for seen_so in (some_observations(), some_observations(feedback=[[0.5, 0.5, 0.1, 0.0]], doubt=1)):
        state = fresh
        for k in range(1, 400):
            state = capacity.step(seen_so.load, replace(seen_so, t_s=WEDNESDAY_S + 15.0 * k), some_fleet(), state)
        assert not state.sums.w.any()
        assert np.isnan(state.load).all()


def test_one_broken_sensor_value_does_not_move_it() -> None:
    days = Days(utilised(0.5, 2), scheduled(0.5, 2))
    columns, state = some_fleet(2), capacity.initial_state(2)
    for k, now in enumerate(seen(days)):
        if k % 100 == 0:
            now.feedback[0, 0] = 25.0
        state = capacity.step(now.load, now, columns, state)
    assert within(state.load, TRUE, 0.1) == 2


@pytest.mark.parametrize("load", [0.0, 1e-9, 10.0, 1e9, 1e100])
def test_a_load_that_never_differs_tells_nothing_of_idleness_however_large(load: float) -> None:
    same = np.full((1, 2), load)
    sums = Sums(*(np.full((1, 2), 30.0) if name in {"w", "y", "yy"} else np.zeros((1, 2)) for name in Sums.__slots__))
    sums = replace(sums, x=30.0 * same, xx=30.0 * same**2)
    line = Line(*np.full((len(Line.__slots__), 1, 2), 0.5))
    with np.errstate(all="raise"):
        anew = capacity._anew(sums, line, np.ones((1, 2), np.bool_))
    assert (anew.idle_w == 0.0).all()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    days = Days(utilised(0.2, 5), scheduled(0.2, 5))
    together, alone = capacity.initial_state(5), capacity.initial_state(1)
    fleet, one = some_fleet(5), some_fleet(1)
    for now in seen(days):
        together = capacity.step(now.load, now, fleet, together)
        mine = take(now, slice(3, 4))
        alone = capacity.step(mine.load, mine, one, alone)
    mine_of_all = take(together, slice(3, 4))
    for f in fields(alone.sums):
        assert np.array_equal(getattr(mine_of_all.sums, f.name), getattr(alone.sums, f.name)), f.name
    assert np.array_equal(mine_of_all.load, alone.load, equal_nan=True)


@pytest.mark.parametrize(
    ("used", "learnt", "expected"),
    [
        (7.0, np.nan, 7.0),  # nothing learnt: what is stated
        (7.0, 10.0, 10.0),
        (10.0, 10.4, 10.0),  # within 5 %: stays
        (10.0, 10.6, 10.6),
        (10.0, np.nan, 7.0),  # no longer identifiable
    ],
)
def test_a_capacity_in_force_moves_only_by_more_than_5_percent(used: float, learnt: float, expected: float) -> None:
    assert capacity.in_force(np.array([used]), np.array([learnt]), np.array([7.0])).tolist() == [expected]
