"""The learned policy in the service: where it may speak, how it compares on the live load, when it may act.

    seen, forecasts → remember → licensed here? → a move a minute → its need, beside forecast-only's
    both needs → virtual actuators on the same load → cheaper for no more shortage over days? → it may act

In shadow it decides and is compared, and nothing of it reaches the answer. What it has learnt of a workload, and how it
compared, begins anew with the process: feedback has no history that a replay could read.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from rl_agent.agent import Agent
from scaler.core import guardrails, learned
from scaler.core.domain import UNKNOWN, Forecasts, Observations, Workloads, pushed
from scaler.core.learned import HOLD, Learned, Licence
from scaler.core.price import LONGEST_WINDOW_S

LASTS_S = 3 * 86_400.0
"""Compared for at least as long before it may act: three days show the hours of a day three times."""
MEMORY_S = 7 * 86_400.0
"""In which a comparison is forgotten by e."""
NO_WORSE = 0.001
"""Share of the load by which its shortage may exceed forecast-only's: noise of a comparison."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The agents that the service runs."""

    agents: tuple[Agent | None, Agent | None]
    """For rates and for queues."""
    licence: Licence
    acts: bool
    """False: in shadow everywhere, however it compares."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the agent is asked about at one tick."""

    seen: Observations
    forecasts: Forecasts
    price: FloatArray
    """R, (B,)."""
    own: IntArray
    """What forecast-only is worth keeping, UNKNOWN without a forecast, (B,)."""
    fleet: Workloads


@dataclass(frozen=True, slots=True)
class AuditionState:
    """What is remembered of B workloads."""

    learned: Learned
    own: IntArray
    """Forecast-only's needs, newest first, (B, H); NOTHING before the first."""
    agents: IntArray
    """The agent's, (B, H)."""
    lasted_s: FloatArray
    """How long both were compared, (B,)."""
    load: FloatArray
    """Decayed load that was met, (B,)."""
    short: FloatArray
    """Of it short under forecast-only and under the agent, (B, 2)."""
    replicas: FloatArray
    """Decayed sums of both needs, (B, 2)."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the agent says at one tick, (B,)."""

    low: IntArray
    """Replicas worth buying, UNKNOWN where it does not speak."""
    high: IntArray
    """Replicas worth keeping."""
    capacity: FloatArray
    """What one replica is believed to bear; as configured where it does not act."""
    acts: BoolArray
    """Where its word counts."""


def initial_state(n: int, step_s: float) -> AuditionState:
    """Nothing seen, nothing compared."""
    width = max(int(np.ceil(LONGEST_WINDOW_S / step_s)), 4)
    nothing = np.full((2, n, width), guardrails.NOTHING)
    return AuditionState(
        learned.initial_state(n),
        nothing[0],
        nothing[1],
        np.zeros(n),
        np.zeros(n),
        np.zeros((n, 2)),
        np.zeros((n, 2)),
    )


def silent(fleet: Workloads) -> Advice:
    """Without an agent."""
    unknown = np.full(len(fleet.capacity), UNKNOWN)
    return Advice(unknown, unknown, fleet.capacity, unknown >= 0)


def consulted(asked: Question, state: AuditionState, in_force: InForce) -> tuple[Advice, AuditionState]:
    """Ask the agent at one tick."""
    seen, fleet = asked.seen, asked.fleet
    now = learned.remember(seen, asked.forecasts, fleet, state.learned)
    speaks = in_force.licence.holds(fleet, now) & (asked.own != UNKNOWN) & (seen.replicas > 0) & (seen.ready >= 0)
    if seen.t_s // learned.MOVE_S > (seen.t_s - seen.step_s) // learned.MOVE_S:
        now = _moved(asked, now, in_force.agents)
    now = _kept(speaks, now)
    low, high = _needs(asked, now)
    compared = _compared(seen, (asked.own, high), speaks, fleet, replace(state, learned=now))
    acts = speaks & in_force.acts & passed(compared)
    unknown = np.full(len(asked.own), UNKNOWN)
    advice = Advice(
        np.where(speaks, low, unknown),
        np.where(speaks, high, unknown),
        np.where(acts, learned.believed(fleet, now).capacity, fleet.capacity),
        acts,
    )
    return advice, compared


