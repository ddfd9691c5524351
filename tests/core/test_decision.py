"""The whole decision: laws that hold for every input, and the record of a few worked out by hand."""

import os
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.drift import Part
from forecasting.forecast import LEVELS
from scaler.core import hpa
from scaler.core.decision import State, decide, initial_state
from scaler.core.domain import UNKNOWN, Decisions, Forecasts, Mode, Observations, Workloads, take
from scaler.core.guardrails import NAMES
from scaler.core.trust import Cause, TrustRules
from tests.fakes import WEDNESDAY_S, counts, few, some_fleet, some_forecasts, some_observations

RULES = TrustRules()
AMONG = 500
"""Neighbours of a workload in the batch that must not matter."""


def random_fleet(rng: np.random.Generator, n: int) -> Workloads:
    low = rng.integers(0, 10, n)
    high = low + rng.integers(1, 60, n)
    own = rng.random(n) < 0.5
    return some_fleet(
        n,
        threshold=np.exp(rng.normal(3, 2, n)),
        capacity=np.exp(rng.normal(3, 2, n)),
        queue=rng.random(n) < 0.3,
        capacity_known=rng.random(n) < 0.8,
        activation=np.where(rng.random(n) < 0.5, 0.0, rng.exponential(5, n)),
        slo=np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0.9, 0.999, n)),
        h=rng.integers(1, 30, n),
        lead_s=rng.uniform(15, 600, n),
        tolerance=rng.choice([0.0, 0.1, 0.3], n),
        minimum=low,
        maximum=high,
        hpa_minimum=np.where(own, np.maximum(low, 1), UNKNOWN),
        hpa_maximum=np.where(own, high, UNKNOWN),
        latency_target_s=np.where(rng.random(n) < 0.5, np.nan, rng.uniform(0.1, 120, n)),
        shadow=rng.random(n) < 0.2,
        replica_hours=np.where(rng.random(n) < 0.7, np.inf, rng.exponential(200, n)),
        override=np.where(rng.random(n) < 0.9, UNKNOWN, rng.integers(0, 90, n)),
    )


def random_sight(rng: np.random.Generator, n: int, t_s: float) -> tuple[Observations, Forecasts]:
    missing = rng.random(n) < 0.2
    load = np.where(rng.random(n) < 0.1, 0.0, np.exp(rng.normal(5, 3, n)))
    replicas = np.where(rng.random(n) < 0.2, UNKNOWN, rng.integers(0, 80, n))
    quantiles = np.sort(np.exp(rng.normal(5, 3, (n, 1)) + rng.normal(0, 0.5, (n, len(LEVELS)))), axis=1)
    quantiles[rng.random(n) < 0.2] = np.nan
    seen = some_observations(
        n,
        t_s=t_s,
        load=np.where(missing, np.nan, load),
        arrivals=np.where(rng.random(n) < 0.5, np.nan, load / 15),
        stale_s=np.where(missing, rng.choice([15.0, 60.0, 900.0, np.inf], n), 0.0),
        history_s=rng.choice([0.0, 3e4, 1e5, 1e6], n),
        replicas=replicas,
        ready=np.where(replicas < 0, UNKNOWN, rng.integers(0, 80, n)),
        doubt=np.where(rng.random(n) < 0.8, 0, rng.integers(0, 4, n)),
    )
    fitted = rng.choice([0, int(t_s - 3600), int(t_s - 4 * 86_400)], n)
    drifted = rng.random((n, len(Part))) ** 30
    return seen, Forecasts(quantiles, quantiles, 1.5 * quantiles[:, -1], fitted, rng.random(n) < 0.7, drifted)


def lived(rng: np.random.Generator, n: int, n_ticks: int) -> tuple[Workloads, list[tuple[Observations, Forecasts]]]:
    return random_fleet(rng, n), [random_sight(rng, n, WEDNESDAY_S + 15 * tick) for tick in range(n_ticks)]


def decided(fleet: Workloads, sights: list[tuple[Observations, Forecasts]]) -> tuple[list[Decisions], State]:
    state, made = initial_state(len(fleet.h), 15.0), []
    for seen, forecasts in sights:
        decisions, state = decide(seen, forecasts, fleet, state, RULES)
        made.append(decisions)
    return made, state


