"""What the agent sees, and how far its moves go."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import drift
from forecasting.forecast import FloatArray
from scaler.core import learned
from scaler.core.domain import Forecasts, Kind, Observations, Workload, Workloads, columns_of
from scaler.core.learned import ABOVE, BEYOND, HOLD, LARGEST, MOVES, OBSERVATION, Learned

CAPACITY = 10.0


def fleet(n: int = 1, *, queue: bool = False) -> Workloads:
    one = Workload(
        "a", "b", "0", threshold=7.0, capacity=CAPACITY, kind=Kind.QUEUE if queue else Kind.RATE, latency_target_s=0.5
    )
    return columns_of([one] * n)


def seen(
    load: float = 80.0,
    ready: int = 10,
    feedback: tuple[float, float, float, float] = (np.nan,) * 4,
    arrivals: float = np.nan,
    n: int = 1,
) -> Observations:
    def column(value: float) -> FloatArray:
        return np.full(n, value)

    return Observations(
        t_s=600.0,
        step_s=15.0,
        load=column(load),
        arrivals=column(arrivals),
        stale_s=column(0.0),
        history_s=column(1e6),
        replicas=np.full(n, ready),
        ready=np.full(n, ready),
        feedback=np.tile(np.array(feedback), (n, 1)),
        doubt=np.zeros(n, np.int64),
    )


def forecasts(n: int = 1, scale: float = 1.0) -> Forecasts:
    peak = np.tile(scale * np.array([90.0, 100.0, 105.0, 110.0, 115.0]), (n, 1))
    ones = np.ones(n, np.int64)
    return Forecasts(peak, peak, np.full(n, 1e9), ones, ones > 0, drift.no_drift(n))


def after(
    ticks: int, what: Observations, state: Learned | None = None, *, queue: bool = False, scale: float = 1.0
) -> Learned:
    state = learned.initial_state(1) if state is None else state
    for _ in range(ticks):
        state = learned.remember(what, forecasts(scale=scale), fleet(queue=queue), state)
    return state


def column(name: str, vector: FloatArray) -> float:
    return float(vector[0, OBSERVATION.index(name)])


def encoded(what: Observations, state: Learned, scale: float = 1.0) -> FloatArray:
    return learned.encode(what, forecasts(scale=scale), np.array([11]), np.array([30.0]), fleet(), state)


def test_the_first_move_is_to_hold() -> None:
    assert MOVES[HOLD].log_factor == 0.0
    assert MOVES[HOLD].replicas == 0


def test_an_observation_has_a_name_for_every_column() -> None:
    assert encoded(seen(), after(1, seen())).shape == (1, len(OBSERVATION))
    assert len(set(OBSERVATION)) == len(OBSERVATION)


def test_what_is_absent_is_0_beside_its_flag() -> None:
    vector = encoded(seen(), after(50, seen()))
    for name in ("cpu", "memory", "latency", "age"):
        assert column(f"{name} present", vector) == 0.0
    for name in ("cpu", "memory", "use 5 min", "use 60 min", "latency 1 min", "borne", "failed", "age"):
        assert column(name, vector) == 0.0


def test_an_observation_knows_no_units() -> None:
    def scaled(by: float) -> FloatArray:
        what = seen(load=80.0 * by, feedback=(0.6, 0.5, 0.3, 0.0))
        of = replace(fleet(), capacity=np.array([CAPACITY * by]))
        said = forecasts(scale=by)
        state = learned.initial_state(1)
        for _ in range(20):
            state = learned.remember(what, said, of, state)
        return learned.encode(what, said, np.array([11]), np.array([30.0]), of, state)

    assert scaled(1.0) == pytest.approx(scaled(1e-6))


def test_cpu_per_load_tells_what_a_replica_bears() -> None:
    # Eighty per cent busy at half of the stated capacity: it bears less than stated.
    low = encoded(seen(load=50.0), after(400, seen(load=50.0, feedback=(0.8, 0.5, np.nan, np.nan))))
    true = encoded(seen(load=50.0), after(400, seen(load=50.0, feedback=(0.4, 0.5, np.nan, np.nan))))
    assert column("use 60 min", true) == pytest.approx(0.0, abs=1e-9)
    assert column("use 60 min", low) == pytest.approx(-learned.FINE * np.log(2.0))


def test_a_row_is_the_same_alone_and_among_many_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    what = replace(seen(n=100), load=rng.uniform(1.0, 200.0, 100), feedback=rng.uniform(0.1, 1.0, (100, 4)))
    state = learned.remember(what, forecasts(100), fleet(100), learned.initial_state(100))
    together = learned.encode(what, forecasts(100), np.full(100, 9), np.full(100, 30.0), fleet(100), state)
    one = replace(seen(), load=what.load[40:41], feedback=what.feedback[40:41])
    alone = learned.remember(one, forecasts(), fleet(), learned.initial_state(1))
    vector = learned.encode(one, forecasts(), np.array([9]), np.array([30.0]), fleet(), alone)
    assert np.array_equal(vector[0], together[40])


def test_a_belief_goes_below_the_stated_need_only_as_far_as_replicas_were_seen_to_bear() -> None:
    less = next(i for i, move in enumerate(MOVES) if move.log_factor == -0.1)
    blind = after(10, seen(load=120.0))
    for _ in range(9):
        blind = learned.moved(np.array([less]), fleet(), blind)
    assert blind.factor[0] == 0.0
    shown = after(10, seen(load=120.0, feedback=(0.7, 0.5, 0.4, np.nan)), scale=2.0)
    for _ in range(9):
        shown = learned.moved(np.array([less]), fleet(), shown)
    assert -shown.factor[0] == pytest.approx(np.log(1.2) + BEYOND, abs=0.01)


def test_a_late_answer_takes_back_what_was_seen_to_be_borne() -> None:
    state = after(10, seen(load=120.0, feedback=(0.7, 0.5, 0.4, np.nan)))
    state = after(1, seen(load=110.0, feedback=(0.9, 0.5, 0.9, np.nan)), state)
    assert state.borne[0] == pytest.approx(np.log(1.1))
    assert state.failed[0] == pytest.approx(np.log(1.1))


def test_a_queue_with_a_backlog_shows_what_its_replicas_clear() -> None:
    state = after(1, seen(load=9000.0, arrivals=100.0, feedback=(np.nan, np.nan, 60.0, 9000.0)), queue=True)
    # 100 messages arrive per second, the depth falls by 20: ten replicas clear 12 each, of 10 that were stated.
    state = after(1, seen(load=8700.0, arrivals=100.0, feedback=(np.nan, np.nan, 60.0, 8700.0)), state, queue=True)
    assert state.borne[0] == pytest.approx(np.log(1.2), abs=0.01)
    assert state.failed[0] == pytest.approx(np.log(1.2), abs=0.01)


def test_a_need_is_never_stretched_beyond_the_limit() -> None:
    more = next(i for i, move in enumerate(MOVES) if move.log_factor == 0.3)
    state = learned.initial_state(1)
    for _ in range(10):
        state = learned.moved(np.array([more]), fleet(), state)
    assert state.factor[0] == LARGEST


def test_holding_leaves_the_forecasts_own_need() -> None:
    state = learned.moved(np.array([HOLD]), fleet(), learned.initial_state(1))
    price, none = np.array([30.0]), np.zeros(1)
    own = learned.need_range(forecasts(), seen(), price, fleet(), learned.initial_state(1), none)
    held = learned.need_range(forecasts(), seen(), price, learned.believed(fleet(), state), state, none)
    assert [need.tolist() for need in held] == [need.tolist() for need in own]


def test_a_replica_for_a_minute_is_gone_with_the_next_move() -> None:
    extra = next(i for i, move in enumerate(MOVES) if move.replicas == 2)
    state = learned.moved(np.array([extra]), fleet(), learned.initial_state(1))
    assert state.extra[0] == 2
    assert learned.moved(np.array([HOLD]), fleet(), state).extra[0] == 0


def test_a_forecast_that_lies_below_the_load_for_minutes_is_raised_to_it() -> None:
    low = forecasts(scale=0.5)
    state = after(120, seen(load=80.0), scale=0.5)
    raised = learned.raised(low, learned.missed(fleet(), state))
    assert raised.peak[0, 0] == pytest.approx(80.0 * np.exp(ABOVE), rel=0.03)
    assert raised.peak / low.peak == pytest.approx(np.full((1, 5), raised.peak[0, 0] / low.peak[0, 0]))


def test_a_forecast_that_was_too_low_for_hours_is_raised_beyond_its_first_hit() -> None:
    missed = after(480, seen(load=160.0), scale=0.5)
    falls = after(60, seen(load=40.0), missed, scale=0.5)
    spared = after(1920, seen(load=40.0), missed, scale=0.5)
    assert learned.missed(fleet(), falls)[0] > 0.5
    assert learned.missed(fleet(), spared)[0] == 0.0


def test_where_forecasts_missed_a_fifth_more_is_kept_than_is_worth_buying() -> None:
    price, state = np.array([30.0]), learned.initial_state(1)
    # Without a peak there is no spread either: what is worth buying is what is worth keeping.
    flat = replace(forecasts(), peak=np.full((1, 5), 200.0))
    ranges = [learned.need_range(flat, seen(), price, fleet(), state, np.array([by])) for by in (0.0, 0.1, 0.5)]
    assert [(int(low[0]), int(high[0])) for low, high in ranges] == [(20, 20), (20, 22), (20, 24)]


def test_where_forecasts_miss_less_may_be_taken_away() -> None:
    # Replicas bear what is stated by far; an agent that takes away all it may is limited by what forecasts missed.
    serving = seen(load=150.0, ready=10, feedback=(0.7, 0.5, 0.3, np.nan))
    least = next(i for i, move in enumerate(MOVES) if move.log_factor == -0.1)
    reached = []
    for scale in (2.0, 1.3, 0.8):
        state = learned.initial_state(1)
        for _ in range(120):
            state = learned.remember(serving, forecasts(scale=scale), fleet(), state)
            state = learned.moved(np.array([least]), fleet(), state)
        reached.append(float(state.factor[0]))
    assert reached[0] == pytest.approx(-np.log(1.5) - BEYOND, abs=0.01)
    assert reached[0] < reached[1] < reached[2]
    assert reached[2] == 0.0


def test_an_honest_forecast_and_one_of_a_queue_are_left_as_they_are() -> None:
    honest = forecasts()
    assert learned.raised(honest, learned.missed(fleet(), after(120, seen()))) is honest
    low = forecasts(scale=0.5)
    waiting = after(120, seen(arrivals=80.0), queue=True, scale=0.5)
    assert learned.raised(low, learned.missed(fleet(queue=True), waiting)) is low
