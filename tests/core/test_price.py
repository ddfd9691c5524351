"""The price of a short replica: what moves it, how far, and what must not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from scaler.core import price
from tests.fakes import counts, loads, some_fleet

ALWAYS = np.array([True])
START = math.log(0.97 / 0.03)


def fed(n_steps, load=100.0, proposal=10, alone=10, learning=True, state=None, **columns) -> price.PriceState:
    """State after n steps of one load and one proposal; capacity 10, lead window 2.

    Of a queue, for which no load floor lifts a proposal that is too low.
    """
    fleet = some_fleet(**{"h": 2, "queue": True, **columns})
    state = state or price.initial_state(1, 15.0)
    for _ in range(n_steps):
        state = price.step(
            state,
            loads(load),
            (counts(proposal), counts(proposal)),
            counts(alone),
            fleet,
            np.array([learning], dtype=np.bool_),
        )
    return state


def test_it_starts_at_the_level_097():
    state = price.initial_state(1, 15.0)
    assert price.level_of(price.price_of(state))[0] == pytest.approx(0.97)
    assert price.price_of(state)[0] == pytest.approx(32.333, abs=1e-3)


def test_a_short_share_of_one_half_moves_it_by_what_is_worked_out_by_hand():
    # First step: nothing was asked for yet, so nothing counts as short. Second: 5 replicas bear 50 of 100.
    # Share 100 / 200; target 0 + 0.3 points; 0.25 · (0.5 − 0.003).
    state = fed(2, proposal=5)
    assert state.log_price[0] - START == pytest.approx(0.25 * (0.5 - 0.003))
    assert (state.load[0], state.short[0], state.seen[0]) == (0.0, 0.0, 0)


def test_it_falls_slowly_without_shortage():
    assert fed(2).log_price[0] - START == pytest.approx(-0.25 * 0.003)
    assert fed(20).log_price[0] - START == pytest.approx(-10 * 0.25 * 0.003)


def test_it_moves_only_at_the_end_of_a_lead_window():
    assert fed(1, proposal=0).log_price[0] == START
    assert fed(3, proposal=5).log_price[0] == fed(2, proposal=5).log_price[0]


def test_a_replica_serves_only_if_each_proposal_of_the_lead_window_asked_for_it():
    state, fleet, short = price.initial_state(1, 15.0), some_fleet(h=3, queue=True), []
    for proposal in [10, 10, 5, 5, 10, 10, 10]:
        before = float(state.reactive_load[0])
        state = price.step(state, loads(100.0), (counts(proposal), counts(proposal)), counts(10), fleet, ALWAYS)
        short.append(float(state.short[0]))
        assert state.reactive_load[0] > before * 0.99
    # The 5 of the third step is held back for one step; that of the fourth limits the fifth to seventh. Each window of
    # three is closed and starts at 0.
    assert short == [0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 100.0]


def test_the_reactive_rules_own_shortage_widens_the_target():
    state = fed(40, alone=9)
    assert price.target_shortage(state, some_fleet())[0] == pytest.approx(0.01)
    assert price.target_shortage(fed(40, alone=10), some_fleet())[0] == pytest.approx(price.MARGIN)


def test_a_stated_slo_is_used_as_it_is():
    assert price.target_shortage(fed(40, alone=9), some_fleet(slo=0.95))[0] == pytest.approx(0.05)
    assert fed(2, slo=0.95).log_price[0] - START == pytest.approx(-0.25 * 0.05)


def test_it_stays_between_the_levels_08_and_0999():
    dear, cheap = fed(400, proposal=0), fed(4000, slo=0.5)
    assert price.level_of(price.price_of(dear))[0] == pytest.approx(0.999)
    assert price.level_of(price.price_of(cheap))[0] == pytest.approx(0.8)


def test_without_a_forecast_or_a_sample_it_is_frozen():
    state = fed(3, proposal=5)
    for frozen in (
        fed(50, proposal=-1, learning=False, state=state),
        fed(50, load=np.nan, learning=False, state=state),
    ):
        for name in price.PriceState.__slots__:
            assert np.array_equal(getattr(frozen, name), getattr(state, name)), name


def test_no_load_is_no_evidence():
    assert fed(50, load=0.0, proposal=0).log_price[0] == START


def test_rows_do_not_see_each_other():
    fleet = some_fleet(3, h=np.array([1, 2, 5]), queue=True)
    state = price.initial_state(3, 15.0)
    for _ in range(10):
        state = price.step(
            state, np.full(3, 100.0), (counts(5, 9, 12), counts(5, 9, 12)), counts(9, 9, 9), fleet, np.full(3, True)
        )
    for row, (h, proposal) in enumerate([(1, 5), (2, 9), (5, 12)]):
        alone = fed(10, proposal=proposal, alone=9, h=h)
        assert alone.log_price[0] == state.log_price[row]


def test_what_a_replay_learnt_is_adopted_and_the_window_under_way_goes_on():
    live, learnt = fed(3, proposal=5), fed(100, proposal=5)
    after = price.adopted(live, learnt)
    assert after.log_price[0] == learnt.log_price[0]
    assert after.reactive_load[0] == learnt.reactive_load[0]
    assert (after.seen[0], after.load[0]) == (live.seen[0], live.load[0])
    assert np.array_equal(after.proposals, live.proposals)


def test_a_lead_window_longer_than_the_memory_ends_with_the_memory():
    state = fed(60, proposal=5, h=500, state=price.initial_state(1, 60.0))
    assert state.log_price[0] > START


def test_a_proposal_is_never_below_the_load_now_and_is_held_as_the_decision_is():
    fleet, state = some_fleet(h=12), price.initial_state(1, 15.0)
    for load in (200.0, 100.0, 100.0, 100.0, 100.0):
        state = price.step(state, loads(load), (counts(5), counts(5)), counts(10), fleet, ALWAYS)
    assert state.proposals[0, :5].tolist() == [10, 20, 20, 20, 20]


def test_a_virtual_count_stays_between_what_is_worth_buying_and_what_is_worth_keeping():
    fleet, state = some_fleet(), price.initial_state(1, 15.0)
    for low, high in ((10, 14), (8, 12), (13, 15), (5, 6), (5, 6)):
        state = price.step(state, loads(10.0), (counts(low), counts(high)), counts(10), fleet, ALWAYS)
    assert state.proposals[0, :5].tolist() == [6, 14, 14, 14, 14]


def test_windows_count_by_their_share_of_the_load():
    fleet, state = some_fleet(h=1, slo=0.5), price.initial_state(1, 15.0)
    for _ in range(200):
        state = price.step(state, loads(100.0), (counts(20), counts(20)), counts(20), fleet, ALWAYS)
    before = state.log_price[0]
    state = replace(state, log_price=np.array([4.0]))
    state = price.step(state, loads(10.0), (counts(20), counts(20)), counts(20), fleet, ALWAYS)
    assert before == price.LOWEST
    assert state.log_price[0] - 4.0 == pytest.approx(-0.25 * 0.5 * 10.0 / 99.7, rel=0.01)
