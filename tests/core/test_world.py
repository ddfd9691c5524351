"""The agent's world: deterministic, honest about what is seen, and as hard as it says."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting.forecast import FloatArray, IntArray
from scaler.core.simulator.draws import (
    Fault,
    Foretold,
    Histories,
    Ranges,
    drawn_of,
    faulty,
    forecast_rows,
    log_ability,
)
from scaler.core.simulator.imagined import imagined
from scaler.core.simulator.load import peak_ahead
from scaler.core.simulator.world import ClusterWorld, Episode, reward

RANGES = Ranges(steps=240, lost=0.0, faults=0.0)
TRUE = replace(RANGES, known=1.0)


def histories(days: float = 0.5) -> Histories:
    rng = np.random.default_rng(0)
    return Histories.of([imagined(f"load {i}", days, rng, queue=i == 2) for i in range(3)])


def run(ranges: Ranges = RANGES, n: int = 24, seed: int = 1, action: int = 0) -> tuple[Episode, FloatArray, FloatArray]:
    """The last state, rewards (T, B) and observations (T, B, O) of an episode with one action throughout."""
    world, rng = ClusterWorld(histories(), ranges, n), np.random.default_rng(seed)
    state, rewards, observed, ended = world.initial(rng), [], [], False
    while not ended:
        observed.append(world.observe(state))
        state, gained, over = world.advance(state, np.full(n, action), rng)
        rewards.append(gained)
        ended = bool(over.all())
    return state, np.array(rewards), np.array(observed)


def test_the_same_generator_gives_the_same_episode() -> None:
    first, again, other = run(seed=3), run(seed=3), run(seed=4)
    assert np.array_equal(first[1], again[1])
    assert np.array_equal(first[2], again[2])
    assert not np.array_equal(first[1], other[1])


def test_observations_are_finite_bounded_and_tell_worlds_apart() -> None:
    _, _, observed = run()
    assert np.isfinite(observed).all()
    assert np.abs(observed).max() <= 3.0
    assert (observed.std(axis=(0, 1)) > 0).mean() > 0.8


def test_an_episode_lasts_as_long_as_it_says_and_stays_inside_its_history() -> None:
    state, rewards, _ = run()
    assert len(rewards) == RANGES.steps // 4
    ends = histories().first + histories().length
    assert (state.draw.at + RANGES.steps <= ends[state.draw.history]).all()


def test_hidden_capacity_stays_within_what_it_may_be_wrong_by() -> None:
    rng = np.random.default_rng(5)
    draw = drawn_of(histories(), replace(RANGES, known=0.3, deploys=1.0, cpu=1.0), np.zeros(500, np.int64), rng)
    share = np.exp([log_ability(draw, step) for step in range(0, 240, 20)])
    assert share.min() >= 0.6 - 1e-9
    assert share.max() <= 1.4 + 1e-9
    assert (np.ptp(share, axis=0) == 0).mean() == pytest.approx(0.3, abs=0.06)


def test_shortage_follows_the_true_capacity_and_not_the_stated_one() -> None:
    kept = run(TRUE)[0]
    world, rng = ClusterWorld(histories(), TRUE, 24), np.random.default_rng(1)
    draw = world.initial(np.random.default_rng(1)).draw
    weak = replace(draw, wrong=np.full(24, np.log(0.6)), widest=np.full(24, 0.4))
    state, rng = world.begin(weak, rng), np.random.default_rng(2)
    short = load = 0.0
    for _ in range(50):
        state, _, _ = world.advance(state, np.zeros(24, np.int64), rng)
        short, load = short + state.minute.short.sum(), load + state.minute.load.sum()
    assert short > 0.2 * load
    assert kept.minute.short.sum() < 0.1 * kept.minute.load.sum()


def test_more_replicas_cost_more_and_leave_less_short() -> None:
    more = 5
    cheap, dear = run(TRUE), run(TRUE, action=more)
    assert dear[0].minute.billed.sum() > 1.3 * cheap[0].minute.billed.sum()
    assert dear[0].minute.short.sum() <= cheap[0].minute.short.sum()


def test_a_reward_is_minus_surplus_shortage_and_changes_by_hand() -> None:
    state = run(TRUE)[0]
    draw = replace(state.draw, price=np.full(24, 100.0))
    minute = replace(state.minute, changes=np.arange(24) % 5)
    by_hand = (minute.billed * draw.capacity - minute.load + 10.0 * minute.deficit) / (4.0 * draw.mean)
    assert reward(minute, draw) == pytest.approx(-(by_hand + np.where(draw.queue, 0, minute.changes)) / 4.0)


@pytest.mark.parametrize(("waiting", "became", "waited", "age_s"), [(25, 1.0, 0.25, 375.0), (20, 0.0, 0.0, 300.0)])
def test_messages_are_late_once_and_cost_while_they_wait_on(
    waiting: int, became: float, waited: float, age_s: float
) -> None:
    """One message a second comes, and as many seconds' are left as `waiting` steps have; 20 steps are wanted."""
    steady = np.ones(2000, np.float32)
    one = Foretold("steady", 300.0, True, steady, np.ones((2000, 5), np.float32), 3.0 * steady)
    world = ClusterWorld(Histories.of([one]), Ranges(steps=200, patience=(1.0, 1.0)), 1)
    state = world.initial(np.random.default_rng(0))
    state.step = 50
    state.served = replace(state.served, backlog=np.array([15.0 * waiting]))
    assert [float(part[0]) for part in world.overdue(state)] == pytest.approx([became, waited])
    assert [float(part[0]) for part in world.cleared(state)] == pytest.approx([51.0 - waiting, age_s])


