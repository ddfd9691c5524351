"""The HPA's rule, against numbers worked out by hand and cases measured on a real KEDA (KEDA.md §6)."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.core.hpa import DEFAULT_DOWN, DEFAULT_UP, HpaRules, HpaState, initial_state, policy, proposal, step
from tests.fakes import counts, loads

WIDE = (100_000, 0.0, 15.0, 0.0)
"""A policy that limits nothing."""


def rules(
    tolerance=0.1,
    minimum=1,
    maximum=1000,
    up=DEFAULT_UP,
    down=DEFAULT_DOWN,
    target=1.0,
    with_behavior=True,
) -> HpaRules:
    return HpaRules(
        target=loads(target),
        tolerance_up=loads(tolerance),
        tolerance_down=loads(tolerance),
        minimum=counts(minimum),
        maximum=counts(maximum),
        up=policy(*up),
        down=policy(*down),
        with_behavior=np.array([with_behavior]),
    )


def run(values, start, hpa_rules, state=None, sync_s=15.0) -> list[int]:
    """Replicas after each sync."""
    replicas, state = counts(start), state or initial_state((1,), sync_s)
    history = []
    for value in values:
        replicas, state = step(loads(value), replicas, hpa_rules, state, sync_s)
        history.append(int(replicas[0]))
    return history


@pytest.mark.parametrize(
    ("replicas", "value", "result"),
    [
        (1, 7, 7),
        (9, 10, 10),  # measured: 1.111 is outside of the band
        (10, 11, 10),  # measured: 1.1 is inside, the end counts
        (10, 12, 12),  # measured
        (10, 9, 10),  # measured: 0.9 is inside, the end counts
        (9, 8, 8),
        (20, 22, 20),  # measured: stays for good
        (20, 18, 20),  # measured
        (20, 22.001, 23),  # measured: a thousandth past the band, and then the ceiling
        (20, 17.999, 18),
        (10, 8.1, 9),  # measured
        (20, 17.1, 18),  # measured: the low end of the ceiling's interval
        (18, 16.1, 17),  # KEDA.md: one down works up to 18 …
        (19, 17.1, 19),  # … and not from 19: 17.1 / 19 is 0.9
        (30, 33, 30),
        (30, 27, 30),
        (30, 34, 34),
        (5, 0, 0),
    ],
)
def test_the_band_includes_both_ends_and_what_leaves_it_is_rounded_up(replicas, value, result):
    assert proposal(loads(value), counts(replicas), rules())[0] == result


@pytest.mark.parametrize(("replicas", "value"), [(10, 11), (20, 21), (20, 19), (40, 41), (40, 39)])
def test_without_tolerance_every_count_is_exact(replicas, value):
    assert proposal(loads(value), counts(replicas), rules(tolerance=0.0))[0] == value


def test_each_step_of_one_works_up_to_nine_replicas_and_no_further():
    up = [s for s in range(1, 60) if proposal(loads(s + 1), counts(s), rules())[0] == s + 1]
    down = [s for s in range(2, 60) if proposal(loads(s - 1), counts(s), rules())[0] == s - 1]
    assert up == list(range(1, 10))
    assert down == list(range(2, 10))


def test_the_target_divides_the_value():
    # 451 / 50 = 9.02, on 8 replicas 1.1275 of the target
    assert proposal(loads(451), counts(8), rules(target=50.0))[0] == 10
    assert proposal(loads(440), counts(8), rules(target=50.0))[0] == 8


@pytest.mark.parametrize(("value", "result"), [(7.0004, 7), (7.0006, 8), (6.9996, 7)])
def test_the_value_counts_in_thousandths(value, result):
    assert proposal(loads(value), counts(2), rules())[0] == result


def test_a_metric_that_could_not_be_read_changes_nothing():
    assert proposal(loads(np.nan), counts(7), rules())[0] == 7
    assert run([np.nan, np.nan], 7, rules()) == [7, 7]


def test_a_value_beyond_all_counts_is_clamped_at_the_maximum():
    assert run([1e290] * 12, 10, rules(maximum=500))[-1] == 500


def test_upper_and_lower_tolerance_are_their_own():
    lopsided = HpaRules(
        target=loads(1.0),
        tolerance_up=loads(0.0),
        tolerance_down=loads(0.5),
        minimum=counts(1),
        maximum=counts(100),
        up=policy(*DEFAULT_UP),
        down=policy(*DEFAULT_DOWN),
        with_behavior=np.array([True]),
    )
    assert proposal(loads(11), counts(10), lopsided)[0] == 11
    assert proposal(loads(5), counts(10), lopsided)[0] == 10
    assert proposal(loads(4.9), counts(10), lopsided)[0] == 5


def test_a_scale_up_by_default_doubles_or_adds_four_each_sync():
    # Policies of 4 pods and 100 % per 15 s, the larger one: 1 + 4, then doubled.
    assert run([40] * 6, 1, rules()) == [5, 10, 20, 40, 40, 40]


def test_without_behavior_one_to_forty_takes_five_syncs():
    # KEDA.md §6: 1-4-8-16-32-40, that is max(2·S, 4).
    assert run([40] * 6, 1, rules(with_behavior=False)) == [4, 8, 16, 32, 40, 40]


def test_changes_inside_the_period_count_against_the_policy():
    four_a_minute = rules(up=(4, 0.0, 60.0, 0.0))
    assert run([100] * 9, 10, four_a_minute) == [14, 14, 14, 14, 18, 18, 18, 18, 22]


def test_percent_is_of_the_replicas_at_the_start_of_the_period():
    half_a_minute = rules(up=(0, 50.0, 60.0, 0.0))
    assert run([100] * 5, 10, half_a_minute) == [15, 15, 15, 15, 23]


def test_the_larger_of_two_policies_counts():
    assert run([100], 3, rules(up=(4, 100.0, 15.0, 0.0))) == [7]
    assert run([100], 10, rules(up=(4, 100.0, 15.0, 0.0))) == [20]


def test_a_scale_down_policy_limits_what_leaves_per_period():
    two_a_minute = rules(down=(2, 0.0, 60.0, 0.0))
    assert run([1] * 5, 10, two_a_minute) == [8, 8, 8, 8, 6]
    a_tenth = rules(down=(0, 10.0, 15.0, 0.0))
    assert run([1, 1], 25, a_tenth) == [22, 19]  # 22.5 and 19.8, cut off


def test_a_scale_down_waits_until_the_whole_window_agrees():
    trace = run([20] + [5] * 22, 20, rules())
    assert trace[:20] == [20] * 20
    assert trace[20:] == [5, 5, 5]


def test_one_high_recommendation_renews_the_window():
    trace = run([20] + [5] * 10 + [20] + [5] * 21, 20, rules())
    assert trace[:31] == [20] * 31
    assert trace[31:] == [5, 5]


def test_the_count_found_at_the_first_sync_is_remembered_like_a_recommendation():
    assert run([5] * 21, 20, rules())[:20] == [20] * 20


def test_inside_the_window_it_falls_to_the_largest_recommendation():
    assert run([20, 12] + [5] * 22, 20, rules())[18:] == [20, 20, 12, 5, 5, 5]


def test_a_window_on_the_way_up_waits_for_the_smallest_recommendation():
    slow = rules(up=(*WIDE[:3], 60.0), down=WIDE)
    assert run([10, 20, 20, 20, 20, 20], 10, slow) == [10, 10, 10, 10, 20, 20]


@pytest.mark.parametrize("value", [0.0, 50.0, np.nan])
def test_counts_outside_of_the_bounds_are_put_right_without_asking_the_metric(value):
    assert run([value], 2, rules(minimum=5, maximum=9)) == [5]
    assert run([value], 30, rules(minimum=5, maximum=9)) == [9]


def test_bounds_clamp_what_the_metric_asks():
    assert run([50], 8, rules(minimum=5, maximum=9)) == [9]
    assert run([0], 8, rules(minimum=5, maximum=9, down=WIDE)) == [5]


def test_at_zero_replicas_scaling_is_disabled():
    assert run([50, 50], 0, rules(minimum=5)) == [0, 0]


def test_without_behavior_a_sync_at_most_doubles_from_four_on():
    assert run([100], 1, rules(with_behavior=False)) == [4]
    assert run([100], 3, rules(with_behavior=False)) == [6]


def test_without_behavior_the_down_window_raises_a_workload_that_comes_back_from_zero():
    # Measured: N = 14, KEDA sets 0, reactivated within five minutes with 9 asked: the HPA gives 14.
    old = rules(with_behavior=False)
    state = initial_state((1,))
    replicas, state = step(loads(14), counts(14), old, state)
    replicas, state = step(loads(0), counts(0), old, state)
    assert replicas[0] == 0
    assert run([9] * 3, 4, old, state) == [8, 14, 14]


def test_with_behavior_a_workload_that_comes_back_gets_what_it_asks():
    new = rules()
    state = initial_state((1,))
    _, state = step(loads(14), counts(14), new, state)
    _, state = step(loads(0), counts(0), new, state)
    assert run([9] * 3, 4, new, state) == [8, 9, 9]


def test_rows_do_not_see_each_other():
    values, replicas = loads(3, 22, 40), counts(9, 20, 40)
    together = proposal(values, replicas, rules())
    alone = [proposal(values[i : i + 1], replicas[i : i + 1], rules())[0] for i in range(3)]
    assert together.tolist() == alone == [3, 20, 40]


@given(
    start=st.integers(1, 60),
    values=st.lists(st.one_of(st.floats(0, 1e6), st.just(float("nan"))), min_size=1, max_size=40),
    minimum=st.integers(1, 10),
    span=st.integers(0, 60),
    with_behavior=st.booleans(),
)
def test_the_count_stays_within_its_bounds_and_never_jumps_past_its_policy(start, values, minimum, span, with_behavior):
    hpa_rules = rules(minimum=minimum, maximum=minimum + span, with_behavior=with_behavior)
    trace = run(values, start, hpa_rules)
    assert all(minimum <= n <= minimum + span for n in trace)
    for was, became in pairwise(trace):
        assert became <= max(2 * was, was + 4)


def test_what_is_remembered_keeps_its_shape():
    state = initial_state((2, 3))
    replicas = np.full((2, 3), 5)
    final, after = step(np.full((2, 1), 9.0), replicas, rules(), state)
    assert final.shape == (2, 3)
    assert isinstance(after, HpaState)
    assert after.recommendations.shape == state.recommendations.shape == (2, 3, 20)
