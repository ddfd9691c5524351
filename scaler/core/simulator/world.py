"""The agent's world: B clusters at once, each with troubles of its own that no forecast sees.

    draw → serve → remember → observe → move → decide → scale

The rules are the service's own: `learned` encodes and moves, `policies` say what is needed, `guardrails` limit it, the
dead band encodes it and `hpa` does it. A move is made once a minute and holds for the syncs of the HPA within it. What
a replica truly bears is hidden; what is seen is what monitoring reports, late and with gaps.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecasting import drift
from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core import dead_band, guardrails, hpa, learned, policies
from scaler.core.domain import Forecasts, Observations, Workloads
from scaler.core.learned import MOVE_S, Learned
from scaler.core.simulator.constants import BUSY_MEMORY, IDLE_CPU, IDLE_MEMORY, SIGNAL_NOISE, SYNC_S
from scaler.core.simulator.controllers import shipped_rules
from scaler.core.simulator.draws import (
    Draw,
    Fault,
    Histories,
    Ranges,
    drawn,
    faulty,
    fleet_of,
    forecast_rows,
    log_ability,
    start_ups,
)
from scaler.core.simulator.pods import Pods
from scaler.core.simulator.score import SLACK
from scaler.core.simulator.service import Messages, Requests, Served, idle

SYNCS = round(MOVE_S / SYNC_S.value)
"""Syncs of the HPA within a move."""
WARM_STEPS, DRAIN_STEPS = 4, 2
"""A minute in which a new replica warms up, and half a minute in which an old one drains."""
PRICE_OF_SHORTAGE = 0.1
"""What R weighs in the reward: at R = 32, the level 0.97, a short minute costs as much as three times its need."""
PRICE_OF_CHANGE = 1.0
"""Of a change of the count, by however many: what a sync's load costs to serve, and more where R is high."""
NORMALISED = 0.03
"""The reward is divided by 1 + this · R: rewards that differ a hundredfold between episodes drown each other."""
LARGEST_DEFICIT = 1.0
"""A shortage weighs at most twice what it would at the very edge."""


AHEAD = np.concatenate([np.arange(0, 24, 3), np.arange(24, 72, 6), np.arange(72, 240, 14)])
"""Steps ahead at which the critic is told the load: densely for six minutes, then up to an hour."""


@dataclass(frozen=True, slots=True)
class Minute:
    """What came of some syncs, sums over them, (B,)."""

    load: FloatArray
    short: FloatArray
    """Load that met too few ready replicas; for queues messages that became older than wanted, each once."""
    deficit: FloatArray
    """The same, weighted by how far the load exceeded what was ready; an old message counts again while it waits, once
    per wanted age."""
    billed: FloatArray
    needed: FloatArray
    """Replica-syncs of which every one was needed."""
    changes: FloatArray
    """How often the count changed."""


@dataclass(slots=True)
class Episode:
    """B clusters under way; mutable, so whoever advances it goes on with what comes back."""

    draw: Draw
    fleet: Workloads
    """As stated: its capacity is the one that may be wrong."""
    rules: hpa.HpaRules
    step: int
    pods: Pods
    served: Served
    hpa_state: hpa.HpaState
    rule_state: hpa.HpaState
    guard: guardrails.GuardState
    band: dead_band.BandState
    learned: Learned
    decided: IntArray
    seen: Observations
    forecasts: Forecasts
    minute: Minute
    fixed: FloatArray
    """Logarithm of a factor on what is needed that somebody set from outside, NaN where the moves' own holds, (B,)."""
    raw: BoolArray
    """Whose HPA is told the metric itself instead of a decision, (B,)."""