def _needs(asked: Question, state: Learned) -> tuple[IntArray, IntArray]:
    """Replicas that the agent finds worth buying and worth keeping, (B,) each."""
    by, belief = learned.missed(asked.fleet, state), learned.believed(asked.fleet, state)
    relied = learned.raised(asked.forecasts, by)
    return learned.need_range(relied, asked.seen, asked.price, belief, state, by)


def _moved(asked: Question, state: Learned, agents: tuple[Agent | None, Agent | None]) -> Learned:
    """A move of each workload by the agent of its family, (B,); without one it holds."""
    need = _needs(asked, state)[1]
    vector = learned.encode(asked.seen, asked.forecasts, need, asked.price, asked.fleet, state)
    action, memory = np.full(len(need), HOLD), state.memory.copy()
    for queue, agent in enumerate(agents):
        rows = np.flatnonzero(asked.fleet.queue == bool(queue))
        if agent is not None and len(rows):
            action[rows], memory[rows] = agent.act(vector[rows], memory[rows])
    return learned.moved(action, asked.fleet, replace(state, memory=memory))


def _kept(speaks: BoolArray, state: Learned) -> Learned:
    """Its moves where it speaks; where it does not it holds, and begins from forecast-only when it may again."""
    return replace(
        state,
        factor=np.where(speaks, state.factor, 0.0),
        extra=np.where(speaks, state.extra, 0),
        move=np.where(speaks, state.move, HOLD),
    )


def _compared(
    seen: Observations, needs: tuple[IntArray, IntArray], speaks: BoolArray, fleet: Workloads, state: AuditionState
) -> AuditionState:
    """Count one sample against what both would have ready: what each of the last h needs asked for."""
    met = np.where(fleet.queue, seen.arrivals, seen.load)
    counted = speaks & ~np.isnan(met) & (seen.doubt == 0)
    rings = [np.where(speaks[:, None], pushed(ring, need), guardrails.NOTHING) for ring, need in
             zip((state.own, state.agents), needs, strict=True)]  # fmt: skip
    outside = np.arange(rings[0].shape[1]) >= np.minimum(fleet.h, rings[0].shape[1])[:, None]
    ready = np.stack([np.where(outside, guardrails.MANY, ring).min(axis=1) for ring in rings], axis=1)
    counted &= (ready != guardrails.NOTHING).all(axis=1)
    load = np.where(counted, met, 0.0)
    fade = np.where(counted, np.exp(-seen.step_s / MEMORY_S), 1.0)
    short = load[:, None] > (_evident(fleet, state.learned)[:, None] * ready)
    return replace(
        state,
        own=rings[0],
        agents=rings[1],
        lasted_s=state.lasted_s + seen.step_s * counted,
        load=fade * state.load + load,
        short=fade[:, None] * state.short + np.where(short, load[:, None], 0.0),
        replicas=fade[:, None] * state.replicas + np.where(counted[:, None], np.stack(needs, axis=1), 0),
    )


def _evident(fleet: Workloads, state: Learned) -> FloatArray:
    """What one replica bears by all that was seen: as stated, but within what was and what was not borne. (B,)"""
    return np.asarray(fleet.capacity * np.exp(np.minimum(np.maximum(0.0, state.borne), state.failed)))


def passed(state: AuditionState) -> BoolArray:
    """Whether the agent may act: compared for long enough, cheaper, and no shorter. (B,)"""
    cheaper = state.replicas[:, 1] < state.replicas[:, 0]
    safe = state.short[:, 1] <= state.short[:, 0] + NO_WORSE * state.load
    return np.asarray((state.lasted_s >= LASTS_S) & cheaper & safe)
