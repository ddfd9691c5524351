"""Strange samples: what is accepted of them, what the history keeps, what they are called."""

import numpy as np
import pytest

from scaler.core import plausibility
from scaler.core.domain import UNKNOWN
from scaler.core.plausibility import Doubt, Situation, accept, corroborated, initial_state, remembered
from tests.fakes import DAY_S, history_of, seasonal_load, some_fleet

STEP_S = 15.0
WEEK = Situation(np.array([10]), np.array([7 * DAY_S]), np.array([False]))
FLEET = some_fleet()
NOISE = 100.0 * np.exp(0.05 * np.random.default_rng(0).standard_normal(400))


def lived(samples, situation=WEEK, fleet=FLEET, state=None, step_s=STEP_S):
    """What was made of each sample, as (accepted, kept, doubt)."""
    state, made = initial_state(1) if state is None else state, []
    for sample in samples:
        accepted, state = accept(np.array([sample], dtype=float), situation, fleet, state, step_s)
        made.append((float(accepted.load[0]), float(accepted.kept[0]), Doubt(accepted.doubt[0])))
    return made, state


KNOWN = lived(NOISE)[1]


def test_ordinary_loads_pass_as_they_are():
    made, _ = lived(NOISE)
    assert [load for load, _, _ in made] == NOISE.tolist()
    assert [kept for _, kept, _ in made] == NOISE.tolist()
    assert {doubt for _, _, doubt in made} == {Doubt.NONE}


@pytest.mark.parametrize(
    ("factor", "doubt"),
    [(2.0, Doubt.NONE), (3.0, Doubt.NONE), (7.0, Doubt.JUMP), (10.0, Doubt.UNIT), (1000.0, Doubt.UNIT)],
)
def test_a_jump_beyond_all_that_was_seen_is_named(factor, doubt):
    (made,), _ = lived([NOISE[-1] * factor], state=KNOWN)
    assert made[2] is doubt


def test_an_implausible_jump_buys_the_hpas_own_growth_and_is_not_kept():
    (made,), _ = lived([1e6], state=KNOWN)
    assert made[0] == 20 * FLEET.threshold[0]  # from 10 replicas to 20 within one sync
    assert np.isnan(made[1])
    few = Situation(np.array([2]), WEEK.history_s, WEEK.corroborated)
    (made,), _ = lived([1e6], few, state=KNOWN)
    assert made[0] == 6 * FLEET.threshold[0]


def test_without_a_replica_count_it_is_not_limited_but_named():
    blind = Situation(np.array([UNKNOWN]), WEEK.history_s, WEEK.corroborated)
    (made,), _ = lived([1e6], blind, state=KNOWN)
    assert made[0] == 1e6
    assert made[2] is not Doubt.NONE


def test_a_jump_that_lasts_is_believed_after_a_quarter_of_an_hour():
    made, _ = lived([700.0 + n % 7 for n in range(160)], state=KNOWN)
    doubts = [doubt for _, _, doubt in made]
    assert set(doubts[:120]) == {Doubt.JUMP}
    assert set(doubts[120:]) == {Doubt.NONE}
    assert np.isnan([kept for _, kept, _ in made[:60]]).all()
    assert [kept for _, kept, _ in made[60:]] == [700.0 + n % 7 for n in range(60, 160)]


def test_a_jump_that_ends_leaves_nothing_behind():
    _, after = lived([5000.0 + n for n in range(20)], state=KNOWN)
    assert after.largest[0] == pytest.approx(KNOWN.largest[0], rel=1e-3)
    (made,), _ = lived([2000.0], state=lived([100.0], state=after)[1])
    assert made[2] is Doubt.JUMP


def test_another_signal_corroborates():
    (made,), _ = lived([1e6], Situation(WEEK.replicas, WEEK.history_s, np.array([True])), state=KNOWN)
    assert made == (1e6, 1e6, Doubt.NONE)


