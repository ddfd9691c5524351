"""What is sent, judged by what the HPA makes of it (KEDA.md §6, DESIGN.md §3 "Dead band")."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.dead_band import BandState, encode, initial_state, reached
from scaler.core.domain import UNBOUNDED, UNKNOWN
from scaler.core.hpa import HpaRules, policy, step
from scaler.core.hpa import initial_state as hpa_state
from tests.fakes import counts, loads, some_fleet

DEAR, CHEAP = 1000.0, 0.001
"""Prices at which any overshoot is worth a short replica, and none is."""
WIDE = policy(1_000_000, 0.0, 15.0, 0.0)
IMMEDIATE = policy(0, 100.0, 15.0, 0.0)


def sent(wanted, replicas, price=DEAR, active=True, forced=0, **columns) -> float:
    fleet = some_fleet(**{"hpa_minimum": 1, "hpa_maximum": 100, **columns})
    value, _ = encode(
        counts(wanted), counts(replicas), np.array([active]), loads(price), fleet, BandState(counts(forced))
    )
    return float(value[0])


def hpa_rules(tolerance, minimum, maximum) -> HpaRules:
    return HpaRules(
        target=loads(1.0),
        tolerance_up=loads(tolerance),
        tolerance_down=loads(tolerance),
        minimum=counts(minimum),
        maximum=counts(maximum),
        up=WIDE,
        down=IMMEDIATE,
        with_behavior=np.array([True]),
    )


def resolved(value, replicas, tolerance=0.1, minimum=1, maximum=100) -> int:
    """What an HPA that may move freely makes of the value in one sync."""
    final, _ = step(loads(value), counts(replicas), hpa_rules(tolerance, minimum, maximum), hpa_state((1,)))
    return int(final[0])


def test_with_unknown_replicas_the_count_itself_is_sent():
    assert sent(7, UNKNOWN) == 7.0


def test_with_tolerance_zero_the_count_itself_is_sent():
    assert sent(21, 20, tolerance=0.0) == 21.0
    assert sent(19, 20, tolerance=0.0) == 19.0


def test_downwards_the_low_end_of_the_ceilings_interval_is_sent():
    # Measured: 10 → 8.1 gives 9; 20 → 17.1 gives 18, which plain 18 did not.
    assert sent(9, 10) == pytest.approx(8.1)
    assert resolved(sent(9, 10), 10) == 9
    assert sent(18, 20) == pytest.approx(17.1)
    assert resolved(sent(18, 20), 20) == 18
    assert resolved(18.0, 20) == 20


def test_one_down_works_up_to_eighteen_replicas():
    reached = [s for s in range(2, 60) if resolved(sent(s - 1, s), s) == s - 1]
    assert reached == list(range(2, 19))


def test_upwards_inside_the_band_the_smallest_reachable_count_is_sent_where_shortage_is_dear():
    assert sent(21, 20, DEAR) == 23.0
    assert resolved(23.0, 20) == 23
    assert sent(11, 10, DEAR) == 12.0
    assert sent(22, 20, DEAR) == 23.0


def test_upwards_inside_the_band_it_holds_where_surplus_is_dear():
    assert sent(21, 20, CHEAP) == 20.0
    # One short replica against a surplus of two: worth it above a price of 2.
    assert sent(21, 20, 1.9) == 20.0
    assert sent(21, 20, 2.1) == 23.0


def test_upwards_outside_of_the_band_the_count_itself_is_sent():
    assert sent(23, 20) == 23.0
    assert sent(10, 9) == 10.0


def test_the_count_that_runs_is_sent_as_it_is():
    assert sent(20, 20) == 20.0


def test_a_forced_surplus_is_kept_until_the_count_leaves_the_band_below():
    assert sent(21, 23, forced=23) == 23.0
    # 0.9 · 23 = 20.7: 20 has left the band.
    assert sent(20, 23, forced=23) == pytest.approx(19.1)


def test_a_surplus_that_was_not_forced_is_given_back_at_once():
    assert sent(22, 24, forced=0) == pytest.approx(21.1)
    assert sent(22, 24, forced=23) == pytest.approx(21.1)


def test_an_overshoot_is_remembered_and_forgotten_when_the_band_is_left():
    fleet, active, dear = some_fleet(hpa_minimum=1, hpa_maximum=100), np.array([True]), loads(DEAR)
    _, state = encode(counts(21), counts(20), active, dear, fleet, initial_state(1))
    assert state.forced[0] == 23
    _, state = encode(counts(21), counts(23), active, dear, fleet, state)
    assert state.forced[0] == 23
    _, state = encode(counts(20), counts(23), active, dear, fleet, state)
    assert state.forced[0] == 0


def test_at_the_hpas_own_maximum_twice_of_it_is_sent():
    assert sent(100, 95) == 200.0
    assert resolved(200.0, 95) == 100
    assert resolved(100.0, 95) == 95


def test_at_the_hpas_own_minimum_a_tenth_is_sent():
    assert sent(5, 5, minimum=5, hpa_minimum=5) == 0.1
    assert sent(5, 6, minimum=5, hpa_minimum=5) == 0.1
    assert resolved(0.1, 30, minimum=5) == 5


def test_under_an_unknown_maximum_twice_of_it_is_never_sent():
    assert sent(50, 48, CHEAP, hpa_maximum=UNKNOWN, maximum=50) == 48.0
    assert sent(50, 30, hpa_maximum=UNKNOWN, maximum=50) == 50.0


def test_under_a_tighter_maximum_of_ours_an_overshoot_that_breaks_it_is_not_sent():
    assert sent(50, 48, DEAR, maximum=50) == 48.0
    assert sent(49, 45, DEAR, maximum=50) == 50.0


def test_above_a_tighter_minimum_of_ours_the_count_itself_is_sent():
    assert sent(5, 8, minimum=5, hpa_minimum=1) == pytest.approx(4.1)
    assert resolved(4.1, 8, minimum=1) == 5


def test_an_overshoot_past_the_hpas_own_maximum_is_clamped_there():
    assert sent(21, 20, DEAR, maximum=22, hpa_maximum=22) == 23.0
    assert resolved(23.0, 20, maximum=22) == 22


def test_zero_is_sent_when_inactive_and_only_then():
    assert sent(0, 3, active=False) == 0.0
    assert sent(50, 20, active=False) == 0.0
    assert sent(0, 3, active=True, minimum=0) == 0.1
    assert sent(1, 1, active=True) == 0.1


@given(
    wanted=st.integers(1, 200),
    replicas=st.integers(1, 200),
    price=st.floats(4.0, 999.0),
    tolerance=st.sampled_from([0.0, 0.02, 0.05, 0.1, 0.2, 0.5]),
    forced=st.integers(0, 220),
    bounds=st.tuples(st.integers(1, 30), st.integers(30, 250)),
)
def test_the_hpa_does_what_was_decided_wherever_it_can(wanted, replicas, price, tolerance, forced, bounds):
    minimum, maximum = bounds
    wanted, replicas = (min(max(n, minimum), maximum) for n in (wanted, replicas))
    own = {"minimum": minimum, "maximum": maximum, "hpa_minimum": minimum, "hpa_maximum": maximum}
    value = sent(wanted, replicas, price, forced=forced, tolerance=tolerance, **own)
    final = resolved(value, replicas, tolerance, minimum, maximum)
    assert value > 0
    kept = forced == replicas and (1 - tolerance) * replicas + 1e-6 < wanted < replicas and wanted > minimum
    if kept and tolerance > 0:
        assert final == replicas
    elif _reachable(wanted, replicas, tolerance, minimum, maximum):
        assert final == wanted
    elif wanted > replicas:
        smallest = min(int(np.floor((1 + tolerance) * replicas + 1e-9)) + 1, maximum)
        worth = price * (wanted - replicas) > smallest - wanted
        assert final == (smallest if worth else replicas)
    else:
        assert final == replicas


def _reachable(wanted, replicas, tolerance, minimum, maximum) -> bool:
    """Whether KEDA.md §6 a–e know a value that sets `wanted` exactly."""
    if tolerance == 0 or wanted in {replicas, maximum, minimum}:
        return True
    if wanted > replicas:
        return wanted > (1 + tolerance) * replicas + 1e-9
    return wanted - 0.9 < (1 - tolerance) * replicas - 1e-9


@given(
    wanted=st.integers(0, 300),
    replicas=st.integers(0, 300),
    price=st.floats(0.001, 999.0),
    tolerance=st.sampled_from([0.0, 0.1, 0.3, 0.9]),
    forced=st.integers(0, 300),
    ours=st.tuples(st.integers(0, 40), st.integers(40, 120)),
    own=st.sampled_from([(UNKNOWN, UNKNOWN), (1, 500), (20, 80), (1, 100)]),
)
def test_never_out_of_bounds_and_never_zero_while_active(wanted, replicas, price, tolerance, forced, ours, own):
    read = own[0] != UNKNOWN
    minimum = max(ours[0], own[0]) if read else ours[0]
    maximum = max(min(ours[1], own[1]), minimum) if read else ours[1]
    wanted = min(max(wanted, minimum), maximum)
    columns = {"minimum": minimum, "maximum": maximum, "hpa_minimum": own[0], "hpa_maximum": own[1]}
    value = sent(wanted, replicas, price, forced=forced, tolerance=tolerance, **columns)
    assert value > 0
    assert np.isfinite(value)
    if replicas:
        real = own if read else (1, UNBOUNDED)
        final = resolved(value, replicas, tolerance, *real)
        assert max(minimum, 1) <= final <= maximum or final == min(max(replicas, real[0]), real[1])


def reversals(trace: list[int]) -> int:
    moves = [b - a for a, b in pairwise(trace) if b != a]
    return sum(was * became < 0 for was, became in pairwise(moves))


def driven(wanted: list[int], tolerance: float, price: float, *, encoded: bool) -> list[int]:
    """Replicas of an HPA without stabilization that is told `wanted`, one sync after the other."""
    rules, state = hpa_rules(tolerance, 1, 200), hpa_state((1,))
    fleet = some_fleet(minimum=1, maximum=200, hpa_minimum=1, hpa_maximum=200, tolerance=tolerance)
    replicas, band, trace = counts(wanted[0]), initial_state(1), []
    for n in wanted:
        value = loads(n)
        if encoded:
            value, band = encode(counts(n), replicas, np.array([True]), loads(price), fleet, band)
        replicas, state = step(value, replicas, rules, state)
        trace.append(int(replicas[0]))
    return trace


@given(
    per_replica=st.integers(1, 12),
    rest=st.integers(0, 8),
    price=st.floats(4.0, 999.0),
    tolerance=st.sampled_from([0.05, 0.1, 0.2]),
)
def test_a_ramp_up_and_down_reverses_no_more_often_than_with_plain_counts(per_replica, rest, price, tolerance):
    up = [n for n in range(40, 61) for _ in range(per_replica)]
    wanted = up + [60] * rest + up[::-1]
    plain = driven(wanted, tolerance, price, encoded=False)
    ours = driven(wanted, tolerance, price, encoded=True)
    assert reversals(ours) <= max(reversals(plain), 1)


def test_a_smooth_ramp_is_followed_up_and_down_with_one_reversal():
    wanted = [*range(40, 61), *range(60, 39, -1)]
    ours = driven(wanted, 0.1, 32.0, encoded=True)
    assert reversals(ours) == reversals(driven(wanted, 0.1, 32.0, encoded=False)) == 1
    assert all(replicas >= n for replicas, n in zip(ours, wanted, strict=True))


def test_plain_counts_leave_the_same_ramp_short():
    wanted = [*range(40, 61), *range(60, 39, -1)]
    plain = driven(wanted, 0.1, 32.0, encoded=False)
    assert any(replicas < n for replicas, n in zip(plain, wanted, strict=True))


def test_rows_do_not_see_each_other():
    fleet = some_fleet(3, hpa_minimum=1, hpa_maximum=100)
    wanted, replicas = counts(9, 21, 100), counts(10, 20, 95)
    value, _ = encode(wanted, replicas, np.full(3, True), np.full(3, DEAR), fleet, initial_state(3))
    assert value.tolist() == [sent(9, 10), sent(21, 20), sent(100, 95)]


@given(
    wanted=st.integers(1, 120),
    replicas=st.integers(1, 100),
    up=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    down=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    price=st.sampled_from([DEAR, CHEAP]),
)
def test_what_the_hpa_will_make_of_a_value_is_known_beforehand(wanted, replicas, up, down, price):
    columns = {"hpa_minimum": 1, "hpa_maximum": 100, "tolerance": up, "tolerance_down": down}
    value = sent(min(wanted, 100), replicas, price=price, **columns)
    rules = replace(hpa_rules(up, 1, 100), tolerance_down=loads(down))
    does, _ = step(loads(value), counts(replicas), rules, hpa_state((1,)))
    assert reached(loads(value), counts(replicas), some_fleet(**columns))[0] == does[0]


def test_tolerances_that_differ_count_each_their_way():
    assert sent(21, 20, tolerance=0.0, tolerance_down=0.3) == 21.0
    value = sent(19, 20, price=CHEAP, tolerance=0.0, tolerance_down=0.3)
    assert reached(loads(value), counts(20), some_fleet(tolerance=0.0, tolerance_down=0.3))[0] == 20


@pytest.mark.parametrize(
    ("wanted", "grows", "shrinks", "kept"),
    [(30, False, True, 20), (10, True, False, 20), (30, True, False, 30), (10, False, True, 10)],
)
def test_an_hpa_whose_scaling_is_paused_one_way_goes_the_other_only(wanted, grows, shrinks, kept):
    columns = {"grows": grows, "shrinks": shrinks}
    assert reached(loads(float(wanted)), counts(20), some_fleet(**columns))[0] == kept
    assert sent(wanted, 20, **columns) == sent(wanted, 20)


def test_nobody_can_say_what_the_hpa_does_on_unknown_replicas():
    assert reached(loads(7.0), counts(UNKNOWN), some_fleet())[0] == UNKNOWN
