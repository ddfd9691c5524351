"""The learned policy's place in a decision: what it sees, which moves it has, and what it may never do.

    seen, forecasts → remember (every tick) → encode → [an agent picks a move, once a minute] → moved → believed

A move shifts the *belief* in what one replica bears: everything that reads a capacity, the need, the guardrails' floors
and the backlog's clearing alike, then reads the believed one. Holding leaves the forecast-only decision as it is. Below
what the stated capacity asks for a belief goes only as far as replicas have lately been seen to bear.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core import policies
from scaler.core.domain import UNKNOWN, Forecasts, Observations, Workloads

MEMORY = 64
"""Numbers that the agent remembers of a workload beside what it sees of it."""
MOVE_S = 60.0
"""Between two moves: a pod takes longer, and CPU and latency are means of about a minute."""


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that the agent may do."""

    label: str
    log_factor: float
    """Added to the logarithm of the factor on what is needed, and kept."""
    replicas: int
    """Added to what is needed until the next move."""


MOVES = (
    Move("hold", 0.0, 0),
    Move("3 % less", -0.03, 0),
    Move("10 % less", -0.1, 0),
    Move("3 % more", 0.03, 0),
    Move("10 % more", 0.1, 0),
    Move("35 % more", 0.3, 0),
    Move("2 replicas more for a minute", 0.0, 2),
)
HOLD = 0
LARGEST = np.log(2.5)
"""Most that a need is stretched, as a logarithm: a stated capacity wrong by −40 % needs 1.67."""
SMALLEST = np.log(0.5)
"""Most that it is shrunk, whatever replicas were seen to bear."""
PATIENT = np.log(0.25)
"""The same for queues."""
BEYOND = 0.05
"""How far beyond what was seen to be borne a belief may try, as a logarithm: so evidence can grow."""
FORGOTTEN_S = 6 * 3600.0
"""In which what was borne loses BEYOND twice over: a deploy may have made it untrue."""
FACTORS, REPLICAS = np.array([move.log_factor for move in MOVES]), np.array([move.replicas for move in MOVES])

FULL_USE = float(np.log(0.8))
"""CPU of a replica that is as loaded as it may be, as a logarithm: the usual rule of operators. An agent that sees
latency, too, learns by how much a workload differs."""
FINE = 3.0
"""Errors of a belief are small numbers: a tenth is a replica of ten."""
LITTLE = 0.25
"""Added, in replicas, before logarithms of loads are taken: ratios of less mean nothing."""
TRAILING = (
    ("load", 60.0),
    ("load", 300.0),
    ("load", 1800.0),
    ("use", 300.0),
    ("use", 3600.0),
    ("cpu", 60.0),
    ("memory", 60.0),
    ("latency", 60.0),
    ("latency", 600.0),
    ("age", 60.0),
    ("forecast", 600.0),
    ("forecast", 7200.0),
    ("beyond", 1800.0),
)
"""Signals of which trailing means are kept, with the time in which a mean forgets, in seconds."""
FOLLOWS: FloatArray = np.array([{"load": -1.0, "use": 1.0}.get(name, 0.0) for name, _ in TRAILING])
"""How each follows the logarithm of the capacity in force."""
TAU_S: FloatArray = np.array([tau_s for _, tau_s in TRAILING])
OBSERVATION = (
    "queue", "price", "utilisation", "median", "q97", "q99", "spread", "slope 1 to 5 min", "slope 5 to 30 min",
    "starting", "need", "factor", "lead", "replicas", "load present", "cpu present", "cpu", "memory present", "memory",
    "use evidence", "use 5 min", "use 60 min", "latency present", "latency 1 min", "latency 10 min", "borne present",
    "borne", "failed present", "failed", "age present", "age", "forecast error 10 min", "forecast error 2 h",
    "beyond the forecast",
)  # fmt: skip
"""What the agent sees, in order; an absent signal is 0 beside its `present`."""
ERRORS = slice(10, 12)
"""Which of TRAILING tell how far the forecast's median lay above the load, lately and for longer, …"""
ABOVE = 0.03
"""… and how far it lies above it at least, as a logarithm: largest loads exceed means."""
KEPT_BEYOND = 0.2
"""Most that is kept beyond what is worth buying where forecasts missed: what they cannot tell is not worth changing
the count for."""
CPU_EVIDENCE, LATENCY_EVIDENCE = 5, 7
"""Which of TRAILING say whether CPU and latency are being read, …"""
READ = 0.2
"""… as a share of the last minute."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What the learned policy remembers of B workloads."""

    factor: FloatArray
    """Logarithm of the factor on what is needed, (B,)."""
    extra: IntArray
    """Replicas beside it until the next move, (B,)."""
    move: IntArray
    """The last move, an index of MOVES, (B,)."""
    memory: FloatArray
    """What the agent itself remembers, (B, MEMORY)."""
    mean: FloatArray
    """Trailing sums of the signals of TRAILING, (B, M), over …"""
    weight: FloatArray
    """… their weights, (B, M), which say how much of the time there was a signal."""
    borne: FloatArray
    """Largest load per ready replica lately served within the latency target, as log share of the stated capacity;
    for queues messages cleared; −inf before the first, (B,)."""
    failed: FloatArray
    """Smallest one lately that was not, inf before the first, (B,)."""
    depth: FloatArray
    """A queue's depth a tick ago, NaN where unknown, (B,)."""
    capacity: FloatArray
    """Capacity that all of this is relative to, NaN before the first tick, (B,)."""


