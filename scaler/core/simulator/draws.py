"""What is drawn for each of B worlds: a stretch of history, hidden capacity, start-ups, monitoring, faults."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import DAY_S
from scaler.core.domain import HPA_SYNC_S, Workload, Workloads, columns_of, take, window_steps
from scaler.core.simulator.constants import FLEET_UTILISATION, SYNC_S
from scaler.core.simulator.service import latency_target_s

LOOKS_BACK = 256
"""Steps of history kept before an episode: what is delayed must come from somewhere."""
SPARE = 8
"""Steps of history kept after it."""
LEARNT_S = 1.5 * DAY_S
"""Begin of every history that only the forecaster sees: its first fits are of no use to anybody."""
MANY_STEPS = 10**9
LEAST_LOAD, TRIES = 0.2, 8
"""An episode with less of its history's mean load is drawn again, so often."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """A load and what would have been forecast of it, at every step of the HPA."""

    name: str
    lead_s: float
    """What the forecasts look ahead, but for the HPA's sync."""
    queue: bool
    value: "np.ndarray[tuple[int], np.dtype[np.float32]]"
    """Load, (T,); for queues messages that arrive per second. NaN inside gaps."""
    peak: "np.ndarray[tuple[int, int], np.dtype[np.float32]]"
    """Quantiles of the lead window's peak, for queues of its mean, (T, Q)."""
    ceiling: "np.ndarray[tuple[int], np.dtype[np.float32]]"
    """Largest load worth believing, (T,)."""

    def part(self, first: float, last: float) -> "Foretold":
        """A stretch of it, from and to as shares."""
        rows = slice(int(first * len(self.value)), int(last * len(self.value)))
        return replace(self, value=self.value[rows], peak=self.peak[rows], ceiling=self.ceiling[rows])


@dataclass(frozen=True, slots=True)
class Histories:
    """K histories behind one another, S steps in all."""

    names: tuple[str, ...]
    value: FloatArray
    """(S,)"""
    peak: FloatArray
    """(S, Q)"""
    ceiling: FloatArray
    """(S,)"""
    first: IntArray
    """Where each begins, (K,)."""
    length: IntArray
    """(K,)"""
    queue: BoolArray
    """(K,)"""
    lead_s: FloatArray
    """(K,)"""
    mean: FloatArray
    """Mean load, (K,)."""
    usual: FloatArray
    """Load that three steps of five stay below, (K,)."""
    total: FloatArray
    """Sum of all load before each step, gaps as nothing, (S + 1,)."""

    @staticmethod
    def of(parts: Sequence[Foretold]) -> "Histories":
        """Put histories behind one another."""
        length = np.array([len(part.value) for part in parts])
        value = np.concatenate([part.value for part in parts])
        return Histories(
            tuple(part.name for part in parts),
            value,
            np.concatenate([part.peak for part in parts]),
            np.concatenate([part.ceiling for part in parts]),
            np.cumsum(length) - length,
            length,
            np.array([part.queue for part in parts]),
            np.array([part.lead_s for part in parts]),
            np.array([float(np.nanmean(part.value)) for part in parts]),
            np.array([float(np.nanquantile(part.value, 0.6)) for part in parts]),
            np.concatenate([[0.0], np.cumsum(np.nan_to_num(value), dtype=np.float64)]),
        )


