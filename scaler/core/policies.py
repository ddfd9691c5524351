"""What each rule wants: the reactive rule, the forecast, and what a mode serves of both."""

import numpy as np

from forecasting.forecast import FloatArray, IntArray, Quantiles, at_level
from scaler.core.domain import HPA_SYNC_S, UNKNOWN, Forecasts, Mode, Observations, Workloads
from scaler.core.guardrails import replicas_for
from scaler.core.hpa import HpaRules, HpaState, step

LONGEST_CATCH_UP = 8
"""Syncs of the HPA that one of our steps stands for, at most: eight doublings cover any range of replicas."""


def reactive(
    load: FloatArray, replicas: IntArray, rules: HpaRules, state: HpaState, step_s: float
) -> tuple[IntArray, HpaState]:
    """What the HPA rule makes of `load`, (B,), on several replica counts of each workload, (B, K), within one step.

    A step longer than the HPA's sync period holds several syncs. From 0 replicas it starts at 1, as KEDA would.
    """
    n_syncs = min(max(round(step_s / HPA_SYNC_S), 1), LONGEST_CATCH_UP)
    counts = np.maximum(replicas, 1)
    for _ in range(n_syncs):
        counts, state = step(load[:, None], counts, rules, state, min(step_s, HPA_SYNC_S))
    return counts, state


AIM = 0.75
"""Share of a queue's wanted age in which its backlog is to be gone: with 1 the oldest messages would be as old as that
whatever comes next."""


def aimed_s(fleet: Workloads) -> FloatArray:
    """Age that the oldest message of a queue is planned to have at most, in seconds, (B,)."""
    return AIM * np.where(np.isnan(fleet.latency_target_s), fleet.lead_s, fleet.latency_target_s)


def clearing_rate(peak: FloatArray, seen: Observations, fleet: Workloads) -> FloatArray:
    """Messages per second to clear beside the arrivals, (B,); 0 for rates.

    The backlog expected when a replica started now is ready must be worked off within the age that is aimed at. That
    what waits now will be gone by then is not believed: replicas may bear less than is stated.
    """
    if not fleet.queue.any():
        return np.zeros(len(fleet.queue))
    ready = np.where(seen.ready > 0, seen.ready, 0)
    depth = np.where(np.isnan(seen.load), 0.0, seen.load)
    backlog = depth + np.maximum((peak[:, 0] - fleet.capacity * ready) * fleet.lead_s, 0.0)
    return np.where(fleet.queue, backlog / np.maximum(aimed_s(fleet), 1.0), 0.0)


RHO = 3.0
"""A replica is bought where one short replica is worth R / RHO of them, and kept where it is worth R."""
PATIENCE = 2
"""A queue buys where those worth keeping are more than so many times what runs: a start is paid for a lead time without
serving, and messages may wait."""
AT_ONCE = 0.5
"""Share of a queue's foreseen arrivals that replicas are planned for at once; the rest may become backlog, and is
cleared as such: so a short burst is spread over the wanted age, and what was foreseen too high costs half."""
WAITING = 0.5
"""Share of the probability that more comes than is planned for, per lead time that messages may wait for a replica."""


def worth(price: FloatArray, fleet: Workloads) -> FloatArray:
    """R that a short replica is worth, (B,): the price, for queues no more than their wanted age asks for.

    The closer that comes to two lead times, the more may wait for a replica that starts when messages come.
    """
    exceeded = np.minimum(WAITING * aimed_s(fleet) / fleet.lead_s, WAITING)
    return np.where(fleet.queue, np.minimum(price, 1.0 / np.maximum(exceeded, 1e-9) - 1.0), price)


def predictive_range(
    said: Forecasts | Quantiles, price: FloatArray, clearing: FloatArray, fleet: Workloads
) -> tuple[IntArray, IntArray]:
    """Replicas that are worth buying and those worth keeping at the price R of a short replica, (B,) each."""
    bought_kept = np.stack([price / RHO, price])
    low, high = predictive_need(said, bought_kept / (1.0 + bought_kept), clearing, fleet)
    return np.where(fleet.queue & (high >= 0), -(-high // PATIENCE), low), high


def predictive_need(said: Forecasts | Quantiles, level: FloatArray, clearing: FloatArray, fleet: Workloads) -> IntArray:
    """Replicas that the forecast asks for: ceil((Q_level(peak) + clearing) / capacity), of the shape of `level`.

    Of a queue's arrivals AT_ONCE counts. Several levels at once stand along a leading axis, (K, B).
    UNKNOWN where there is no forecast, or a queue whose capacity was not stated. Ratios of loads below a quarter of a
    replica mean nothing, so that much is added before logarithms are taken.
    """
    upper = np.fmin(at_level(said.peak, level, 0.25 * fleet.capacity), said.ceiling)
    upper = np.where(np.isnan(said.peak[:, 0]), np.nan, upper)
    need = replicas_for(np.where(fleet.queue, AT_ONCE * upper, upper) + clearing, fleet.capacity)
    return np.where(np.isnan(upper) | ~fleet.capacity_known, UNKNOWN, need)


def serve_shadow(mode: IntArray, reactive: IntArray, last: IntArray) -> IntArray:
    """What a workload in shadow serves: the reactive answer, held like any other while the load is stale. (B,)"""
    stale = (mode == Mode.HOLDING) | (mode == Mode.FAILED)
    return np.where(stale, np.maximum(reactive, last), reactive)


def serve(
    mode: IntArray,
    earned: FloatArray,
    rules: tuple[IntArray, IntArray],
    predictive: IntArray,
    last: IntArray,
) -> IntArray:
    """What the mode serves, (B,): r while learning or degraded; above r at once, below r as far as earned; held.

    `rules` are the reactive rule's counts, on what runs and alone; `last` is the previous decision, −1 where there is
    none. What is held covers what the rule alone would have left running: an outage must not find fewer replicas.
    """
    reactive, alone = rules
    known = predictive >= 0
    blended = np.maximum(reactive, predictive) - np.floor(earned * np.maximum(reactive - predictive, 0))
    stale = (mode == Mode.HOLDING) | (mode == Mode.FAILED)
    heard = known & (stale | (mode == Mode.NORMAL) | (mode == Mode.RECOVERY))
    held = np.maximum(np.maximum(last, alone), np.where(known, predictive, 0))
    served = np.where(heard, blended, reactive)
    return np.where(stale, np.where(last >= 0, held, served), served).astype(np.int64)
