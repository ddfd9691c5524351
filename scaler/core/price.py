"""The price of a short replica, fed back from the short share that the forecast alone would have left.

R says how many surplus replicas one short replica is worth; the newsvendor's answer is the level R / (1 + R). Once per
disjoint lead window log R moves towards the wanted short share. The share is that of a *virtual actuator*: a replica
serves at t only if each proposal of the last lead window asked for it, so the price depends on the load alone, not on
what a cluster did with earlier answers. The same actuator under the reactive rule gives the yardstick's own share.

All of it steps once per bucket of the history, live and in a replay alike, so that two replicas of the service come to
one price. A mean hides short samples; how many tells the bucket's maximum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import bucket_spacing, lead_buckets
from scaler.core import hpa
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
class Bucket:
    """What was met in the bucket under way, (B,); samples that are no lesson are left out."""

    total: FloatArray
    """Sum of the samples."""
    n: IntArray
    highest: FloatArray
    """Largest sample, −inf before the first."""


@dataclass(frozen=True, slots=True)
class PriceState:
    """Array state of the feedback, (B,) or (B, H); steps are buckets."""

    log_price: FloatArray
    proposals: IntArray
    """Forecast-only proposals, newest first, (B, H)."""
    wants: IntArray
    """The same before they were held, newest first, (B, W)."""
    alone: IntArray
    """The reactive rule's counts, newest first, (B, H)."""
    rule: hpa.HpaState
    """Of the reactive rule, (B, 1, W)."""
    bucket: Bucket
    load: FloatArray
    """Load of the window under way."""
    short: FloatArray
    """Load of it that met too few virtual replicas."""
    reactive_load: FloatArray
    """Decayed load under the reactive rule."""
    reactive_short: FloatArray
    """Decayed short load under the reactive rule."""
    windows: FloatArray
    """Decayed number of lead windows that were counted."""


def initial_state(n: int, step_s: float) -> PriceState:
    """No evidence: the initial price."""
    bucket_s = bucket_spacing(step_s)
    rings = np.full((2, n, max(math.ceil(LONGEST_WINDOW_S / bucket_s), 4)), MANY)
    wants = np.full((n, max(math.ceil(LONGEST_HOLD_S / bucket_s), 1)), NOTHING)
    rule = hpa.initial_state((n, 1), bucket_s)
    return PriceState(np.full(n, INITIAL), rings[0], wants, rings[1], rule, nothing_met(n), *np.zeros((5, n)))


def nothing_met(n: int) -> Bucket:
    """The beginning of a bucket."""
    return Bucket(np.zeros(n), np.zeros(n, np.int64), np.full(n, -np.inf))


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


def met(state: PriceState, load: FloatArray) -> PriceState:
    """Take one sample, (B,), into the bucket under way: what replicas must meet, for queues the arrivals.

    NaN is no lesson.
    """
    known, was = ~np.isnan(load), state.bucket
    total = was.total + np.where(known, load, 0.0)
    return replace(state, bucket=Bucket(total, was.n + known, np.fmax(was.highest, load)))


def ends_bucket(t_s: float, step_s: float) -> bool:
    """Whether a bucket ends with the sample stamped `t_s`."""
    return t_s % bucket_spacing(step_s) < step_s


def in_buckets(fleet: Workloads, step_s: float) -> Workloads:
    """The same workloads with lead windows in buckets instead of steps of `step_s`."""
    return replace(fleet, h=lead_buckets(fleet.h, step_s))


def step(
    state: PriceState, needs: tuple[IntArray, IntArray], fleet: Workloads, t_s: float, bucket_s: float
) -> PriceState:
    """Count the bucket that ends at `t_s` against the virtual actuators; at the end of a lead window move the price.

    `needs` (worth buying, worth keeping) are of the forecast made then, UNKNOWN where there was none; they reach the
    actuators a lead window later, which `fleet` has in buckets. A row without them, or without a sample, learns
    nothing: no wind-up.
    """
    bucket = state.bucket
    learning = (needs[0] >= 0) & (bucket.n > 0)
    mean = bucket.total / np.maximum(bucket.n, 1)
    h = np.minimum(fleet.h, state.proposals.shape[1])
    outside = np.arange(int(h.max())) >= h[:, None]
    y = np.where(learning, bucket.total, 0.0)
    short = y * _short_share(bucket, mean, fleet.capacity * _serving(state.proposals, outside))
    short_alone = y * _short_share(bucket, mean, fleet.capacity * _serving(state.alone, outside))
    want = _want(state.proposals[:, 0], needs, np.where(learning, mean, 0.0), fleet)
    alone, rule = _yardstick(state, fleet, bucket_s)
    counted = replace(
        state,
        proposals=_after(state.proposals, held(want, state.wants, fleet), learning),
        wants=_after(state.wants, want, learning),
        alone=pushed(state.alone, alone),
        rule=rule,
        bucket=nothing_met(len(y)),
        load=state.load + y,
        short=state.short + short,
        reactive_load=state.reactive_load + y,
        reactive_short=state.reactive_short + short_alone,
    )
    # By the clock, so that it does not matter when somebody began to count.
    ended = (np.rint(t_s / bucket_s) % h == 0) & (counted.load > 0)
    return _closed(counted, fleet, ended) if ended.any() else counted


def _short_share(bucket: Bucket, mean: FloatArray, bearable: FloatArray) -> FloatArray:
    """Share of a bucket's load that lay above what could be borne, (B,).

    Its samples are taken to lie evenly between the largest and what is as far below their mean.
    """
    spread = np.minimum(2.0 * (bucket.highest - mean), bucket.highest)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(spread > 0, (bucket.highest - bearable) / spread, 1.0)
        return np.where(bucket.highest > bearable, np.minimum(np.maximum(share, 1.0 / bucket.n), 1.0), 0.0)


def _yardstick(state: PriceState, fleet: Workloads, bucket_s: float) -> tuple[IntArray, hpa.HpaState]:
    """What the reactive rule alone would run after this bucket, (B,): it sees every sample, so the largest counts.

    What it would have made of a queue's depth cannot be told from arrivals; there it is never short.
    """
    met, before = state.bucket.n > 0, state.alone[:, 0]
    highest = np.where(met, state.bucket.highest, np.nan)
    runs = np.maximum(np.where(before == MANY, replicas_for(highest, fleet.threshold), before), 1)
    alone, rule = hpa.step(highest[:, None], runs[:, None], hpa.reactive_rules(fleet), state.rule, bucket_s)
    return np.where(fleet.queue | ((before == MANY) & ~met), MANY, alone[:, 0]), rule


def _closed(state: PriceState, fleet: Workloads, ended: BoolArray) -> PriceState:
    windows = state.windows + ended
    # In units of a usual window's load, so that the short share of all windows together meets the target.
    usual = state.reactive_load / np.maximum(windows, 1.0)
    missed = (state.short - target_shortage(state, fleet) * state.load) / np.maximum(usual, 1e-12)
    moved = state.log_price + RATE * np.minimum(missed, 1.0)
    decay = np.where(ended, 1.0 - 1.0 / MEMORY_WINDOWS, 1.0)
    return replace(
        state,
        log_price=np.where(ended, np.minimum(np.maximum(moved, LOWEST), HIGHEST), state.log_price),
        load=np.where(ended, 0.0, state.load),
        short=np.where(ended, 0.0, state.short),
        reactive_load=state.reactive_load * decay,
        reactive_short=state.reactive_short * decay,
        windows=windows * decay,
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