class Fault(IntEnum):
    """What is wrong with a forecast, on purpose."""

    NONE = 0
    BIAS = 1
    """Too high or too low all the time."""
    DELAY = 2
    """What was forecast a while ago."""
    DROPPED = 3
    """No peaks: nothing above the usual load is foreseen."""
    FALSE = 4
    """Peaks out of nothing."""


Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Ranges:
    """From what worlds are drawn: uniformly, but for what says otherwise."""

    steps: int = 2880
    """Syncs of an episode: twelve hours."""
    queues: float = 0.25
    """Share of the worlds that are queues."""
    replicas: Span = (6.0, 60.0)
    """Mean fleet, log-uniform: what a replica truly bears follows from it."""
    price: Span = (12.0, 2500.0)
    """R, log-uniform."""
    known: float = 0.2
    """Share of the worlds whose stated capacity is true and stays so, as it does for rates of which nothing is read."""
    wrong: float = 0.4
    """A true capacity lies within this share of the stated one, at all times."""
    drift: float = 0.3
    """Largest drift per day, as a logarithm, either way."""
    deploys: float = 0.5
    """Probability of each of two deploys in an episode …"""
    jump: float = 0.25
    """… and the largest step of the capacity at one, as a logarithm, either way."""
    sigma: Span = (0.0, 0.5)
    """Standard deviation of the logarithm of start-up times."""
    cold: float = 0.5
    """Share of the worlds whose replicas warm up."""
    lag: int = 4
    """Largest delay of the metric, in steps."""
    lost: float = 0.05
    """Largest share of failed queries."""
    cpu: float = 0.85
    """Share of the worlds in which CPU and memory are read."""
    latency: float = 0.75
    """Share of those in which latency is read, too; for queues the age of the oldest message."""
    cpu_scale: Span = (0.95, 1.05)
    """CPU of a saturated replica, as a share of what its request says."""
    faults: float = 0.3
    """Share of the worlds whose forecasts have a fault."""
    bias: float = 0.4
    """Largest bias, as a logarithm, either way."""
    delay: int = 160
    """Largest delay of a forecast, in steps."""
    patience: Span = (1.0, 3.0)
    """Wanted age of a queue's oldest message, in lead times."""


@dataclass(frozen=True, slots=True)
class Draw:
    """B worlds, (B,) each; rates first, then queues."""

    history: IntArray
    twin: IntArray
    """Worlds of the same number share their chance: the same work for every policy."""
    at: IntArray
    """Where the episode begins in the histories."""
    queue: BoolArray
    stated: FloatArray
    """Capacity as somebody stated it."""
    wrong: FloatArray
    """Logarithm of the true capacity over the stated one as the episode begins."""
    widest: FloatArray
    """Largest distance of that, as a share."""
    drift: FloatArray
    """What is added to it per step."""
    deploy: IntArray
    """When it jumps, (B, 2)."""
    jump: FloatArray
    """By how much, (B, 2)."""
    price: FloatArray
    lag: IntArray
    lost: FloatArray
    lead_s: FloatArray
    """From asking for a replica to its serving, with metric lag and sync, as the service knows it."""
    sigma: FloatArray
    cold: FloatArray
    """What a warming replica lacks, as a share of a warm one."""
    tolerance: FloatArray
    cpu_scale: FloatArray
    read: BoolArray
    """Which of CPU, memory, latency and queue depth are read, (B, 4)."""
    fault: IntArray
    since: IntArray
    """Step of the episode from which forecasts have their fault."""
    bias: FloatArray
    delay: IntArray
    usual: FloatArray
    """What a forecast without peaks stays below."""
    patience_s: FloatArray
    """Wanted latency, for queues the wanted age of the oldest message."""
    mean: FloatArray
    """Load that the reward is measured in: the episode's mean, at least one replica's."""

    @property
    def capacity(self) -> FloatArray:
        """True capacity as the episode begins."""
        return np.asarray(self.stated * np.exp(self.wrong))


def drawn(histories: Histories, ranges: Ranges, n: int, rng: np.random.Generator) -> Draw:
    """Draw n worlds, those of queues last; where there are no histories of a kind there are none of its worlds."""
    kinds = [np.flatnonzero(histories.queue == queue) for queue in (False, True)]
    n_queues = round(n * ranges.queues) if len(kinds[0]) else n
    n_queues = n_queues if len(kinds[1]) else 0
    chosen = [rng.choice(kind, size) for kind, size in zip(kinds, (n - n_queues, n_queues), strict=True) if size]
    return drawn_of(histories, ranges, np.concatenate(chosen), rng)


