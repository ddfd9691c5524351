"""The price of a short replica: what moves it, how far, and what must not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from scaler.core import price
from tests.fakes import counts, loads, some_fleet

START = math.log(0.97 / 0.03)
MINUTE_S = 60.0


def after(state, t_s, samples, needs, fleet) -> price.PriceState:
    """State after a minute of samples, (N,) or (N, B), at whose end the needs are as they are."""
    for sample in samples:
        state = price.met(state, loads(*np.atleast_1d(sample)))
    return price.step(state, needs, fleet, t_s, MINUTE_S)


def fed(n_minutes, load=100.0, proposal=10, state=None, begin_s=0.0, **columns) -> price.PriceState:
    """State after n minutes of one load and one proposal; capacity 10, lead window of two minutes.

    The reactive rule has ten replicas for it unless the threshold says otherwise.
    """
    fleet = some_fleet(**{"h": 2, "threshold": 10.0, **columns})
    state = state or price.initial_state(1, 15.0)
    for minute in range(n_minutes):
        needs = counts(proposal), counts(proposal)
        state = after(state, begin_s + MINUTE_S * (minute + 1), [load] * 4, needs, fleet)
    return state


def queue(n_minutes, **columns) -> price.PriceState:
    """Of a queue, for which no load floor lifts a proposal that is too low, and no rule is known."""
    return fed(n_minutes, queue=True, **columns)


def test_it_starts_at_the_level_097():
    state = price.initial_state(1, 15.0)
    assert price.level_of(price.price_of(state))[0] == pytest.approx(0.97)
    assert price.price_of(state)[0] == pytest.approx(32.333, abs=1e-3)


def test_a_short_share_of_one_half_moves_it_by_what_is_worked_out_by_hand():
    # First minute: nothing was asked for yet, so nothing counts as short. Second: 5 replicas bear 50 of 100.
    # Share 100 / 200; target 0 + 0.3 points; 0.25 · (0.5 − 0.003).
    state = queue(2, proposal=5)
    assert state.log_price[0] - START == pytest.approx(0.25 * (0.5 - 0.003))
    assert (state.load[0], state.short[0]) == (0.0, 0.0)


def test_it_falls_slowly_without_shortage():
    assert fed(2).log_price[0] - START == pytest.approx(-0.25 * 0.003)
    assert fed(20).log_price[0] - START == pytest.approx(-10 * 0.25 * 0.003)


def test_it_moves_only_at_the_end_of_a_lead_window():
    assert queue(1, proposal=0).log_price[0] == START
    assert queue(3, proposal=5).log_price[0] == queue(2, proposal=5).log_price[0]


def test_lead_windows_end_by_the_clock_whenever_somebody_began_to_count():
    assert queue(1, proposal=5, begin_s=MINUTE_S).log_price[0] < START
    assert queue(2, proposal=5, begin_s=MINUTE_S).log_price[0] == queue(1, proposal=5, begin_s=MINUTE_S).log_price[0]


def test_a_replica_serves_only_if_each_proposal_of_the_lead_window_asked_for_it():
    state, fleet, short = price.initial_state(1, 15.0), some_fleet(h=3, queue=True), []
    for minute, proposal in enumerate([10, 10, 5, 5, 10, 10, 10]):
        state = after(state, MINUTE_S * (minute + 1), [100.0], (counts(proposal), counts(proposal)), fleet)
        short.append(float(state.short[0]))
    # The 5 of the third minute is held back for one; that of the fourth limits the fifth to seventh. Each window of
    # three is closed and starts at 0.
    assert short == [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 100.0]


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([100.0] * 4, 1.0),
        ([40.0] * 4, 0.0),
        # Evenly between 30 and 90: 50 are exceeded in two thirds.
        ([30.0, 50.0, 70.0, 90.0], 2 / 3),
        # Taken to lie between 0 and 60, of which a sixth exceeds 50; but a sample is a quarter of the load.
        ([30.0, 20.0, 10.0, 60.0], 1 / 4),
        ([60.0, 80.0, 70.0, 90.0], 1.0),
    ],
)
def test_samples_that_a_mean_hides_are_told_by_the_maximum(samples, share):
    fleet = some_fleet(h=3, queue=True)
    state = price.initial_state(1, 15.0)
    for minute in (1, 2, 3):
        state = after(state, minute * MINUTE_S, [40.0], (counts(5), counts(5)), fleet)
    state = after(state, 4 * MINUTE_S, samples, (counts(5), counts(5)), fleet)
    assert state.short[0] / sum(samples) == pytest.approx(share)


def test_the_reactive_rules_own_shortage_widens_the_target():
    # At a threshold above capacity it runs 8 replicas where 10 are needed.
    assert price.target_shortage(fed(40, threshold=12.5), some_fleet())[0] == pytest.approx(0.01)
    assert price.target_shortage(fed(40), some_fleet())[0] == pytest.approx(price.MARGIN)


def test_the_reactive_rule_sees_every_sample():
    fleet, state = some_fleet(threshold=10.0), price.initial_state(1, 15.0)
    state = after(state, MINUTE_S, [100.0, 100.0, 100.0, 180.0], (counts(10), counts(10)), fleet)
    assert state.alone[0, 0] == 18


def test_a_stated_slo_is_used_as_it_is():
    state = fed(40, threshold=12.5)
    assert price.target_shortage(state, some_fleet(slo=0.95))[0] == pytest.approx(0.05)
    assert fed(2, slo=0.95).log_price[0] - START == pytest.approx(-0.25 * 0.05)


def test_it_stays_between_the_levels_08_and_0999():
    dear, cheap = queue(400, proposal=0), fed(4000, slo=0.5)
    assert price.level_of(price.price_of(dear))[0] == pytest.approx(0.999)
    assert price.level_of(price.price_of(cheap))[0] == pytest.approx(0.8)


def test_without_a_forecast_or_a_sample_nothing_is_learnt():
    state = queue(3, proposal=5)
    for frozen in (queue(50, proposal=-1, state=state), queue(50, load=np.nan, proposal=5, state=state)):
        assert price.price_of(frozen) == pytest.approx(price.price_of(queue(4, load=np.nan, proposal=5, state=state)))
        for name in ("proposals", "wants"):
            assert np.array_equal(getattr(frozen, name), getattr(state, name)), name


def test_no_load_is_no_evidence():
    assert queue(50, load=0.0, proposal=0).log_price[0] == START


def test_rows_do_not_see_each_other():
    fleet = some_fleet(3, h=np.array([1, 2, 5]), queue=True)
    state = price.initial_state(3, 15.0)
    for minute in range(10):
        needs = counts(5, 9, 12), counts(5, 9, 12)
        state = after(state, MINUTE_S * (minute + 1), [np.full(3, 100.0)] * 4, needs, fleet)
    for row, (h, proposal) in enumerate([(1, 5), (2, 9), (5, 12)]):
        assert queue(10, proposal=proposal, h=h).log_price[0] == state.log_price[row]


def test_a_lead_window_longer_than_the_memory_ends_with_the_memory():
    state = queue(60, proposal=5, h=500)
    assert state.log_price[0] > START


def test_a_proposal_is_never_below_the_load_now_and_is_held_as_the_decision_is():
    fleet, state = some_fleet(h=12), price.initial_state(1, 15.0)
    for minute, load in enumerate((200.0, 100.0, 100.0, 100.0, 100.0)):
        state = after(state, MINUTE_S * (minute + 1), [load], (counts(5), counts(5)), fleet)
    assert state.proposals[0, :5].tolist() == [10, 20, 20, 20, 20]


def test_a_virtual_count_stays_between_what_is_worth_buying_and_what_is_worth_keeping():
    fleet, state = some_fleet(), price.initial_state(1, 15.0)
    for minute, (low, high) in enumerate(((10, 14), (8, 12), (13, 15), (5, 6), (5, 6))):
        state = after(state, MINUTE_S * (minute + 1), [10.0], (counts(low), counts(high)), fleet)
    assert state.proposals[0, :5].tolist() == [6, 14, 14, 14, 14]


def test_windows_count_by_their_share_of_the_load():
    state = fed(200, proposal=20, h=1, slo=0.5)
    assert state.log_price[0] == price.LOWEST
    state = replace(state, log_price=np.array([4.0]))
    state = fed(1, load=10.0, proposal=20, h=1, slo=0.5, state=state)
    assert state.log_price[0] - 4.0 == pytest.approx(-0.25 * 0.5 * 10.0 / 99.7, rel=0.01)


def test_a_bucket_ends_with_the_first_sample_at_or_after_its_stamp():
    assert [price.ends_bucket(t_s, 15.0) for t_s in (105.0, 120.0, 135.0)] == [False, True, False]
    assert [price.ends_bucket(t_s, 25.0) for t_s in (100.0, 125.0, 150.0)] == [False, True, False]
    assert price.ends_bucket(300.0, 300.0)
    assert price.in_buckets(some_fleet(h=9), 15.0).h.tolist() == [3]
    assert price.in_buckets(some_fleet(h=9), 300.0).h.tolist() == [9]