def initial_state(n: int) -> Learned:
    """Nothing seen, nothing moved."""
    zeros = np.zeros((2, n, len(TRAILING)))
    counts = np.zeros((2, n), np.int64)
    nothing = np.full((2, n), np.nan)
    return Learned(
        np.zeros(n),
        counts[0],
        counts[1],
        np.zeros((n, MEMORY)),
        zeros[0],
        zeros[1],
        np.full(n, -np.inf),
        np.full(n, np.inf),
        nothing[0],
        nothing[1],
    )


def remember(seen: Observations, forecasts: Forecasts, fleet: Workloads, state: Learned) -> Learned:
    """Take a tick's signals into the trailing means and into what replicas were seen to bear."""
    state = _rebased(fleet.capacity, state)
    met = np.where(fleet.queue, seen.arrivals, seen.load) / fleet.capacity
    ready = np.maximum(seen.ready, 1)
    late = _lateness(seen, fleet)
    signals = _signals(seen, forecasts, fleet, met, late)
    present = ~np.isnan(signals)
    share = -np.expm1(-seen.step_s / TAU_S)
    cleared = _cleared(seen, fleet, state)
    borne, failed = _bracket(np.where(fleet.queue, cleared, met) / ready, late, fleet, seen, state)
    return replace(
        state,
        mean=state.mean + share * (np.where(present, signals, 0.0) - state.mean),
        weight=state.weight + share * (present - state.weight),
        borne=borne,
        failed=failed,
        depth=np.where(fleet.queue, seen.load, np.nan),
    )


def _rebased(capacity: FloatArray, state: Learned) -> Learned:
    """The same knowledge, relative to another capacity in force: what one replica is believed to bear stays. (B,)"""
    shift = np.where(np.isnan(state.capacity), 0.0, np.log(capacity / state.capacity))
    if not shift.any():
        return replace(state, capacity=capacity)
    return replace(
        state,
        factor=state.factor + shift,
        mean=state.mean + shift[:, None] * FOLLOWS * state.weight,
        borne=state.borne - shift,
        failed=state.failed - shift,
        capacity=capacity,
    )


def _lateness(seen: Observations, fleet: Workloads) -> FloatArray:
    """Logarithm of latency over its target, (B,); NaN where either is unknown. For queues age over wanted age."""
    with np.errstate(invalid="ignore"):
        ratio = np.log(np.maximum(seen.feedback[:, 2], 1e-3) / fleet.latency_target_s)
    return np.minimum(np.maximum(ratio, -2.0), 2.0)


