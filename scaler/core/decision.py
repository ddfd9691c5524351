"""One tick for a batch of workloads: observations and forecasts in, the whole decision record out.

The order is the order of reading: what would the HPA do, what does the forecast want at today's price, how far is it
trusted, what do the guardrails leave of it, and which value makes the HPA do it.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecasting import drift
from forecasting.forecast import BoolArray, IntArray, at_score
from forecasting.series import bucket_spacing
from scaler.core import audition, dead_band, guardrails, hpa, policies, price, trust
from scaler.core.audition import InForce, Question
from scaler.core.domain import HPA_SYNC_S, UNKNOWN, Decisions, Forecasts, Mode, Observations, Workloads
from scaler.core.plausibility import Doubt

LIKELY_SCORE = np.array([0.8416])
"""Normal score of 0.8: with P(peak > activation threshold) ≥ 0.2 a workload is active; an idle replica costs little.

Where the median is no load, the next level tells no more than whether the probability exceeds 0.1, and that counts.
"""


@dataclass(frozen=True, slots=True)
class State:
    """All that decisions remember of B workloads, as arrays."""

    rule: hpa.HpaState
    """Of the reactive rule on the observed replicas and on its own, (B, 2, W)."""
    alone: IntArray
    """What the rule would run had it been alone; it starts where the workload was first seen, 0 before."""
    price: price.PriceState
    trust: trust.TrustState
    guard: guardrails.GuardState
    band: dead_band.BandState
    decided: IntArray
    """Last decision, UNKNOWN before the first."""
    audition: audition.AuditionState
    quiet: IntArray
    """Steps in a row without load and without a likely one."""
    active: BoolArray


def initial_state(n: int, step_s: float) -> State:
    """Nothing seen yet; active until it is known to be quiet."""
    return State(
        rule=hpa.initial_state((n, 2), min(step_s, HPA_SYNC_S)),
        alone=np.zeros(n, np.int64),
        price=price.initial_state(n, step_s),
        trust=trust.initial_state(n),
        guard=guardrails.initial_state(n, step_s),
        band=dead_band.initial_state(n),
        decided=np.full(n, UNKNOWN, np.int64),
        audition=audition.initial_state(n, step_s),
        quiet=np.zeros(n, np.int64),
        active=np.ones(n, np.bool_),
    )


def decide(
    seen: Observations,
    forecasts: Forecasts,
    fleet: Workloads,
    state: State,
    rules: trust.TrustRules,
    in_force: InForce | None = None,
) -> tuple[Decisions, State]:
    """Decide for B workloads, by an agent where it may act.

    A row of which neither a load nor a replica count was ever known is `unheard`: its numbers mean nothing, must not be
    served, and leave no trace; the returned state says so by `decided` being UNKNOWN.
    """
    current = _current(seen, fleet, state)
    started = np.where(state.alone > 0, state.alone, current)
    both, rule_state = policies.reactive(
        seen.load,
        np.stack([current, started], axis=1),
        hpa.reactive_rules(fleet),
        state.rule,
        seen.step_s,
    )
    reactive, alone = both[:, 0], both[:, 1]
    worth = policies.worth(price.price_of(state.price), fleet)
    level = price.level_of(worth)
    clearing = policies.clearing_rate(forecasts.peak, seen, fleet)
    low, high = policies.predictive_range(forecasts, worth, clearing, fleet)
    available = low >= 0
    predictive = guardrails.steadied(low, high, current)
    price_state = _priced(seen, (low, high), fleet, state.price)

    earned, trusted = trust.step(_facts(seen, forecasts, available), state.trust, rules)
    mode, cause, earned = trust.pinned(fleet.pinned, available, earned, trusted)
    advice, heard = audition.silent(fleet), state.audition
    if in_force is not None:
        advice, heard = audition.consulted(Question(seen, forecasts, worth, high, fleet), heard, in_force)
    acting = advice.acts & (mode == Mode.NORMAL) & ~fleet.shadow
    wanted = np.where(acting, guardrails.steadied(advice.low, advice.high, current), predictive)
    believed = replace(fleet, capacity=np.where(acting, advice.capacity, fleet.capacity))
    served = policies.serve(mode, earned, (reactive, alone), wanted, state.decided)
    proposal = np.where(fleet.shadow, policies.serve_shadow(mode, reactive, state.decided), served)
    active, quiet = _activation(seen, forecasts, fleet, state)
    relied = ((mode == Mode.NORMAL) | (mode == Mode.RECOVERY)) & ~fleet.shadow
    tick = guardrails.Tick(
        t_s=seen.t_s,
        step_s=seen.step_s,
        load=seen.load,
        fresh=seen.fresh,
        replicas=seen.replicas,
        reactive=reactive,
        foreseen=np.where(relied, np.where(acting, advice.high, high), UNKNOWN),
        upper=forecasts.peak[:, guardrails.UPPER],
        active=active,
    )
    final, guarded, guard_state = guardrails.guard(proposal, tick, state.guard, believed)
    unheard = (state.decided == UNKNOWN) & ~seen.fresh & (seen.replicas == UNKNOWN)
    value, band_state = dead_band.encode(final, seen.replicas, active, worth, fleet, state.band)

    decisions = Decisions(
        t_s=seen.t_s,
        load=seen.load,
        feedback=seen.feedback,
        replicas=seen.replicas,
        ready=seen.ready,
        reactive=reactive,
        reactive_alone=alone,
        predictive=predictive,
        proposal=proposal,
        guarded=guarded,
        predicted_replicas=final,
        value=value,
        reached=dead_band.reached(value, seen.replicas, fleet),
        active=active,
        mode=mode,
        cause=cause,
        evidence=trusted.evidence,
        drift=drift.worst(forecasts.drift)[0],
        earned=earned,
        price=worth,
        level=level,
        # Copies: these columns are views of arrays that move on, and a record must not.
        capacity=fleet.capacity.copy(),
        learned=advice.high,
        move=heard.learned.move,
        acting=acting,
        version=forecasts.version.copy(),
        peak=forecasts.peak,
        path=forecasts.path,
        ceiling=forecasts.ceiling,
    )
    return decisions, State(
        rule=rule_state,
        alone=np.where(unheard, 0, alone),
        price=price_state,
        trust=trusted,
        guard=guardrails.unless(unheard, guard_state, state.guard),
        band=band_state,
        audition=heard,
        decided=np.where(unheard, UNKNOWN, final),
        quiet=quiet,
        active=active,
    )


def _priced(
    seen: Observations, needs: tuple[IntArray, IntArray], fleet: Workloads, state: price.PriceState
) -> price.PriceState:
    # A load in doubt is no lesson.
    lesson = seen.doubt == Doubt.NONE
    state = price.met(state, np.where(lesson, np.where(fleet.queue, seen.arrivals, seen.load), np.nan))
    if not price.ends_bucket(seen.t_s, seen.step_s):
        return state
    return price.step(state, needs, price.in_buckets(fleet, seen.step_s), seen.t_s, bucket_spacing(seen.step_s))


def _facts(seen: Observations, forecasts: Forecasts, available: BoolArray) -> trust.Facts:
    return trust.Facts(
        t_s=seen.t_s,
        step_s=seen.step_s,
        elapsed_s=seen.step_s,
        stale_s=seen.stale_s,
        history_s=seen.history_s,
        available=available,
        validated=forecasts.validated,
        fitted_s=forecasts.version,
        drift=forecasts.drift,
        doubt=seen.doubt,
    )


def _current(seen: Observations, fleet: Workloads, state: State) -> IntArray:
    """Replicas that the rule starts from: those observed, else the last decided, else what the load needs."""
    at_target = guardrails.replicas_for(seen.load, fleet.threshold)
    believed = np.where(state.decided == UNKNOWN, at_target, state.decided)
    return np.where(seen.replicas == UNKNOWN, believed, seen.replicas)


def _activation(seen: Observations, forecasts: Forecasts, fleet: Workloads, state: State) -> tuple[BoolArray, IntArray]:
    """Active at once; inactive only after a whole lead window without load or a likely one; unchanged without news."""
    likely = at_score(forecasts.peak, LIKELY_SCORE) > fleet.activation
    wanted = (seen.load > fleet.activation) | likely
    quiet = np.where(wanted, 0, state.quiet + seen.fresh)
    return wanted | (state.active & (quiet < fleet.h)), quiet