def assert_same(one: object, other: object) -> None:
    """The same bits in every column, nested ones included."""
    for field in fields(one):  # type: ignore[arg-type]
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert a.tobytes() == b.tobytes(), field.name
        elif hasattr(a, "__slots__"):
            assert_same(a, b)
        else:
            assert a == b, field.name


@given(st.integers(0, 2**32))
def test_every_decision_is_finite_and_within_its_bounds(seed):
    fleet, sights = lived(np.random.default_rng(seed), 40, 6)
    for made in decided(fleet, sights)[0]:
        least = np.where(made.active, np.maximum(fleet.minimum, np.minimum(1, fleet.maximum)), fleet.minimum)
        assert (made.predicted_replicas >= least).all()
        assert (made.predicted_replicas <= fleet.maximum).all()
        assert np.isfinite(made.value).all()
        assert ((made.value > 0) == made.active).all()
        assert ((made.level >= np.where(fleet.queue, 0.5, 0.8) - 1e-12) & (made.level <= 0.999 + 1e-12)).all()
        assert ((made.earned >= 0) & (made.earned <= 1)).all()
        assert (made.reactive >= 0).all()
        assert (made.reactive_alone >= 1).all()
        confidence = made.confidence
        assert (np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1))).all()


@pytest.mark.parametrize("n_cases", [1_000_000 if os.environ.get("FORESAIL_EVIDENCE") == "1" else 20_000])
def test_no_decision_of_a_million_leaves_its_bounds(n_cases):
    n, ticks = 2000, 10
    for seed in range(n_cases // (n * ticks)):
        fleet, sights = lived(np.random.default_rng([seed, 5]), n, ticks)
        for made in decided(fleet, sights)[0]:
            assert (made.predicted_replicas >= fleet.minimum).all()
            assert (made.predicted_replicas <= fleet.maximum).all()
            assert np.isfinite(made.value).all()


@given(st.integers(0, 2**32))
def test_the_same_input_gives_the_same_bits(seed):
    fleet, sights = lived(np.random.default_rng(seed), 30, 4)
    for one, other in zip(*(decided(fleet, sights) for _ in range(2)), strict=True):
        for made, again in zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]:
            assert_same(made, again)


@given(st.integers(0, 2**32))
@few(10)
def test_a_workload_alone_and_among_others_gets_the_same_decision(seed):
    rng = np.random.default_rng(seed)
    fleet, sights = lived(rng, AMONG + 1, 5)
    row = int(rng.integers(AMONG + 1))
    at = slice(row, row + 1)
    together, state = decided(fleet, sights)
    alone, state_alone = decided(take(fleet, at), [(take(seen, at), take(said, at)) for seen, said in sights])
    for of_all, of_one in zip(together, alone, strict=True):
        assert_same(take(of_all, at), of_one)
    assert_same(take(state, at), state_alone)


@given(st.integers(0, 2**32))
@few(10)
def test_every_row_alone_gets_what_it_gets_in_the_batch(seed):
    fleet, sights = lived(np.random.default_rng(seed), 25, 3)
    together, _ = decided(fleet, sights)
    for row in range(25):
        at = slice(row, row + 1)
        alone, _ = decided(take(fleet, at), [(take(seen, at), take(said, at)) for seen, said in sights])
        for of_all, of_one in zip(together, alone, strict=True):
            assert_same(take(of_all, at), of_one)


@given(st.integers(0, 2**32), st.integers(0, 2**32))
@few(10)
def test_the_order_of_the_rows_does_not_matter(seed, shuffle):
    fleet, sights = lived(np.random.default_rng(seed), 60, 3)
    order = np.random.default_rng(shuffle).permutation(60)
    together, _ = decided(fleet, sights)
    shuffled, _ = decided(take(fleet, order), [(take(seen, order), take(said, order)) for seen, said in sights])
    for of_all, of_shuffled in zip(together, shuffled, strict=True):
        assert_same(take(of_all, order), of_shuffled)


def one(seen=None, forecasts=None, state=None, **columns) -> tuple[Decisions, State]:
    return decide(
        seen or some_observations(),
        forecasts or some_forecasts(),
        some_fleet(**columns),
        state or initial_state(1, 15.0),
        RULES,
    )