def _signals(
    seen: Observations, forecasts: Forecasts, fleet: Workloads, met: FloatArray, late: FloatArray
) -> FloatArray:
    """This tick's value of every signal of TRAILING, (B, M); NaN where absent."""
    cpu, memory, depth = seen.feedback[:, 0], seen.feedback[:, 1], seen.feedback[:, 3]
    used = met / np.maximum(seen.ready, 1)
    log_met = np.log(met + LITTLE)
    signals = np.empty((len(met), len(TRAILING)))
    signals[:, 0:3] = log_met[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        telling = (met > LITTLE) & (used > 0.05) & (cpu > 0.02)
        signals[:, 3:5] = np.where(telling, np.log(np.maximum(cpu, 1e-3) / np.maximum(used, 1e-3)), np.nan)[:, None]
        signals[:, 9] = np.minimum(np.log1p(depth / (np.maximum(met, LITTLE) * fleet.capacity * _wanted_s(fleet))), 3.0)
    signals[:, 5], signals[:, 6] = cpu, memory
    signals[:, 7:9] = late[:, None]
    signals[:, 10:12] = (np.log(forecasts.peak[:, 0] / fleet.capacity + LITTLE) - log_met)[:, None]
    known = ~np.isnan(met + forecasts.peak[:, 3])
    signals[:, 12] = np.where(known, met * fleet.capacity > forecasts.peak[:, 3], np.nan)
    return signals


def _wanted_s(fleet: Workloads) -> FloatArray:
    return np.where(np.isnan(fleet.latency_target_s), fleet.lead_s, fleet.latency_target_s)


def _cleared(seen: Observations, fleet: Workloads, state: Learned) -> FloatArray:
    """Messages cleared in this step, in stated capacities, (B,); NaN where unknown."""
    return (seen.arrivals - (seen.load - state.depth) / seen.step_s) / fleet.capacity


def _bracket(
    borne_now: FloatArray, late: FloatArray, fleet: Workloads, seen: Observations, state: Learned
) -> tuple[FloatArray, FloatArray]:
    """What replicas bear lies between these, as log shares of the stated capacity, (B,) each; news wins over memory."""
    known = ~np.isnan(late) & (borne_now > 0.05)
    with np.errstate(invalid="ignore", divide="ignore"):
        now = np.log(np.maximum(borne_now, 1e-6))
        # A queue that leaves a backlog is cleared as fast as can be, late or not.
        saturated = fleet.queue & (seen.load > np.maximum(seen.arrivals, fleet.capacity) * seen.step_s)
    forgets = 2.0 * BEYOND * seen.step_s / FORGOTTEN_S
    met, missed = known & ((late <= 0) | saturated), known & ((late > 0) | saturated)
    borne, failed = state.borne - forgets, state.failed + forgets
    borne = np.where(met, np.maximum(borne, now), borne)
    failed = np.where(met, np.maximum(failed, now), failed)
    return (
        np.where(missed, np.minimum(borne, now), borne),
        np.where(missed, np.minimum(failed, now), failed),
    )


def trailing(state: Learned) -> tuple[FloatArray, FloatArray]:
    """Trailing means, 0 where there was no signal, and how much of the time there was one, (B, M) each."""
    there = state.weight > 1e-3
    return np.where(there, state.mean / np.where(there, state.weight, 1.0), 0.0), state.weight


def encode(
    seen: Observations, forecasts: Forecasts, need: IntArray, price: FloatArray, fleet: Workloads, state: Learned
) -> FloatArray:
    """What the agent sees of B workloads, (B, len(OBSERVATION)): scale-free, bounded, from what a controller can have.

    `need` is the forecast's need under the belief in force, `price` is R; the state has remembered this tick already.
    """
    mean, weight = trailing(state)
    replicas = np.log(np.maximum(seen.replicas, 0) + LITTLE)
    quantiles = np.log(forecasts.peak / fleet.capacity[:, None] + LITTLE)
    borne, failed = np.isfinite(state.borne), np.isfinite(state.failed)
    columns = (
        fleet.queue,
        np.log(price) / 3.0 - 1.0,
        mean[:, 0] - np.log(np.maximum(seen.ready, 0) + LITTLE),
        quantiles[:, 0] - replicas,
        quantiles[:, 2] - replicas,
        quantiles[:, 3] - replicas,
        quantiles[:, 3] - quantiles[:, 0],
        mean[:, 0] - mean[:, 1],
        mean[:, 1] - mean[:, 2],
        (seen.replicas - seen.ready) / np.maximum(seen.replicas, 1),
        np.log(np.maximum(need, 0) + LITTLE) - replicas,
        state.factor,
        np.log(fleet.lead_s / 120.0),
        0.5 * (replicas - 2.0),
        ~np.isnan(seen.load),
        ~np.isnan(seen.feedback[:, 0]),
        mean[:, 5],
        ~np.isnan(seen.feedback[:, 1]),
        mean[:, 6],
        weight[:, 4],
        FINE * (state.factor - mean[:, 3] + FULL_USE) * (weight[:, 3] > 0),
        FINE * (state.factor - mean[:, 4] + FULL_USE) * (weight[:, 4] > 0),
        weight[:, 8],
        mean[:, 7],
        mean[:, 8],
        borne,
        FINE * np.where(borne, np.where(borne, state.borne, 0.0) + state.factor, 0.0),
        failed,
        FINE * np.where(failed, np.where(failed, state.failed, 0.0) + state.factor, 0.0),
        ~np.isnan(seen.feedback[:, 3]),
        mean[:, 9],
        mean[:, 10],
        mean[:, 11],
        4.0 * mean[:, 12],
    )
    vector = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    return np.minimum(np.maximum(np.nan_to_num(vector), -3.0), 3.0)


def moved(action: IntArray, fleet: Workloads, state: Learned) -> Learned:
    """Take one move per workload, (B,), as far as it may go."""
    factor = state.factor + FACTORS[action]
    return replace(state, factor=bounded(factor, fleet, state), extra=REPLICAS[action], move=action)


def bounded(factor: FloatArray, fleet: Workloads, state: Learned) -> FloatArray:
    """The factor within its limits, (B,): below 1 only as far as replicas have lately been seen to bear.

    And the less, the more forecasts have missed: two errors would add up. A queue may wait: there the reactive
    rule is the floor of the guardrails, whatever is believed.
    """
    least = np.where(fleet.queue, PATIENT, np.maximum(-np.maximum(state.borne + BEYOND, 0.0), SMALLEST))
    least = np.minimum(least + missed(fleet, state), 0.0)
    return np.asarray(np.minimum(np.maximum(factor, least), LARGEST))


def believed(fleet: Workloads, state: Learned) -> Workloads:
    """The same workloads with what one replica is believed to bear."""
    return replace(fleet, capacity=fleet.capacity * np.exp(-bounded(state.factor, fleet, state)))


def need_range(
    forecasts: Forecasts, seen: Observations, price: FloatArray, belief: Workloads, state: Learned, by: FloatArray
) -> tuple[IntArray, IntArray]:
    """Replicas worth buying and worth keeping under a belief, with the move of the minute, (B,) each.

    `by` is what the forecasts were raised by, (B,): the less they can tell, the farther both lie apart.
    """
    clearing = policies.clearing_rate(forecasts.peak, seen, belief)
    low, high = policies.predictive_range(forecasts, price, clearing, belief)
    spared = np.ceil(low * (1.0 + np.minimum(by, KEPT_BEYOND)))
    high = np.where(by > 0, np.maximum(high, spared), high).astype(np.int64)
    return tuple(np.where(need == UNKNOWN, need, np.maximum(need + state.extra, 0)) for need in (low, high))  # type: ignore[return-value]


def missed(fleet: Workloads, state: Learned) -> FloatArray:
    """By how much forecasts have been too low, as a logarithm, (B,); 0 for queues.

    The largest load of the minutes to come is not below the mean of the last ones, unless load falls faster than it
    does: a forecast that goes on saying so is too low, whatever was learnt of it. One that did for two hours is not
    believed again at its first hit: the count would go down for minutes.
    """
    mean, weight = trailing(state)
    lowest = np.where(weight[:, ERRORS] > READ, mean[:, ERRORS], np.inf).min(axis=1)
    return np.where(fleet.queue, 0.0, np.minimum(np.maximum(ABOVE - lowest, 0.0), LARGEST))


def raised(forecasts: Forecasts, by: FloatArray) -> Forecasts:
    """The forecasts, raised by what they missed, (B,)."""
    return replace(forecasts, peak=forecasts.peak * np.exp(by)[:, None]) if by.any() else forecasts


CONDITIONS = ("blind", "cpu", "cpu and latency")
"""What feedback there is; an agent is judged, and used, by condition. For queues latency is the age."""


@dataclass(frozen=True, slots=True)
class Licence:
    """Where an agent may be used."""

    passed: BoolArray
    """(2, 3): rates and queues, by CONDITIONS."""

    def holds(self, fleet: Workloads, state: Learned) -> BoolArray:
        """Whether it may be used for each workload under what is read of it now, (B,)."""
        return np.asarray(self.passed[fleet.queue.astype(np.int64), condition_of(state)])


def condition_of(state: Learned) -> IntArray:
    """Which of CONDITIONS a workload is in, (B,)."""
    cpu = state.weight[:, CPU_EVIDENCE] > READ
    return np.where(cpu & (state.weight[:, LATENCY_EVIDENCE] > READ), 2, np.where(cpu, 1, 0))