def drawn_of(histories: Histories, ranges: Ranges, history: IntArray, rng: np.random.Generator) -> Draw:
    """Draw one world for each of the chosen histories, (B,)."""
    n = len(history)
    at = _begins(histories, history, ranges.steps, rng)
    queue, lead_s = histories.queue[history], histories.lead_s[history]
    true = histories.mean[history] / (FLEET_UTILISATION.value * _log_uniform(ranges.replicas, n, rng))
    stays, miss = rng.random(n) < ranges.known, rng.uniform(-1.0, 1.0, n)
    deploy = np.where(rng.random((n, 2)) < ranges.deploys, rng.integers(ranges.steps, size=(n, 2)), MANY_STEPS)
    jump = ranges.jump * rng.uniform(-1.0, 1.0, (n, 2))
    cpu = rng.random(n) < ranges.cpu
    latency = cpu & (rng.random(n) < ranges.latency)
    # Of a rate of which nothing is read nobody can find out: all that could be learnt there is to pay for a doubt.
    known = stays | ~(cpu | queue)
    wrong = np.where(known, 0.0, np.log(1.0 + ranges.wrong * miss))
    fault = np.where(rng.random(n) < ranges.faults, rng.integers(1, len(Fault), size=n), Fault.NONE)
    patience_s = np.where(queue, lead_s * rng.uniform(*ranges.patience, n), latency_target_s())
    lag = rng.integers(ranges.lag + 1, size=n)
    return Draw(
        history=history,
        twin=np.arange(n),
        at=at,
        queue=queue,
        stated=true / np.exp(wrong),
        wrong=wrong,
        widest=np.where(known, 0.0, ranges.wrong),
        drift=ranges.drift * rng.uniform(-1.0, 1.0, n) * SYNC_S.value / DAY_S * ~known,
        deploy=deploy,
        jump=jump * ~known[:, None],
        price=_log_uniform(ranges.price, n, rng),
        lag=np.minimum(lag, np.maximum((lead_s / SYNC_S.value / 2).astype(np.int64), 0)),
        lost=rng.uniform(0.0, ranges.lost, n),
        lead_s=lead_s + HPA_SYNC_S,
        sigma=rng.uniform(*ranges.sigma, n),
        cold=np.where(rng.random(n) < ranges.cold, 0.5, 0.0),
        tolerance=np.where(rng.random(n) < 0.8, 0.1, 0.05),
        cpu_scale=rng.uniform(*ranges.cpu_scale, n),
        read=np.stack([cpu, cpu, latency, queue], axis=1),
        fault=fault,
        since=np.zeros(n, np.int64),
        bias=ranges.bias * rng.uniform(-1.0, 1.0, n),
        delay=rng.integers(1, ranges.delay + 1, size=n),
        usual=histories.usual[history],
        patience_s=patience_s,
        mean=_mean_load(histories, at, ranges.steps, true),
    )


def _begins(histories: Histories, history: IntArray, steps: int, rng: np.random.Generator) -> IntArray:
    """Where episodes begin, (B,): anywhere, but not where hardly any load would come."""
    room = np.maximum(histories.length[history] - steps - SPARE - LOOKS_BACK, 1)
    total = histories.total
    at = np.zeros(len(history), np.int64)
    quiet = np.ones(len(history), np.bool_)
    for _ in range(TRIES):
        again = histories.first[history] + LOOKS_BACK + (rng.random(len(history)) * room).astype(np.int64)
        at = np.where(quiet, again, at)
        mean = (total[np.minimum(at + steps, len(total) - 1)] - total[at]) / steps
        quiet = mean < LEAST_LOAD * histories.mean[history]
    return at