def test_a_change_of_the_count_counts_once_however_large() -> None:
    changed = np.concatenate([run(TRUE, action=action)[0].minute.changes for action in (0, 4)])
    assert changed.max() <= 4.0
    assert np.array_equal(changed, np.round(changed))


@pytest.mark.parametrize(
    ("fault", "factor"), [(Fault.NONE, 1.0), (Fault.BIAS, float(np.exp(0.3))), (Fault.DROPPED, 0.5)]
)
def test_a_faulty_forecast_is_wrong_by_what_it_says(fault: Fault, factor: float) -> None:
    draw = drawn_of(histories(), RANGES, np.zeros(4, np.int64), np.random.default_rng(0))
    draw = replace(draw, fault=np.full(4, fault), bias=np.full(4, 0.3), usual=np.full(4, 5.0))
    assert faulty(np.full((4, 5), 10.0), draw, 0) == pytest.approx(np.full((4, 5), 10.0 * factor))


def test_a_fault_begins_when_it_is_drawn_to() -> None:
    draw = drawn_of(histories(), RANGES, np.zeros(4, np.int64), np.random.default_rng(0))
    late = replace(draw, fault=np.full(4, Fault.DELAY), delay=np.full(4, 20), since=np.full(4, 100))
    assert np.array_equal(forecast_rows(late, 99), draw.at + 99 - draw.lag)
    assert np.array_equal(forecast_rows(late, 100), draw.at + 80 - draw.lag)
    low = replace(late, fault=np.full(4, Fault.BIAS), bias=np.full(4, -1.0))
    honest = np.full((4, 5), 10.0)
    assert np.array_equal(faulty(honest, low, 99), honest)
    assert faulty(honest, low, 100) == pytest.approx(honest * np.exp(-1.0))


def test_only_those_with_an_agent_have_their_forecasts_raised() -> None:
    world, n = ClusterWorld(histories(), TRUE, 12), 12
    draw = drawn_of(histories(), TRUE, np.arange(n) % 2, np.random.default_rng(0))
    low = replace(draw, fault=np.full(n, Fault.BIAS), bias=np.full(n, -0.4), price=np.full(n, 50.0))
    twice = replace(low, **{name: np.concatenate([getattr(low, name)] * 2) for name in low.__slots__})
    rng, short = np.random.default_rng(1), np.zeros(2 * n)
    state = world.begin(twice, rng)
    state.fixed = np.repeat([0.0, np.nan], n)
    for _ in range(59):
        world.pass_minute(state, rng)
        short += state.minute.short / state.draw.mean
    assert short[n:].sum() < 0.9 * short[:n].sum()


def test_twins_meet_the_same_chance() -> None:
    world = ClusterWorld(histories(), RANGES, 2)
    draw = drawn_of(histories(), RANGES, np.zeros(2, np.int64), np.random.default_rng(0))
    both = replace(draw, **{name: np.repeat(getattr(draw, name)[:1], 2, axis=0) for name in draw.__slots__})
    rng = np.random.default_rng(1)
    state = world.begin(both, rng)
    for _ in range(20):
        state, gained, _ = world.advance(state, np.zeros(2, np.int64), rng)
        assert gained[0] == gained[1]


def test_imagined_forecasts_are_as_good_as_they_claim() -> None:
    covered = []
    for seed in range(8):
        one = imagined("load", 4.0, np.random.default_rng(seed), queue=False)
        peak = peak_ahead(one.value.astype(np.float64), round(one.lead_s / 15.0) + 1)
        covered.append(np.nanmean(peak[:, None] <= one.peak, axis=0))
    mean = np.mean(covered, axis=0)
    assert mean[0] == pytest.approx(0.5, abs=0.03)
    assert mean[1] == pytest.approx(0.9, abs=0.02)
    assert mean[3] == pytest.approx(0.985, abs=0.008)


def test_parts_of_a_history_do_not_overlap() -> None:
    value: IntArray = np.arange(100)
    whole = Foretold("x", 60.0, False, value.astype(np.float32), np.zeros((100, 5), np.float32), value)
    assert whole.part(0.0, 0.45).value[-1] < whole.part(0.45, 0.6).value[0]
    assert whole.part(0.6, 1.0).value[-1] == 99


def test_a_rate_of_which_nothing_is_read_bears_what_is_stated() -> None:
    some, unread = histories(), replace(RANGES, known=0.0, deploys=1.0, cpu=0.0)
    draw = drawn_of(some, unread, np.arange(300) % 3, np.random.default_rng(5))
    off = np.array([log_ability(draw, step) != 0.0 for step in (0, 120, 239)])
    assert not off[:, ~draw.queue].any()
    assert off[:, draw.queue].all()  # what a queue clears tells what is borne
    read = drawn_of(some, replace(unread, cpu=1.0), np.arange(300) % 3, np.random.default_rng(5))
    assert (log_ability(read, 0) != 0.0).all()
