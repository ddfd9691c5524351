"""Each limit on a proposal, their order, and who moved the number."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core import guardrails
from scaler.core.domain import UNKNOWN
from scaler.core.guardrails import (
    Tick,
    bounds,
    guard,
    held_by,
    initial_state,
    load_floor,
    rate,
    replicas_for,
    steadied,
)
from tests.fakes import WEDNESDAY_S, counts, loads, some_fleet


def tick(load=0.0, reactive=0, active=True, **others) -> Tick:
    seen = Tick(
        t_s=WEDNESDAY_S,
        step_s=15.0,
        load=loads(load),
        fresh=~np.isnan(loads(load)),
        replicas=counts(10),
        reactive=counts(reactive),
        foreseen=counts(UNKNOWN),
        upper=loads(np.nan),
        active=np.array([active]),
    )
    return replace(seen, **others)


def guarded(proposals, step_s=15.0, seen=None, **columns) -> list[int]:
    """Final counts of a series of proposals."""
    state, fleet, final = initial_state(1, step_s), some_fleet(**columns), []
    for proposal in proposals:
        n, _, state = guard(counts(proposal), seen or tick(), state, fleet)
        final.append(int(n[0]))
    return final


def test_the_order_is_the_policy():
    assert guardrails.NAMES == (
        "stabilization",
        "rate",
        "canary",
        "cost_ceiling",
        "load_floor",
        "burst_floor",
        "override",
        "bounds",
        "paused",
    )


def test_a_scale_down_waits_until_the_whole_window_agrees():
    # A quarter of a lead window of 12: the proposal and the three before it.
    assert guarded([20, 10, 10, 10, 10, 10], h=12) == [20, 20, 20, 20, 10, 10]


def test_inside_the_window_it_falls_to_the_largest_proposal():
    assert guarded([20, 15, 12, 13, 12, 12, 12, 12], h=12) == [20, 20, 20, 20, 15, 13, 13, 12]


def test_the_longer_the_lead_the_longer_a_scale_down_waits():
    state = initial_state(2, 15.0)
    fleet, waited = some_fleet(2, h=np.array([1, 21])), []
    for proposal in (20, 10, 10, 10, 10, 10, 10, 10):
        n, _, state = guard(counts(proposal, proposal), tick(), state, fleet)
        waited.append(n.tolist())
    assert [n[0] for n in waited] == [20, 20, 10, 10, 10, 10, 10, 10]
    assert [n[1] for n in waited] == [20, 20, 20, 20, 20, 20, 20, 10]


@pytest.mark.parametrize(
    ("low", "high", "current", "wanted"),
    [(10, 14, 12, 12), (10, 14, 8, 10), (10, 14, 20, 14), (10, 14, -1, 14), (-1, -1, 12, -1), (14, 14, 9, 14)],
)
def test_a_count_between_both_needs_stays(low, high, current, wanted):
    assert steadied(counts(low), counts(high), counts(current))[0] == wanted


def test_a_scale_up_waits_for_nothing():
    assert guarded([10, 30]) == [10, 30]


def test_growth_per_minute_is_fourfold_or_twenty():
    assert guarded([3, 90]) == [3, 23]
    assert guarded([20, 90]) == [20, 80]
    assert guarded([3, 90, 90, 90, 90, 90]) == [3, 23, 23, 23, 23, 92 - 2]


def test_shrinkage_per_minute_is_by_half_or_by_four():
    fleet, state = some_fleet(), initial_state(1, 15.0)
    state = replace(state, decided=np.array([[30, 30, 40, 30]]))
    assert rate(counts(1), tick(), state, fleet)[0] == 20
    state = replace(state, decided=np.array([[5, 6, 5, 5]]))
    assert rate(counts(0), tick(), state, fleet)[0] == 2


def test_the_first_decision_has_no_rate():
    assert guarded([90]) == [90]
    assert guarded([0]) == [1]


def test_never_below_what_the_load_needs_now():
    assert load_floor(counts(3), tick(load=100.0), initial_state(1, 15.0), some_fleet(capacity=10.0))[0] == 10
    assert load_floor(counts(3), tick(load=100.1), initial_state(1, 15.0), some_fleet(capacity=10.0))[0] == 11
    assert load_floor(counts(12), tick(load=100.0), initial_state(1, 15.0), some_fleet(capacity=10.0))[0] == 12


def test_a_missing_sample_is_not_zero_load_and_raises_nothing():
    assert load_floor(counts(3), tick(load=np.nan), initial_state(1, 15.0), some_fleet())[0] == 3


def test_the_floor_of_a_queue_is_the_reactive_rule():
    seen = tick(load=1000.0, reactive=7)
    assert load_floor(counts(3), seen, initial_state(1, 15.0), some_fleet(queue=True))[0] == 7
    assert load_floor(counts(9), seen, initial_state(1, 15.0), some_fleet(queue=True))[0] == 9


def test_the_load_floor_wins_over_the_rate():
    assert guarded([3, 3], seen=tick(load=900.0)) == [90, 90]


def test_the_bounds_win_over_all():
    assert guarded([3], seen=tick(load=900.0), maximum=50) == [50]
    assert guarded([3], minimum=5) == [5]


def test_at_least_one_replica_while_active_and_the_smallest_count_when_not():
    state, fleet = initial_state(1, 15.0), some_fleet(minimum=0)
    assert bounds(counts(0), tick(), state, fleet)[0] == 1
    assert bounds(counts(8), tick(active=False), state, fleet)[0] == 0
    assert bounds(counts(8), tick(active=False), state, some_fleet(minimum=2))[0] == 2


def test_the_number_after_each_guardrail_is_kept_and_names_who_moved_it():
    state, fleet = initial_state(1, 15.0), some_fleet(maximum=40)
    _, after, state = guard(counts(30), tick(), state, fleet)
    assert after.tolist() == [[30] * 9]
    assert held_by(30, after[0]) == []
    _, after, state = guard(counts(5), tick(), state, fleet)
    assert after.tolist() == [[30] * 9]
    assert held_by(5, after[0]) == ["stabilization"]
    _, after, state = guard(counts(300), tick(load=350.0), state, fleet)
    assert after.tolist() == [[300, 120, 120, 120, 120, 120, 120, 40, 40]]
    assert held_by(300, after[0]) == ["rate", "bounds"]
    _, after, state = guard(counts(1), tick(load=2000.0), initial_state(1, 15.0), fleet)
    assert held_by(1, after[0]) == ["load_floor", "bounds"]


def test_a_window_of_one_step_still_remembers_one_proposal():
    assert guarded([20, 10, 10], step_s=300.0) == [20, 20, 10]


@pytest.mark.parametrize(
    ("load", "capacity", "n"),
    [
        (0.0, 10.0, 0),
        (100.0, 10.0, 10),
        (100.0000000001, 10.0, 10),  # what floating point adds is no replica
        (100.001, 10.0, 11),
        (np.nan, 10.0, 0),
        (-5.0, 10.0, 0),
        (1e30, 0.001, 1_000_000_000),
    ],
)
def test_replicas_for_a_load(load, capacity, n):
    assert replicas_for(loads(load), loads(capacity))[0] == n


@given(
    proposals=st.lists(st.integers(0, 10**9), min_size=1, max_size=30),
    load=st.one_of(st.just(float("nan")), st.floats(0, 1e30)),
    low=st.integers(0, 20),
    span=st.integers(0, 200),
)
def test_whatever_is_proposed_ends_within_the_bounds(proposals, load, low, span):
    high = max(low + span, 1)
    final = guarded(proposals, seen=tick(load=load), minimum=low, maximum=high)
    assert all(max(low, 1) <= n <= high for n in final)


def test_while_the_upper_forecast_wants_what_runs_it_is_kept():
    fleet, state = some_fleet(), initial_state(1, 300.0)
    state = replace(state, decided=np.array([[20]]))
    for foreseen, kept in ((UNKNOWN, 9), (3, 9), (15, 15), (25, 20)):
        n, _ = guardrails.stabilization(counts(9), tick(foreseen=counts(foreseen)), state, fleet)
        assert n[0] == kept


def test_a_burst_raises_to_the_reactive_rule_until_a_lead_window_was_calm():
    state, fleet, final = initial_state(1, 15.0), some_fleet(h=3), []
    for load in (50.0, 80.0, 120.0, 130.0, 90.0, 90.0, 90.0, 90.0):
        seen = tick(load=load, reactive=18, upper=loads(100.0))
        n, state = guardrails.burst_floor(counts(9), seen, state, fleet)
        final.append(int(n[0]))
    assert final == [9, 9, 9, 18, 18, 18, 9, 9]


def test_one_sample_above_and_missing_ones_are_no_burst():
    state, fleet = initial_state(1, 15.0), some_fleet()
    for load in (50.0, 120.0, np.nan, 90.0, 120.0, 90.0):
        n, state = guardrails.burst_floor(counts(9), tick(load=load, reactive=18, upper=loads(100.0)), state, fleet)
        assert n[0] == 9


def test_the_cost_ceiling_spreads_the_rest_of_the_budget_over_the_rest_of_the_day():
    fleet, state = some_fleet(replica_hours=240.0), initial_state(1, 3600.0)
    seen = [tick(t_s=WEDNESDAY_S + hour * 3600.0, step_s=3600.0, replicas=counts(20)) for hour in range(26)]
    final = []
    for one in seen:
        n, state = guardrails.cost_ceiling(counts(50), one, state, fleet)
        final.append(int(n[0]))
    # Twenty run whatever it says: after an hour 220 are left for 23, after eleven 20 for 13.
    assert final[:3] == [10, 9, 9]
    assert final[11] == 1
    assert final[12:24] == [0] * 12
    assert final[24] == 10, "a new day"


def test_without_a_ceiling_nothing_is_limited():
    assert guarded([500], maximum=1000) == [500]


def test_a_ceiling_of_one_workload_limits_no_other():
    fleet = some_fleet(2, replica_hours=np.array([240.0, np.inf]))
    n, _ = guardrails.cost_ceiling(counts(10**6, 10**6), tick(replicas=counts(20, 20)), initial_state(2, 15.0), fleet)
    assert n[1] == 10**6


def test_the_ceiling_takes_nothing_that_the_load_needs():
    assert guarded([50], seen=tick(load=300.0), replica_hours=1.0) == [30]


def test_a_canary_adds_no_more_than_its_share_to_the_reactive_rule():
    assert guarded([50], seen=tick(reactive=20), canary=0.2) == [24]
    assert guarded([15], seen=tick(reactive=20), canary=0.2) == [15]
    assert guarded([50], seen=tick(reactive=20)) == [50]
    both = some_fleet(2, canary=np.array([0.0, np.inf]))
    n, _ = guardrails.canary(counts(50, 50), tick(reactive=20), initial_state(2, 15.0), both)
    assert n.tolist() == [20, 50]


def test_a_canary_takes_nothing_that_the_load_needs():
    assert guarded([50], seen=tick(load=300.0, reactive=20), canary=0.0) == [30]


def test_what_is_fixed_by_hand_wins_over_all_but_the_bounds():
    assert guarded([3, 3], seen=tick(load=900.0), override=7) == [7, 7]
    assert guarded([3], override=70, maximum=50) == [50]
    assert guarded([3], override=0, minimum=2) == [2]


def test_while_paused_what_runs_stays_and_the_proposal_is_recorded():
    _, after, state = guard(counts(30), tick(), initial_state(1, 15.0), some_fleet(paused=True))
    assert after.tolist() == [[30] * 8 + [10]]
    assert held_by(30, after[0]) == ["paused"]
    assert state.decided[0, 0] == 10


def short_of(*, floors: bool) -> float:
    """Load that met too few replicas in a peak of ten lead times that no forecast saw; pods take a minute."""
    fleet, state, asked, short = some_fleet(h=5, threshold=7.0), initial_state(1, 15.0), [10] * 5, 0.0
    for step in range(100):
        load = 300.0 if 20 <= step < 60 else 95.0
        ready = asked[step]
        short += load if load > 10.0 * ready else 0.0
        seen = tick(load=load, reactive=int(np.ceil(load / 7.0)), upper=loads(110.0), replicas=counts(asked[-1]))
        n = int(guard(counts(10), seen, state, fleet)[0][0]) if floors else 10
        state = guard(counts(10), seen, state, fleet)[2]
        asked.append(n)
    return short


def test_the_floors_at_least_halve_the_shortage_of_a_missed_peak():
    assert short_of(floors=True) <= 0.5 * short_of(floors=False)
