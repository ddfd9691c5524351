"""The price of a short replica, fed back from the short share that the forecast alone would have left.

R says how many surplus replicas one short replica is worth; the newsvendor's answer is the level R / (1 + R). Once per
disjoint lead window log R moves towards the wanted short share. The share is that of a *virtual actuator*: a replica
serves at t only if each of the last h proposals asked for it, so the price depends on the load alone, not on what a
cluster did with earlier answers. The same actuator under `reactive_alone` gives the yardstick's own share.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import Workloads, pushed
from scaler.core.guardrails import LONGEST_HOLD_S, NOTHING, held, replicas_for, steadied

RATE = 0.25
"""Step of log R per lead window and unit of short share. Without shortage and with a target of 1 % the price falls by
half in about a day of five-minute windows, and one wholly short window raises it by a quarter; faster, it swings."""
LOWEST, HIGHEST = math.log(0.8 / 0.2), math.log(0.999 / 0.001)
"""log R at the levels 0.8 and 0.999."""
INITIAL = math.log(0.97 / 0.03)
"""log R at the level 0.97: where the search starts without evidence."""
DEFAULT_SHORTAGE = 0.01
"""Largest default target: 1 % of the load."""
MARGIN = 0.003
"""The default target exceeds the reactive rule's own short share by at most 0.3 points: over a day chance adds to it,
and half a point is the most that may be traded away."""
MEMORY_WINDOWS = 288
"""Lead windows over which the reactive rule's share is averaged: about a day of five-minute windows."""
MANY = np.iinfo(np.int64).max
LONGEST_WINDOW_S = 3600.0
"""Longest lead window that the virtual actuator remembers."""


@dataclass(frozen=True, slots=True)
class PriceState:
    """Array state of the feedback, (B,) or (B, H)."""

    log_price: FloatArray
    proposals: IntArray
    """Forecast-only proposals, newest first, (B, H)."""
    wants: IntArray
    """The same before they were held, newest first, (B, W)."""
    alone: IntArray
    """The reactive rule's counts, newest first, (B, H)."""
    load: FloatArray
    """Load of the window under way."""
    short: FloatArray
    """Load of it that met too few virtual replicas."""
    seen: IntArray
    """Steps of the window under way."""
    reactive_load: FloatArray
    """Decayed load under the reactive rule."""
    reactive_short: FloatArray
    """Decayed short load under the reactive rule."""
    windows: FloatArray
    """Decayed number of lead windows that were counted."""


def initial_state(n: int, step_s: float) -> PriceState:
    """No evidence: the initial price."""
    width = max(math.ceil(LONGEST_WINDOW_S / step_s), 4)
    rings = np.full((2, n, width), MANY)
    zeros = np.zeros((5, n))
    wants = np.full((n, max(math.ceil(LONGEST_HOLD_S / step_s), 1)), NOTHING)
    return PriceState(
        np.full(n, INITIAL),
        rings[0],
        wants,
        rings[1],
        zeros[0],
        zeros[1],
        np.zeros(n, np.int64),
        zeros[2],
        zeros[3],
        zeros[4],
    )


def adopted(current: PriceState, learnt: PriceState) -> PriceState:
    """Go on from what a replay has learnt; the actuators and the window under way stay as they are."""
    return replace(
        current,
        log_price=learnt.log_price,
        reactive_load=learnt.reactive_load,
        reactive_short=learnt.reactive_short,
        windows=learnt.windows,
    )


def price_of(state: PriceState) -> FloatArray:
    """R of each row, (B,)."""
    return np.exp(state.log_price)


def level_of(price: FloatArray) -> FloatArray:
    """R / (1 + R), (B,)."""
    return np.asarray(price / (1.0 + price))


def target_shortage(state: PriceState, fleet: Workloads) -> FloatArray:
    """Wanted short share of the load, (B,): a stated SLO as is, else 1 % and never far above the reactive rule's own.

    Prediction never trades safety away unasked.
    """
    own = state.reactive_short / np.maximum(state.reactive_load, 1e-12)
    default = np.minimum(DEFAULT_SHORTAGE, own + MARGIN)
    return np.where(np.isnan(fleet.slo), default, 1.0 - fleet.slo)


def step(
    state: PriceState,
    load: FloatArray,
    needs: tuple[IntArray, IntArray],
    alone: IntArray,
    fleet: Workloads,
    learning: BoolArray,
) -> PriceState:
    """Count one sample against the virtual actuators; at the end of a lead window move the price.

    `load` is what replicas must meet, for queues the arrivals. `needs` (worth buying, worth keeping) and `alone` are
    this tick's; they reach the actuators h steps later. Rows that are not `learning` (no forecast, or no sample) are
    frozen: no wind-up.
    """
    h = np.minimum(fleet.h, state.proposals.shape[1])
    outside = np.arange(int(h.max())) >= h[:, None]
    counts = learning & (load > 0)
    y = np.where(counts, load, 0.0)
    short = np.where(y > fleet.capacity * _serving(state.proposals, outside), y, 0.0)
    short_alone = np.where(y > fleet.capacity * _serving(state.alone, outside), y, 0.0)
    want = _want(state.proposals[:, 0], needs, np.where(learning, load, 0.0), fleet)
    proposal = held(want, state.wants, fleet)
    counted = replace(
        state,
        proposals=_after(state.proposals, proposal, learning),
        wants=_after(state.wants, want, learning),
        alone=_after(state.alone, alone, learning),
        load=state.load + y,
        short=state.short + short,
        seen=state.seen + learning,
        reactive_load=state.reactive_load + y,
        reactive_short=state.reactive_short + short_alone,
    )
    ended = learning & (counted.seen >= h)
    counted = replace(counted, windows=counted.windows + ended)
    return _closed(counted, fleet, ended) if ended.any() else counted


def _closed(state: PriceState, fleet: Workloads, ended: BoolArray) -> PriceState:
    # In units of a usual window's load, so that the short share of all windows together meets the target.
    usual = state.reactive_load / np.maximum(state.windows, 1.0)
    missed = (state.short - target_shortage(state, fleet) * state.load) / np.maximum(usual, 1e-12)
    moved = state.log_price + RATE * np.where(state.load > 0, np.minimum(missed, 1.0), 0.0)
    decay = np.where(ended, 1.0 - 1.0 / MEMORY_WINDOWS, 1.0)
    return replace(
        state,
        log_price=np.where(ended, np.minimum(np.maximum(moved, LOWEST), HIGHEST), state.log_price),
        load=np.where(ended, 0.0, state.load),
        short=np.where(ended, 0.0, state.short),
        seen=np.where(ended, 0, state.seen),
        reactive_load=state.reactive_load * decay,
        reactive_short=state.reactive_short * decay,
        windows=state.windows * decay,
    )


def _want(current: IntArray, needs: tuple[IntArray, IntArray], load: FloatArray, fleet: Workloads) -> IntArray:
    """What the virtual actuator wants: steadied and never below the load now, as the decision is, (B,)."""
    floor = np.where(fleet.queue, 0, replicas_for(load, fleet.capacity))
    low, high = (np.maximum(need, floor) for need in needs)
    return steadied(low, high, np.where(current == MANY, NOTHING, current))


def _serving(ring: IntArray, outside: BoolArray) -> FloatArray:
    near = ring[:, : outside.shape[1]]
    return np.asarray(np.where(outside, MANY, near).min(axis=1), dtype=np.float64)


def _after(ring: IntArray, newest: IntArray, learning: BoolArray) -> IntArray:
    moved = pushed(ring, newest)
    return moved if learning.all() else np.where(learning[:, None], moved, ring)