@pytest.mark.parametrize(
    ("feedback", "found"),
    [
        ([np.nan, np.nan, np.nan, np.nan], False),
        ([0.79, 0.5, 0.1, 5.0], False),
        ([0.8, np.nan, np.nan, np.nan], True),
        ([np.nan, 0.9, np.nan, np.nan], True),
        ([np.nan, np.nan, 0.3, np.nan], True),
    ],
)
def test_what_corroborates(feedback, found):
    assert corroborated(np.array([feedback]), some_fleet(latency_target_s=0.2)).tolist() == [found]


def test_a_young_history_a_queue_and_a_handful_of_replicas_are_not_doubted():
    young = Situation(WEEK.replicas, np.array([3600.0]), WEEK.corroborated)
    assert lived([1e6], young, state=KNOWN)[0][0][2] is Doubt.NONE
    assert lived([1e6], fleet=some_fleet(queue=True), state=KNOWN)[0][0][2] is Doubt.NONE
    low = lived(np.full(50, 0.5) + 0.01 * NOISE[:50])[1]
    assert lived([40.0], state=low)[0][0][2] is Doubt.NONE
    assert lived([1e6])[0][0][2] is Doubt.NONE


def test_a_frozen_sensor_counts_as_missing_until_it_moves():
    made, _ = lived([100.0] * 60 + [101.0], state=KNOWN)
    assert [doubt for _, _, doubt in made[:40]] == [Doubt.NONE] * 40
    assert {doubt for _, _, doubt in made[40:60]} == {Doubt.FROZEN}
    assert np.isnan([load for load, _, _ in made[40:60]]).all()
    assert made[60] == (101.0, 101.0, Doubt.NONE)


@pytest.mark.parametrize("step_s", [15.0, 60.0])
def test_it_takes_ten_minutes_and_twenty_samples(step_s):
    made, _ = lived([100.0] * 60, state=KNOWN, step_s=step_s)
    assert [doubt for _, _, doubt in made].index(Doubt.FROZEN) == max(600 / step_s, 20)


def test_what_is_constant_rests_or_often_repeats_is_not_frozen():
    assert {doubt for _, _, doubt in lived([100.0] * 2000)[0]} == {Doubt.NONE}
    assert {doubt for _, _, doubt in lived([0.0] * 2000, state=KNOWN)[0]} == {Doubt.NONE}
    coarse = [100.0 + 10 * (n // 30 % 2) for n in range(6000)]
    _, used_to_it = lived(coarse)
    assert {doubt for _, _, doubt in lived([100.0] * 80, state=used_to_it)[0]} == {Doubt.NONE}


def test_a_gap_neither_freezes_nor_forgets():
    made, _ = lived([100.0] * 30 + [np.nan] * 20 + [100.0] * 15, state=KNOWN)
    assert [doubt for _, _, doubt in made[:50]] == [Doubt.NONE] * 50
    assert made[-1][2] is Doubt.FROZEN


def test_a_history_that_was_read_counts_as_seen():
    history = history_of(seasonal_load(), 3 * DAY_S)
    state = remembered(history, initial_state(1))
    assert 250 < state.largest[0] < 400
    assert state.changes[0] > plausibility.VARIED
    assert lived([5000.0], state=state)[0][0][2] is not Doubt.NONE
    nothing = remembered(history_of(seasonal_load(), 0.0), initial_state(1))
    assert nothing.largest[0] == nothing.changes[0] == nothing.usual[0] == 0


def test_a_workload_alone_and_among_others_is_judged_alike():
    rng = np.random.default_rng(1)
    load = np.where(rng.random((50, 20)) < 0.1, 1e5, rng.uniform(50, 150, (50, 20)))
    fleet, state, alone = some_fleet(20), initial_state(20), initial_state(1)
    many = Situation(np.full(20, 10), np.full(20, DAY_S), np.zeros(20, bool))
    one = Situation(np.full(1, 10), np.full(1, DAY_S), np.zeros(1, bool))
    for tick in range(50):
        together, state = accept(load[tick], many, fleet, state, STEP_S)
        by_itself, alone = accept(load[tick, 7:8], one, FLEET, alone, STEP_S)
        assert together.load[7:8].tobytes() == by_itself.load.tobytes()
        assert together.doubt[7] == by_itself.doubt[0]