def _log_uniform(span: Span, n: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(np.exp(rng.uniform(np.log(span[0]), np.log(span[1]), n)))


def _mean_load(histories: Histories, at: IntArray, steps: int, least: FloatArray) -> FloatArray:
    total = histories.total
    return np.asarray(np.maximum((total[np.minimum(at + steps, len(total) - 1)] - total[at]) / steps, least))


def log_ability(draw: Draw, step: int) -> FloatArray:
    """Logarithm of the true capacity over the stated one at a step of the episode, (B,)."""
    moved = draw.wrong + draw.drift * step + np.where(draw.deploy <= step, draw.jump, 0.0).sum(axis=1)
    return np.asarray(np.minimum(np.maximum(moved, np.log1p(-draw.widest)), np.log1p(draw.widest)))


def fault_at(draw: Draw, step: int) -> IntArray:
    """What is wrong with the forecasts at a step of the episode, (B,)."""
    return np.where(step >= draw.since, draw.fault, Fault.NONE)


def forecast_rows(draw: Draw, step: int) -> IntArray:
    """Which step's forecast is had at a step of the episode, (B,)."""
    late = np.where(fault_at(draw, step) == Fault.DELAY, draw.delay, 0)
    return np.asarray(draw.at + step - draw.lag - late)


def faulty(peak: FloatArray, draw: Draw, step: int) -> FloatArray:
    """Forecasts with what is wrong with them, (B, Q)."""
    fault, hour = fault_at(draw, step), (step // 240 + draw.at) * 2_654_435_761 % 97
    factor = np.where(fault == Fault.BIAS, np.exp(draw.bias), 1.0)
    factor = np.where((fault == Fault.FALSE) & (hour < 12), 2.0, factor)
    most = np.where(fault == Fault.DROPPED, draw.usual, np.inf)
    return np.asarray(np.minimum(peak * factor[:, None], most[:, None]))


def fleet_of(draw: Draw) -> Workloads:
    """What is configured: the stated capacity, and a threshold at the usual share of it. (B,)"""
    one = columns_of([Workload("world", "world", "0", threshold=1.0, capacity=1.0)])
    same = take(one, np.zeros(len(draw.price), np.int64))
    return replace(
        same,
        threshold=np.where(draw.queue, draw.patience_s, FLEET_UTILISATION.value) * draw.stated,
        capacity=draw.stated,
        queue=draw.queue,
        h=window_steps(draw.lead_s, SYNC_S.value),
        lead_s=draw.lead_s,
        tolerance=draw.tolerance,
        tolerance_down=draw.tolerance,
        minimum=np.maximum(same.minimum, 1),
        hpa_minimum=np.maximum(same.minimum, 1),
        hpa_maximum=same.maximum,
        latency_target_s=np.where(draw.read[:, 2] | draw.queue, draw.patience_s, np.nan),
    )


@dataclass(frozen=True, slots=True)
class CohortStartUp:
    """Pods that are asked for together start together, after a time drawn for them: for B worlds that differ."""

    steps: IntArray
    """(D, B): draws that are used in turn."""
    longest: int

    def placed(self, n: IntArray, step: int) -> IntArray:
        """All of a cluster in one row."""
        steps = self.steps[step % len(self.steps)]
        return np.asarray(np.where(np.arange(self.longest + 1)[:, None] == steps, n, 0))


def start_ups(draw: Draw, rng: np.random.Generator) -> CohortStartUp:
    """Start-ups whose 95 % quantile is what the service takes for the lead time, as it would have measured it."""
    normal = rng.standard_normal((61, int(draw.twin.max()) + 1))[:, draw.twin]
    known_s = np.maximum(draw.lead_s - HPA_SYNC_S - draw.lag * SYNC_S.value, SYNC_S.value)
    factor = np.exp(draw.sigma * (np.minimum(normal, 2.5) - 1.645))
    steps = np.ceil(np.where(draw.sigma > 0, factor, 1.0) * known_s / SYNC_S.value - 1e-9).astype(np.int64)
    return CohortStartUp(steps, int(steps.max()))