def test_a_trusted_forecast_above_the_load_is_served():
    made, _ = one(forecasts=some_forecasts(peak=180.0))
    assert (made.reactive[0], made.predictive[0], made.proposal[0], made.predicted_replicas[0]) == (10, 18, 18, 18)
    assert (made.mode[0], made.earned[0], made.value[0]) == (Mode.RECOVERY, 1.0, 18.0)
    assert made.guarded.tolist() == [[18] * len(NAMES)]


def test_a_forecast_below_the_load_ends_at_the_load_floor():
    made, _ = one(forecasts=some_forecasts(peak=50.0))
    assert (made.predictive[0], made.proposal[0], made.predicted_replicas[0]) == (5, 5, 10)


def test_in_shadow_the_reactive_answer_is_served_and_the_forecast_recorded():
    made, _ = one(forecasts=some_forecasts(peak=180.0), shadow=True)
    assert (made.predictive[0], made.predicted_replicas[0]) == (18, 10)


@pytest.mark.parametrize(
    ("pinned", "seen", "mode", "replicas"),
    [
        (Mode.DEGRADED, {"load": 100.0}, Mode.DEGRADED, 10),
        (Mode.NORMAL, {"load": 100.0, "history_s": 7 * 3600.0}, Mode.NORMAL, 18),
        (Mode.NORMAL, {"load": np.nan, "stale_s": 120.0}, Mode.HOLDING, 18),
    ],
)
def test_a_mode_fixed_by_hand_counts_and_a_silence_is_still_held(pinned, seen, mode, replicas):
    made, after = one(some_observations(**seen), some_forecasts(peak=180.0), pinned=int(pinned))
    assert (made.mode[0], made.predicted_replicas[0]) == (mode, replicas)
    assert (made.cause[0] == Cause.PINNED) == (mode == pinned)
    free, state = one(some_observations(**seen), some_forecasts(peak=180.0))
    assert after.trust.mode[0] == state.trust.mode[0] == free.mode[0]


def test_the_yardstick_runs_on_its_own_replicas():
    state = initial_state(1, 15.0)
    for _ in range(3):
        made, state = one(seen=some_observations(load=600.0, replicas=10), state=state)
    # The observed replicas never followed: 10 may double. Its own did: 20, 40, 60.
    assert (made.reactive[0], made.reactive_alone[0]) == (20, 60)


def test_with_unknown_replicas_it_goes_on_from_its_own_decisions():
    seen = some_observations(replicas=UNKNOWN, ready=UNKNOWN)
    made, state = one(seen=seen, forecasts=some_forecasts(peak=180.0))
    assert (made.replicas[0], made.value[0]) == (UNKNOWN, 18.0)
    seen = some_observations(load=900.0, replicas=UNKNOWN, ready=UNKNOWN)
    made, _ = one(seen=seen, forecasts=some_forecasts(peak=180.0), state=state)
    assert made.reactive[0] == 36


@pytest.mark.parametrize(("stale_s", "mode"), [(60.0, Mode.HOLDING), (600.0, Mode.FAILED)])
def test_a_stale_workload_holds(stale_s, mode):
    _, state = one(forecasts=some_forecasts(peak=180.0))
    made, _ = one(
        seen=some_observations(load=np.nan, stale_s=stale_s), forecasts=some_forecasts(peak=50.0), state=state
    )
    assert (made.mode[0], made.predicted_replicas[0]) == (mode, 18)


def quiet_for(n_ticks: int, peak: float | list[float] = 0.0, **columns) -> list[bool]:
    state, active = initial_state(1, 15.0), []
    for _ in range(n_ticks):
        made, state = one(seen=some_observations(load=0.0), forecasts=some_forecasts(peak=peak), state=state, **columns)
        active.append(bool(made.active[0]))
    return active


def test_it_turns_inactive_after_a_whole_lead_window_without_load():
    assert quiet_for(6, h=4) == [True, True, True, False, False, False]


def test_a_likely_load_keeps_it_active():
    # P(peak > 0) ≥ 0.2 is read at the level 0.8, three fifths of the way from the median to the level 0.9.
    assert all(quiet_for(10, peak=[0.0, 1.0, 2.0, 3.0, 4.0], h=4))
    assert not quiet_for(10, peak=[0.0, 0.0, 2.0, 3.0, 4.0], h=4)[-1]