class ClusterWorld:
    """Worlds over histories; deterministic in the generator that is handed in."""

    def __init__(self, histories: Histories, ranges: Ranges, n: int) -> None:
        """`n` worlds at once, drawn anew for every episode."""
        self.histories, self.ranges, self.n = histories, ranges, n

    @property
    def n_actions(self) -> int:
        """The moves of the learned policy."""
        return len(learned.MOVES)

    def initial(self, rng: np.random.Generator) -> Episode:
        """Draw n worlds and start their clusters with what the forecast asks for."""
        return self.begin(drawn(self.histories, self.ranges, self.n, rng), rng)

    def begin(self, draw: Draw, rng: np.random.Generator) -> Episode:
        """Start the clusters of worlds that were drawn."""
        fleet, n = fleet_of(draw), len(draw.price)
        seen, asked = _nothing_seen(n), self._forecasts(draw, 0)
        first = np.maximum(
            policies.predictive_range(asked, policies.worth(draw.price, fleet), np.zeros(n), fleet)[1], 1
        )
        rules = replace(shipped_rules(n, (0.1, 1, int(fleet.maximum[0]))), tolerance_up=fleet.tolerance)
        episode = Episode(
            draw=draw,
            fleet=fleet,
            rules=replace(rules, tolerance_down=fleet.tolerance_down),
            step=-1,
            pods=Pods(first, start_ups(draw, rng), WARM_STEPS, DRAIN_STEPS),
            served=idle(n),
            hpa_state=hpa.initial_state((n,), SYNC_S.value, SYNC_S.value),
            rule_state=hpa.initial_state((n, 1), SYNC_S.value),
            guard=guardrails.initial_state(n, SYNC_S.value),
            band=dead_band.initial_state(n),
            learned=learned.initial_state(n),
            decided=first.copy(),
            seen=seen,
            forecasts=asked,
            minute=Minute(*np.zeros((len(Minute.__slots__), n))),
            fixed=np.full(n, np.nan),
            raw=np.zeros(n, np.bool_),
        )
        self._serve(episode, rng)
        return episode

    def observe(self, state: Episode) -> FloatArray:
        """What a live controller could see, (B, O)."""
        price, belief, by = _worth(state), _belief(state), _missed(state)
        relied = learned.raised(state.forecasts, by)
        need = learned.need_range(relied, state.seen, price, belief, state.learned, by)[1]
        return learned.encode(state.seen, state.forecasts, need, price, state.fleet, state.learned)

    def hidden(self, state: Episode) -> FloatArray:
        """What a replica bears, and the load to come, (B, H)."""
        draw, bears = state.draw, self._bears(state)
        last = len(self.histories.value) - 1
        rows = np.minimum((draw.at + state.step)[:, None] + AHEAD, last)
        coming = np.nan_to_num(self.histories.value[rows]) / bears[:, None]
        replicas = np.log(state.pods.replicas + learned.LITTLE)
        ready = np.log(state.pods.ready + learned.LITTLE)
        columns = (
            log_ability(draw, state.step) + state.learned.factor,
            np.log(coming[:, 0] + learned.LITTLE) - ready,
            np.log(coming[:, :8].max(axis=1) + learned.LITTLE) - ready,
            np.log(coming[:, 8:16].max(axis=1) + learned.LITTLE) - replicas,
            np.log(coming[:, 16:].max(axis=1) + learned.LITTLE) - replicas,
            coming.mean(axis=1) * bears / draw.mean - 1.0,
            draw.drift * self.ranges.steps,
            draw.fault == Fault.DROPPED,
            np.where(draw.fault == Fault.BIAS, draw.bias, 0.0),
            np.log1p(state.served.backlog / (bears * SYNC_S.value)) / 3.0,
            state.served.latency_s / draw.patience_s / 3.0,
        )
        vector = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
        return np.minimum(np.maximum(vector, -3.0), 3.0)

    def advance(
        self, state: Episode, action: IntArray, rng: np.random.Generator
    ) -> tuple[Episode, FloatArray, BoolArray]:
        """Move, and let a minute pass. The episodes of a batch end together."""
        state.learned = learned.moved(action, state.fleet, state.learned)
        self.pass_minute(state, rng)
        ended = np.full(len(action), state.step >= self.ranges.steps)
        return state, reward(state.minute, state.draw), ended

    def pass_minute(self, state: Episode, rng: np.random.Generator) -> None:
        """Decide, scale and serve for the syncs of a minute under the belief in force."""
        total = np.zeros((len(Minute.__slots__), len(state.decided)))
        for _ in range(SYNCS):
            before = state.pods.replicas
            self._decide(state)
            self._serve(state, rng)
            total += self._counted(state, before)
        state.minute = Minute(*total)

    def _serve(self, state: Episode, rng: np.random.Generator) -> None:
        """Let pods move on and the load be served, and see what monitoring reports of it."""
        state.step += 1
        draw, pods = state.draw, state.pods
        pods.begin_step()
        load = np.nan_to_num(self.histories.value[draw.at + state.step]).astype(np.float64)
        able = self._bears(state) * (pods.ready - draw.cold * pods.warming)
        state.served = _mixed(load, pods.ready, able, state.served, int((~draw.queue).sum()))
        state.seen = self._seen(state, rng)
        state.forecasts = self._forecasts(draw, state.step)
        state.learned = learned.remember(state.seen, state.forecasts, state.fleet, state.learned)

    def _bears(self, state: Episode) -> FloatArray:
        return np.asarray(state.draw.stated * np.exp(log_ability(state.draw, state.step)))

    def _seen(self, state: Episode, rng: np.random.Generator) -> Observations:
        draw, served, n = state.draw, state.served, len(state.decided)
        twins = int(draw.twin.max()) + 1
        chance = rng.random((2, twins), dtype=np.float32)[:, draw.twin]
        sample = self.histories.value[draw.at + state.step - draw.lag].astype(np.float64)
        sample[chance[0] < draw.lost] = np.nan
        feedback = np.empty((n, 4))
        feedback[:, 0] = (IDLE_CPU.value + (1.0 - IDLE_CPU.value) * served.busy) * draw.cpu_scale
        feedback[:, 1] = IDLE_MEMORY.value + BUSY_MEMORY.value * served.busy
        feedback[:, 2] = served.latency_s
        feedback[:, :3] *= 1.0 + SIGNAL_NOISE.value * rng.standard_normal((twins, 3), dtype=np.float32)[draw.twin]
        feedback[:, 3] = served.backlog
        feedback[~draw.read | (chance[1] < draw.lost)[:, None]] = np.nan
        return Observations(
            t_s=SYNC_S.value * state.step,
            step_s=SYNC_S.value,
            load=np.where(draw.queue, np.where(np.isnan(sample), np.nan, served.backlog), sample),
            arrivals=np.where(draw.queue, sample, np.nan),
            stale_s=np.where(np.isnan(sample), SYNC_S.value, 0.0),
            history_s=np.zeros(n),
            replicas=state.pods.replicas,
            ready=state.pods.ready.copy(),
            feedback=feedback,
            doubt=np.zeros(n, np.int64),
        )

    def _forecasts(self, draw: Draw, step: int) -> Forecasts:
        rows, n = forecast_rows(draw, step), len(draw.price)
        peak = faulty(self.histories.peak[rows].astype(np.float64), draw, step)
        ceiling = self.histories.ceiling[rows].astype(np.float64)
        ones = np.ones(n, np.int64)
        return Forecasts(peak, peak, ceiling, ones, ones > 0, drift.no_drift(n))

    def _decide(self, state: Episode) -> None:
        """The service's decision in mode Normal, at the world's price."""
        seen, fleet, price, by = state.seen, state.fleet, _worth(state), _missed(state)
        asked, belief = learned.raised(state.forecasts, by), _belief(state)
        low, high = learned.need_range(asked, seen, price, belief, state.learned, by)
        wanted = guardrails.steadied(low, high, seen.replicas)
        # Without a sample, or a forecast, what was decided is held, and raised where the forecast says so.
        wanted = np.where(seen.fresh & (low >= 0), wanted, np.maximum(wanted, state.decided))
        rules = hpa.reactive_rules(fleet)
        counts, state.rule_state = policies.reactive(
            seen.load, seen.replicas[:, None], rules, state.rule_state, seen.step_s
        )
        tick = guardrails.Tick(
            t_s=seen.t_s,
            step_s=seen.step_s,
            load=seen.load,
            fresh=seen.fresh,
            replicas=seen.replicas,
            reactive=counts[:, 0],
            foreseen=high,
            upper=state.forecasts.peak[:, guardrails.UPPER],
            active=np.ones(len(high), np.bool_),
        )
        state.decided, _, state.guard = guardrails.guard(wanted, tick, state.guard, belief)
        value, state.band = dead_band.encode(state.decided, seen.replicas, tick.active, price, fleet, state.band)
        value = np.where(state.raw, seen.load, value)
        counts_now, state.hpa_state = hpa.step(value, seen.replicas, state.rules, state.hpa_state, SYNC_S.value)
        state.pods.scale(counts_now, state.step)

    def _counted(self, state: Episode, before: IntArray) -> FloatArray:
        """This sync's row of Minute's sums, (fields, B)."""
        draw, ready = state.draw, state.pods.ready
        load = np.nan_to_num(self.histories.value[draw.at + state.step]).astype(np.float64)
        enough = self._bears(state) * ready
        excess = load / np.maximum(enough, 1e-12) - 1.0
        short = load * (excess > SLACK)
        became, waited = self.overdue(state)
        needed = np.maximum(np.ceil(load / self._bears(state) - SLACK), 1.0)
        return np.stack(
            [
                load,
                np.where(draw.queue, became, short),
                np.where(draw.queue, became + waited, short * (1.0 + np.minimum(excess, LARGEST_DEFICIT))),
                state.pods.billed,
                needed,
                state.pods.replicas != before,
            ]
        )

    def overdue(self, state: Episode) -> tuple[FloatArray, FloatArray]:
        """Messages that became older than wanted in this sync, and all that are, per wanted age; as rates, (B,) each.

        In order, what is left are the newest: those beyond what arrived within the wanted age are too old.
        """
        draw, total = state.draw, self.histories.total
        steps = np.maximum(np.rint(draw.patience_s / SYNC_S.value).astype(np.int64), 1)
        now = draw.at + state.step + 1
        since = np.maximum(now - steps, draw.at)
        overdue = np.maximum(state.served.backlog / SYNC_S.value - (total[now] - total[since]), 0.0)
        due = np.where(since > draw.at, total[since] - total[since - 1], 0.0)
        return np.minimum(due, overdue), overdue / steps

    def cleared(self, state: Episode) -> tuple[FloatArray, FloatArray]:
        """Messages cleared since the episode began, in load times steps, and seconds that the last one waited. (B,)"""
        draw, total = state.draw, self.histories.total
        now = draw.at + state.step + 1
        until = total[now] - state.served.backlog / SYNC_S.value
        came = np.searchsorted(total, until - 1e-9 * total[-1], side="left") - 1
        return until - total[draw.at], np.maximum(now - 1 - came, 0) * SYNC_S.value


