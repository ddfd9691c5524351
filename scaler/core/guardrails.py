"""Limits on every proposal, in one order: what comes later wins.

Each guardrail takes the counts so far and returns them limited, with its own memory; the runner keeps the number after
each of them, so that `held_by` and every explanation follow from the record.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import DAY_S
from scaler.core.domain import UNBOUNDED, UNKNOWN, Workloads, pushed

LONGEST_HOLD_S = 900.0
"""Longest that a scale-down waits for all proposals to agree; it waits a quarter of the lead window."""
UP_FACTOR, UP_REPLICAS = 4.0, 20
"""Per minute a count may grow fourfold or by 20, whichever is more: prediction may jump, a broken number may not."""
DOWN_SHARE, DOWN_REPLICAS = 0.5, 4
"""Per minute a count may fall by half or by 4, whichever is more."""
RATE_WINDOW_S = 60.0
"""Period of the rate limits."""
UPPER = 3
"""Which of LEVELS the upper bound is that a burst exceeds: 0.99."""
BURST_SAMPLES = 2
"""Samples in a row above the upper bound that make a burst: one of a hundred exceeds it by itself."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What the guardrails may look at."""

    t_s: float
    step_s: float
    load: FloatArray
    """Accepted load, NaN where missing, (B,)."""
    fresh: BoolArray
    """Whether this tick has a sample, (B,)."""
    replicas: IntArray
    """Replicas that run, UNKNOWN where not read, (B,)."""
    reactive: IntArray
    """The reactive rule's count, (B,)."""
    foreseen: IntArray
    """What the upper forecast over the coming window is worth keeping, UNKNOWN where no forecast is relied on, (B,)."""
    upper: FloatArray
    """Upper bound of the load until the end of the lead window, NaN without a forecast, (B,)."""
    active: BoolArray
    """Whether the workload should run at all, (B,)."""


@dataclass(frozen=True, slots=True)
class GuardState:
    """Memory of the guardrails, newest first; NOTHING where there is none yet."""

    proposals: IntArray
    """Earlier proposals, (B, W)."""
    decided: IntArray
    """Earlier decisions, (B, V)."""
    spent: FloatArray
    """Replica-hours of the day so far, (B,)."""
    bound: FloatArray
    """Upper bound of this tick's load as it was forecast, NaN where nobody did, (B,)."""
    above: IntArray
    """Samples in a row above it, (B,)."""
    calm: IntArray
    """Calm samples until a burst is over, 0 where there is none, (B,)."""


NOTHING = np.int64(-1)
MANY = np.iinfo(np.int64).max


def initial_state(n: int, step_s: float) -> GuardState:
    """Nothing remembered, with room for the windows at this step."""
    proposals = np.full((n, max(math.ceil(LONGEST_HOLD_S / step_s), 1)), NOTHING)
    decided = np.full((n, max(math.ceil(RATE_WINDOW_S / step_s), 1)), NOTHING)
    none = np.zeros((2, n), np.int64)
    return GuardState(proposals, decided, np.zeros(n), np.full(n, np.nan), none[0], none[1])