def test_load_activates_at_once():
    state = initial_state(1, 15.0)
    for _ in range(6):
        made, state = one(seen=some_observations(load=0.0), forecasts=some_forecasts(peak=0.0), state=state)
    assert not made.active[0]
    made, state = one(seen=some_observations(load=0.5), forecasts=some_forecasts(peak=0.0), state=state)
    assert made.active[0]
    made, _ = one(seen=some_observations(load=0.5), forecasts=some_forecasts(peak=0.0), state=state, activation=1.0)
    assert made.active[0], "a first quiet step is not yet a quiet lead window"


def test_missing_samples_leave_the_activity_as_it_stands():
    state = initial_state(1, 15.0)
    for _ in range(3):
        made, state = one(seen=some_observations(load=0.0), forecasts=some_forecasts(peak=0.0), state=state)
    for _ in range(20):
        seen = some_observations(load=np.nan, stale_s=30.0)
        made, state = one(seen=seen, forecasts=some_forecasts(peak=np.nan), state=state)
        assert made.active[0]


def test_an_inactive_workload_is_sent_zero_and_its_smallest_count():
    state = initial_state(1, 15.0)
    for _ in range(8):
        seen = some_observations(load=0.0, replicas=1)
        made, state = one(seen=seen, forecasts=some_forecasts(peak=0.0), state=state, minimum=0)
    assert (made.active[0], made.value[0], made.predicted_replicas[0]) == (False, 0.0, 0)


def test_confidence_is_the_probability_that_the_decided_replicas_suffice():
    spread = np.array([[100.0, 150.0, 200.0, 250.0, 300.0]])
    made, _ = one(seen=some_observations(load=100.0), forecasts=some_forecasts(peak=spread))
    decided_load = float(made.predicted_replicas[0] * 10)
    # Ten run; the level at which a replica is worth buying, 0.915, reads 155.
    assert decided_load == 160.0
    assert 0.90 < made.confidence[0] < 0.95


def test_a_queue_is_priced_by_its_arrivals():
    seen = some_observations(t_s=WEDNESDAY_S + 15.0, load=500.0, arrivals=80.0, replicas=10, ready=10)
    made, state = one(seen=seen, queue=True, latency_target_s=60.0, lead_s=60.0)
    assert state.price.bucket.total[0] == 80.0
    # (500 + (100 − 100) · 60) / 45 = 11.1 beside half of 100: 7 are worth keeping. The floor is the reactive rule's 20.
    assert (made.predictive[0], made.reactive[0], made.predicted_replicas[0]) == (7, 20, 20)


def test_counts_are_whole_numbers():
    made, _ = one()
    assert made.predicted_replicas.dtype == counts(1).dtype


@given(
    loads=st.lists(st.floats(0.0, 3000.0), min_size=1, max_size=8),
    tolerance=st.sampled_from([0.0, 0.1]),
    low=st.integers(1, 5),
)
def test_an_hpa_that_is_told_what_was_decided_bears_the_load_within_its_bounds(loads, tolerance, low):
    own = {"minimum": low, "maximum": 200, "hpa_minimum": low, "hpa_maximum": 200, "tolerance": tolerance}
    rules = hpa.HpaRules(
        target=np.array([1.0]),
        tolerance_up=np.array([tolerance]),
        tolerance_down=np.array([tolerance]),
        minimum=counts(low),
        maximum=counts(200),
        up=hpa.policy(1000, 0.0, 15.0, 0.0),
        down=hpa.policy(0, 100.0, 15.0, 0.0),
        with_behavior=np.array([True]),
    )
    state, hpa_state, replicas = initial_state(1, 15.0), hpa.initial_state((1,)), counts(low)
    for load in np.repeat(loads, 8):
        seen = some_observations(load=load, replicas=replicas[0], ready=replicas[0])
        made, state = one(seen=seen, forecasts=some_forecasts(peak=load), state=state, **own)
        replicas, hpa_state = hpa.step(made.value, replicas, rules, hpa_state)
        assert low <= replicas[0] <= 200
        # At most what the band hides where forcing it would cost more than it is worth.
        needed = min(-(-load // 10), 200)
        assert replicas[0] >= min(needed, needed / (1 + tolerance))