def _worth(state: Episode) -> FloatArray:
    return policies.worth(state.draw.price, state.fleet)


def _belief(state: Episode) -> Workloads:
    """What one replica is taken to bear. (B,)"""
    own = learned.believed(state.fleet, state.learned)
    fixed = state.fleet.capacity * np.exp(-state.fixed)
    return replace(own, capacity=np.where(np.isnan(state.fixed), own.capacity, fixed))


def _missed(state: Episode) -> FloatArray:
    """What forecasts are raised by, for those that have an agent. (B,)"""
    return np.where(np.isnan(state.fixed), learned.missed(state.fleet, state.learned), 0.0)


def reward(minute: Minute, draw: Draw) -> FloatArray:
    """Minus what replicas beyond the load cost, shortage at the price R and changes, in mean loads. (B,)

    A change costs as much in a normalised reward at any R: where shortage is dear, a flicker would be for nothing. A
    queue's starts are dear enough: what it may wait for is how few it needs.
    """
    surplus = minute.billed * draw.capacity - minute.load
    penalty = PRICE_OF_SHORTAGE * draw.price * minute.deficit
    lost = (surplus + penalty) / (draw.mean * (1.0 + NORMALISED * draw.price))
    changes = np.where(draw.queue, 0.0, PRICE_OF_CHANGE * minute.changes)
    return np.asarray(-(lost + changes) / SYNCS)


def _mixed(load: FloatArray, ready: IntArray, able: FloatArray, before: Served, n_rates: int) -> Served:
    """Requests of the first rows and messages of the rest, served. (B,)"""
    parts = []
    for service, rows in ((Requests(), slice(0, n_rates)), (Messages(), slice(n_rates, len(load)))):
        own = Served(*(getattr(before, name)[rows] for name in Served.__slots__))
        parts.append(service.serve(load[rows], ready[rows], able[rows], own, SYNC_S.value))
    return Served(*(np.concatenate([getattr(part, name) for part in parts]) for name in Served.__slots__))


def _nothing_seen(n: int) -> Observations:
    nan, zero = np.full(n, np.nan), np.zeros(n, np.int64)
    return Observations(0.0, SYNC_S.value, nan, nan, nan, nan, zero, zero, np.full((n, 4), np.nan), zero)