def stabilization(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """Scale down only to the largest proposal of the last quarter of a lead window, and as far as it is foreseen. (B,)

    One step too low uncovers the whole window that follows, for a replica must have been asked for all along. Whoever
    proposes: while the upper forecast over the coming window wants what runs, it is kept.
    """
    kept = np.minimum(state.decided[:, 0], tick.foreseen)
    return np.maximum(held(n, state.proposals, fleet), kept), replace(state, proposals=pushed(state.proposals, n))


def held(n: IntArray, earlier: IntArray, fleet: Workloads) -> IntArray:
    """The largest of n and the proposals of the hold before it, (B,); `earlier` is newest first, (B, W)."""
    within = np.arange(earlier.shape[1]) < fleet.hold[:, None]
    return np.asarray(np.maximum(n, np.where(within, earlier, NOTHING).max(axis=1)))


def steadied(low: IntArray, high: IntArray, current: IntArray) -> IntArray:
    """Stay at `current` while it lies between both needs, else go to the nearer, (B,).

    Coming down must be surer than going up: `low` is what is worth buying, `high` what is worth keeping. UNKNOWN needs
    stay unknown; without a current count the higher is taken.
    """
    inside = np.minimum(np.maximum(current, low), high)
    return np.where(current < 0, high, inside)


def rate(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """Neither grow nor shrink faster than per minute allowed, measured from the decisions of the last minute. (B,)"""
    del tick, fleet
    known = state.decided != NOTHING
    lowest = np.where(known, state.decided, MANY).min(axis=1)
    highest = state.decided.max(axis=1)
    ceiling = np.maximum(np.floor(lowest * UP_FACTOR), lowest.astype(np.float64) + UP_REPLICAS)
    floor = np.minimum(np.ceil(highest * DOWN_SHARE), highest - DOWN_REPLICAS)
    limited = np.maximum(np.minimum(n, ceiling), floor).astype(np.int64)
    return np.where(known.any(axis=1), limited, n), state


def canary(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """A new champion adds no more than its share to the reactive rule; silent where none is on trial. (B,)"""
    on_trial = np.isfinite(fleet.canary)
    if not on_trial.any():
        return n, state
    ceiling = np.floor(np.maximum(tick.reactive, 1) * (1.0 + np.where(on_trial, fleet.canary, 0.0)))
    return np.where(on_trial, np.minimum(n, ceiling.astype(np.int64)), n), state


def cost_ceiling(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """Spread what is left of the day's replica-hours over the rest of the day; silent without a ceiling. (B,)

    It takes away what prediction adds: the load's own floors come after it.
    """
    limited = np.isfinite(fleet.replica_hours)
    if not limited.any():
        return n, state
    elapsed_s = tick.t_s % DAY_S
    running = np.where(tick.replicas == UNKNOWN, state.decided[:, 0], tick.replicas)
    before = np.where(elapsed_s < tick.step_s, 0.0, state.spent)
    spent = before + np.maximum(running, 0) * min(elapsed_s, tick.step_s) / 3600.0
    left = np.maximum(fleet.replica_hours - spent, 0.0) / ((DAY_S - elapsed_s) / 3600.0)
    ceiling = np.minimum(np.floor(left), float(UNBOUNDED)).astype(np.int64)
    return np.where(limited, np.minimum(n, ceiling), n), replace(state, spent=np.where(limited, spent, 0.0))


def load_floor(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """Never below what the accepted load needs now; silent where the sample is not fresh. (B,)

    A backlog may be worked off over time, so for queues the reactive rule is the floor.
    """
    rate_need = replicas_for(np.where(tick.fresh, tick.load, 0.0), fleet.capacity)
    need = np.where(fleet.queue, np.where(tick.fresh, tick.reactive, 0), rate_need)
    return np.maximum(n, need), state


def burst_floor(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """At once up to the reactive rule when two samples exceed what was forecast, until a lead window was calm. (B,)

    With its headroom: what nobody foresaw may go on growing.
    """
    exceeds = tick.fresh & (tick.load > state.bound)
    above = np.where(exceeds, state.above + 1, np.where(tick.fresh, 0, state.above))
    left = np.where(tick.fresh & ~exceeds, np.maximum(state.calm - 1, 0), state.calm)
    calm = np.where(above >= BURST_SAMPLES, fleet.h, left)
    floor = np.where(calm > 0, tick.reactive, 0)
    return np.maximum(n, floor), replace(state, bound=tick.upper.copy(), above=above, calm=calm)


def override(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """What somebody fixed by hand. (B,)"""
    del tick
    return np.where(fleet.override == UNKNOWN, n, fleet.override), state


def bounds(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """Within the smallest and largest count; at least one replica while active, the smallest count when not. (B,)"""
    needed = np.where(tick.active, np.maximum(n, 1), 0)
    return np.minimum(np.maximum(needed, fleet.minimum), fleet.maximum), state


def paused(n: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, GuardState]:
    """What runs, while scaling is paused: what was proposed is recorded, and nothing more. (B,)"""
    return np.where(fleet.paused & (tick.replicas != UNKNOWN), tick.replicas, n), state


Guardrail = Callable[[IntArray, Tick, GuardState, Workloads], tuple[IntArray, GuardState]]
GUARDRAILS: tuple[Guardrail, ...] = (
    stabilization,
    rate,
    canary,
    cost_ceiling,
    load_floor,
    burst_floor,
    override,
    bounds,
    paused,
)
NAMES: tuple[str, ...] = tuple(guardrail.__name__ for guardrail in GUARDRAILS)


def guard(proposal: IntArray, tick: Tick, state: GuardState, fleet: Workloads) -> tuple[IntArray, IntArray, GuardState]:
    """Run all guardrails: the final count (B,), the count after each (B, G), and their memory."""
    after = np.empty((len(proposal), len(GUARDRAILS)), np.int64)
    n = proposal
    for column, guardrail in enumerate(GUARDRAILS):
        n, state = guardrail(n, tick, state, fleet)
        after[:, column] = n
    return n, after, replace(state, decided=pushed(state.decided, n))


def unless(unheard: BoolArray, now: GuardState, before: GuardState) -> GuardState:
    """The memory of now, but of before where a row's numbers meant nothing. (B,)"""
    if not unheard.any():
        return now
    row = unheard[:, None]
    kept = {
        name: np.where(row if getattr(now, name).ndim > 1 else unheard, getattr(before, name), getattr(now, name))
        for name in GuardState.__slots__
    }
    return GuardState(**kept)


def held_by(proposal: int, after: IntArray) -> list[str]:
    """Names of the guardrails that moved the number of one row, in order."""
    before = [proposal, *after[:-1].tolist()]
    return [name for name, was, became in zip(NAMES, before, after.tolist(), strict=True) if became != was]


def replicas_for(load: FloatArray, capacity: FloatArray) -> IntArray:
    """Replicas that `load` needs at `capacity` each, (B,), limited to what a count can say; NaN needs 0."""
    need = np.ceil(load / capacity - 1e-9)
    return np.where(need > 0, np.minimum(need, 1e9), 0.0).astype(np.int64)
