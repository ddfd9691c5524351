"""The agent in a decision: silent without a licence, in shadow until it has compared well, behind every guardrail."""

from dataclasses import replace

import numpy as np
import pytest

from forecasting import drift
from scaler.core.audition import LASTS_S, AuditionState, InForce, passed
from scaler.core.decision import State, decide, initial_state
from scaler.core.domain import UNKNOWN, Decisions, Forecasts, Mode, Observations, Workload, Workloads, columns_of
from scaler.core.learned import HOLD, MOVES, Licence
from scaler.core.trust import TrustRules
from tests.fakes import always

EVERYWHERE, NOWHERE = Licence(np.ones((2, 3), np.bool_)), Licence(np.zeros((2, 3), np.bool_))
LESS = next(index for index, move in enumerate(MOVES) if move.log_factor == -0.1)
MORE = next(index for index, move in enumerate(MOVES) if move.log_factor == 0.1)
NORMAL = np.array([int(Mode.NORMAL)])


def fleet() -> Workloads:
    one = Workload("a", "b", "0", threshold=7.0, capacity=10.0, latency_target_s=0.5, lead_s=60.0, max_replicas=100)
    return columns_of([one])


def tick(t_s: float, load: float = 80.0, replicas: int = 11, latency_s: float = 0.3) -> tuple[Observations, Forecasts]:
    seen = Observations(
        t_s=t_s,
        step_s=15.0,
        load=np.array([load]),
        arrivals=np.array([np.nan]),
        stale_s=np.zeros(1),
        history_s=np.array([1e6]),
        replicas=np.array([replicas]),
        ready=np.array([replicas]),
        feedback=np.array([[0.6, 0.5, latency_s, np.nan]]),
        doubt=np.zeros(1, np.int64),
    )
    peak = load * np.array([[1.125, 1.25, 1.3125, 1.375, 1.4375]])
    said = Forecasts(peak, peak, np.array([1e9]), np.array([1000]), np.array([True]), drift.no_drift(1))
    return seen, said


def auditioned(state: State, **changes: object) -> State:
    compared = replace(
        state.audition,
        lasted_s=np.array([LASTS_S]),
        load=np.array([1e6]),
        replicas=np.array([[1e6, 9e5]]),
        short=np.zeros((1, 2)),
    )
    return replace(state, audition=replace(compared, **changes))  # type: ignore[arg-type]


def after(
    ticks: int, in_force: InForce | None, state: State | None = None, load: float = 80.0, latency_s: float = 0.3
) -> tuple[Decisions, State]:
    state = initial_state(1, 15.0) if state is None else state
    made = None
    for index in range(ticks):
        # Trust is another test's matter: here the forecast is trusted all along.
        trusted = replace(state.trust, mode=NORMAL.copy())
        seen, said = tick(15.0 * (index + 1), load=load, latency_s=latency_s)
        pinned = replace(fleet(), pinned=NORMAL)
        made, state = decide(seen, said, pinned, replace(state, trust=trusted), TrustRules(), in_force)
    assert made is not None
    return made, state


def test_without_an_agent_nothing_is_said() -> None:
    made, _ = after(20, None)
    assert made.learned[0] == UNKNOWN
    assert not made.acting[0]


def test_an_agent_in_shadow_is_recorded_and_changes_nothing() -> None:
    plain, _ = after(40, None)
    made, _ = after(40, InForce((always(MORE), None), EVERYWHERE, acts=False), auditioned(initial_state(1, 15.0)))
    assert made.learned[0] > plain.predictive[0]
    assert made.predicted_replicas[0] == plain.predicted_replicas[0]
    assert made.value[0] == plain.value[0]
    assert not made.acting[0]


def test_an_agent_that_compared_well_acts_and_the_forecasts_own_need_stays_on_record() -> None:
    plain, _ = after(40, None)
    made, _ = after(40, InForce((always(MORE), None), EVERYWHERE, acts=True), auditioned(initial_state(1, 15.0)))
    assert made.acting[0]
    assert made.predicted_replicas[0] > plain.predicted_replicas[0]
    assert made.predictive[0] == plain.predictive[0]
    assert made.capacity[0] == plain.capacity[0]


def test_where_it_did_not_pass_its_gate_it_has_no_word() -> None:
    made, state = after(40, InForce((always(MORE), None), NOWHERE, acts=True), auditioned(initial_state(1, 15.0)))
    assert made.learned[0] == UNKNOWN
    assert not made.acting[0]
    assert state.audition.learned.factor[0] == 0.0


@pytest.mark.parametrize(
    "worse",
    [
        {"lasted_s": np.array([LASTS_S / 2])},
        {"replicas": np.array([[9e5, 1e6]])},
        {"short": np.array([[0.0, 0.01e6]])},
    ],
    ids=["too soon", "dearer", "shorter"],
)
def test_an_agent_that_did_not_compare_well_does_not_act(worse: dict[str, object]) -> None:
    made, _ = after(
        4, InForce((always(MORE), None), EVERYWHERE, acts=True), auditioned(initial_state(1, 15.0), **worse)
    )
    assert made.learned[0] != UNKNOWN
    assert not made.acting[0]


def test_it_acts_in_mode_normal_alone() -> None:
    state = auditioned(initial_state(1, 15.0))
    seen, said = tick(15.0)
    learning = replace(fleet(), pinned=np.array([int(Mode.LEARNING)]))
    made, _ = decide(seen, said, learning, state, TrustRules(), InForce((always(MORE), None), EVERYWHERE, acts=True))
    assert not made.acting[0]


def test_an_agent_gone_wrong_is_kept_above_what_replicas_were_seen_to_bear() -> None:
    # It asks for less every minute; latency is met at a load of 8 per replica, and the stated capacity is 10.
    made, state = after(400, InForce((always(LESS), None), EVERYWHERE, acts=True), auditioned(initial_state(1, 15.0)))
    assert made.acting[0]
    assert state.audition.learned.factor[0] >= -0.05
    assert made.predicted_replicas[0] >= 8


def test_a_comparison_counts_both_needs_on_the_same_load() -> None:
    _, state = after(200, InForce((always(LESS), None), EVERYWHERE, acts=False), load=120.0, latency_s=0.3)
    own, agents = state.audition.replicas[0]
    assert agents < own
    assert state.audition.lasted_s[0] > 100 * 15.0


def test_an_agent_that_holds_does_not_believe_a_forecast_below_the_load() -> None:
    holding = InForce((always(0), None), EVERYWHERE, acts=True)
    state = auditioned(initial_state(1, 15.0))
    for index in range(80):
        seen, said = tick(15.0 * (index + 1), load=100.0)
        low = replace(said, peak=0.5 * said.peak)
        made, state = decide(seen, low, replace(fleet(), pinned=NORMAL), state, TrustRules(), holding)
    assert made.learned[0] >= 11
    assert made.predictive[0] < 9


def test_passing_needs_days_savings_and_safety() -> None:
    state: AuditionState = auditioned(initial_state(1, 15.0)).audition
    assert passed(state)[0]
    assert not passed(replace(state, lasted_s=np.zeros(1)))[0]


def test_each_family_is_asked_of_its_own_agent() -> None:
    made, _ = after(40, InForce((None, always(MORE)), EVERYWHERE, acts=True), auditioned(initial_state(1, 15.0)))
    assert made.move.tolist() == [HOLD]
