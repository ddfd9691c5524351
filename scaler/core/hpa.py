"""The rule of the Kubernetes Horizontal Pod Autoscaler for one external metric of type AverageValue, batched.

Sources: pkg/controller/podautoscaler/replica_calculator.go (GetExternalPerPodMetricReplicas: the ratio uses all of
status.replicas, ready or not) and horizontal.go (stabilization, then rate policies, then bounds) of Kubernetes 1.36.
The demo, `check`, the reactive rules and the simulator all use this one step. Arrays are (B,), or any shape that
broadcasts with the replicas': `policies` runs the same rule on two replica counts of each workload at once.
"""

import math
from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import HPA_SYNC_S, Workloads, pushed


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """`behavior.scaleUp` or `behavior.scaleDown` of B HPAs: the larger change of the two policies counts."""

    pods: IntArray
    """Pods that may come or go per period, 0 where there is no such policy."""
    percent: FloatArray
    """Share of the replicas at the start of the period that may come or go, in percent."""
    period_s: FloatArray
    """Length of the period."""
    window_s: FloatArray
    """stabilizationWindowSeconds."""


@dataclass(frozen=True, slots=True)
class HpaRules:
    """What B HPAs are configured to do."""

    target: FloatArray
    """averageValue of the metric."""
    tolerance_up: FloatArray
    tolerance_down: FloatArray
    minimum: IntArray
    """minReplicas, at least 1."""
    maximum: IntArray
    up: ScalingPolicy
    down: ScalingPolicy
    with_behavior: BoolArray
    """False: no `behavior` stanza, so the older rule holds (down.window_s applies even on the way up; at most
    max(2·S, 4) per sync)."""


@dataclass(frozen=True, slots=True)
class HpaState:
    """What B HPAs remember, newest first."""

    recommendations: IntArray
    """Earlier recommendations, (…, W); NONE where there was none."""
    changes: IntArray
    """Earlier changes of the replica count, (…, W), positive up."""


NONE = np.int64(-1)
"""No recommendation yet."""
MANY = np.iinfo(np.int64).max
MOST = float(np.iinfo(np.int32).max)
"""Largest count that the HPA can say: its replica counts are int32."""
DEFAULT_UP = (4, 100.0, 15.0, 0.0)
"""pods, percent, period and window of scaleUp where a `behavior` leaves them out (apis/autoscaling/v2/defaults.go)."""
DEFAULT_DOWN = (0, 100.0, 15.0, 300.0)
"""The same of scaleDown; 300 s is --horizontal-pod-autoscaler-downscale-stabilization."""


def policy(pods: int, percent: float, period_s: float, window_s: float) -> ScalingPolicy:
    """One policy for all HPAs, (1,)."""
    return ScalingPolicy(np.array([pods]), np.array([percent]), np.array([period_s]), np.array([window_s]))


UP, DOWN = policy(*DEFAULT_UP), policy(*DEFAULT_DOWN)
WITH_BEHAVIOR = np.array([True])


def reactive_rules(fleet: Workloads) -> HpaRules:
    """The rule that Foresail replaces: the HPA with its defaults on the load itself, target = threshold; (B, 1)."""
    return HpaRules(
        target=fleet.threshold[:, None],
        tolerance_up=fleet.tolerance[:, None],
        tolerance_down=fleet.tolerance_down[:, None],
        minimum=np.maximum(fleet.minimum, 1)[:, None],
        maximum=fleet.maximum[:, None],
        up=UP,
        down=DOWN,
        with_behavior=WITH_BEHAVIOR,
    )


def initial_state(shape: tuple[int, ...], sync_s: float = HPA_SYNC_S, longest_s: float = 300.0) -> HpaState:
    """Nothing remembered; room for windows and periods of up to `longest_s` at one step per `sync_s`."""
    width = max(math.ceil(longest_s / sync_s), 1)
    return HpaState(np.full((*shape, width), NONE), np.zeros((*shape, width), np.int64))


def proposal(value: FloatArray, replicas: IntArray, rules: HpaRules) -> IntArray:
    """Replicas that the metric alone asks for, before stabilization, rates and bounds, (B,).

    `value` is the metric's total as KEDA reports it (in thousandths, so it is rounded to 0.001); NaN means the metric
    could not be read: the count stays.
    """
    milli = np.rint(np.where(np.isnan(value), 0.0, value) * 1000.0)
    target = np.rint(rules.target * 1000.0)
    ratio = milli / (target * np.maximum(replicas, 1))
    within = (1.0 - rules.tolerance_down <= ratio) & (ratio <= 1.0 + rules.tolerance_up)
    wanted = np.minimum(np.ceil(milli / target), MOST).astype(np.int64)
    return np.where(within | np.isnan(value), replicas, wanted)


def step(
    value: FloatArray, replicas: IntArray, rules: HpaRules, state: HpaState, sync_s: float = HPA_SYNC_S
) -> tuple[IntArray, HpaState]:
    """One sync of B HPAs: the metric's value and status.replicas → the new spec.replicas and what is remembered.

    At 0 replicas scaling is disabled; outside of the bounds the count is put right without asking the metric.
    """
    wanted = proposal(value, replicas, rules)
    age_s = sync_s * np.arange(1, state.recommendations.shape[-1] + 1)
    asked = (replicas > 0) & (replicas >= rules.minimum) & (replicas <= rules.maximum)
    recorded = asked & ~np.isnan(value)
    # recordInitialRecommendation: the count found at the first sync is remembered like a recommendation of that moment.
    first = (state.recommendations == NONE).all(axis=-1)
    steady = _stabilized(wanted, replicas, rules, state.recommendations, first, age_s)
    limited = np.where(recorded, _rate_limited(steady, replicas, rules, state, age_s), wanted)
    bounded = np.minimum(np.maximum(np.where(asked, limited, replicas), rules.minimum), rules.maximum)
    final = np.where(replicas > 0, bounded, 0)
    return final, HpaState(
        pushed(state.recommendations, np.where(recorded, np.where(first, np.maximum(wanted, replicas), wanted), NONE)),
        pushed(state.changes, final - replicas),
    )


def _stabilized(
    wanted: IntArray, replicas: IntArray, rules: HpaRules, ring: IntArray, first: BoolArray, age_s: FloatArray
) -> IntArray:
    """stabilizeRecommendationWithBehaviors: not below the window's largest, not above its smallest recommendation."""
    found = np.where(first & (rules.down.window_s > 0), replicas, 0)
    floor = np.maximum(np.maximum(_extreme(ring, age_s, rules.down.window_s, np.maximum, 0), found), wanted)
    ceiling = wanted
    if rules.up.window_s.any():
        found = np.where(first & (rules.up.window_s > 0), replicas, MANY)
        ceiling = np.minimum(np.minimum(_extreme(ring, age_s, rules.up.window_s, np.minimum, MANY), found), wanted)
    between = np.minimum(np.maximum(replicas, ceiling), floor)
    return between if rules.with_behavior.all() else np.asarray(np.where(rules.with_behavior, between, floor))


def _extreme(ring: IntArray, age_s: FloatArray, window_s: FloatArray, of: np.ufunc, neutral: int) -> IntArray:
    """Largest or smallest recommendation inside the window; one exactly a window old has left it."""
    reach = _reach(age_s, window_s)
    near = ring[..., :reach]
    inside = near != NONE
    if window_s.size > 1:
        inside = inside & (age_s[:reach] < window_s[..., None])
    return np.asarray(of.reduce(np.where(inside, near, neutral), axis=-1, initial=neutral))


def _rate_limited(
    wanted: IntArray, replicas: IntArray, rules: HpaRules, state: HpaState, age_s: FloatArray
) -> IntArray:
    """calculateScaleUpLimitWithScalingRules and its twin: changes inside the period count against the policy."""
    up_start = replicas - _changed(state, age_s, rules.up.period_s)
    up_limit = np.maximum(
        up_start + rules.up.pods, np.ceil(up_start * (1.0 + rules.up.percent / 100.0)).astype(np.int64)
    )
    down_start = replicas - _changed(state, age_s, rules.down.period_s)
    down_limit = np.minimum(
        down_start - rules.down.pods,
        np.trunc(down_start * (1.0 - rules.down.percent / 100.0)).astype(np.int64),
    )
    limited = np.where(
        wanted > replicas,
        np.minimum(wanted, np.maximum(up_limit, replicas)),
        np.maximum(wanted, np.minimum(down_limit, replicas)),
    )
    if rules.with_behavior.all():
        return np.asarray(limited)
    return np.where(rules.with_behavior, limited, np.minimum(wanted, np.maximum(2 * replicas, 4)))


def _changed(state: HpaState, age_s: FloatArray, period_s: FloatArray) -> IntArray | int:
    reach = _reach(age_s, period_s)
    if not reach:
        return 0
    changes = state.changes[..., :reach]
    if period_s.size > 1:
        changes = np.where(age_s[:reach] < period_s[..., None], changes, 0)
    return np.asarray(changes.sum(axis=-1))


def _reach(age_s: FloatArray, longest_s: FloatArray) -> int:
    """Columns of a ring that lie inside any row's window: the rest need not be looked at."""
    return int(age_s.searchsorted(longest_s.max()))
