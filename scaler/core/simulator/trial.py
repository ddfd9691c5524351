"""A trial: policies over the same worlds, each at every setting of its knob, pooled over a family.

What is compared is what replica-hours buy: the cost where the same share of the load is short, and for queues where
95 % of the messages are cleared before they are as old. A world counts once, however much load it has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core import capacity, hpa, learned
from scaler.core.domain import take
from scaler.core.learned import MOVE_S
from scaler.core.simulator.constants import FLEET_UTILISATION, SYNC_S
from scaler.core.simulator.controllers import trigger_rules
from scaler.core.simulator.draws import Draw, drawn_of, log_ability
from scaler.core.simulator.score import draws, envelope
from scaler.core.simulator.world import SYNCS, ClusterWorld, Episode

AGE_EDGES: FloatArray = np.concatenate([[0.0], np.geomspace(0.01, 100.0, 185)])
"""In wanted ages: bins of the ages that messages are cleared at, 5 % apart."""
AGE_LEVEL = 0.95
LEAST_SHORT_PCT = 0.01
"""What no shortage at all counts as on a logarithmic scale."""
CALIBRATED_S = (0.0, 60.0, 300.0)
"""scaleDown.stabilizationWindowSeconds of the rules that are calibrated."""
PRICES: FloatArray = np.geomspace(8.0, 8000.0, 20)
"""R, the knob of what is ours."""
AIMS: FloatArray = np.geomspace(0.1, 2.5, 20)
"""The knob of what is ours for queues: the age that it is told is wanted, in wanted ages."""
MARGINS: FloatArray = np.geomspace(0.6, 2.0, 41)
"""The knob of a forecast whose capacity may be wrong, 3 % apart …"""
MARGIN_PRICE = 50.0
"""… at the price that the feedback finds where 1 % may be short."""
MARGIN, KNOWING, RULE, CALIBRATED = "forecast with a margin", "capacity known", "usual rule", "reactive"
"""Names of entrants."""
SHARES: FloatArray = np.geomspace(0.02, 3.0, 40)
"""Thresholds of rules on the metric, in what a replica bears (for queues clears within the wanted age)."""
Pilot = Callable[[Episode, IntArray], None]
"""Told once a minute of the whole batch and of its own rows, which it may steer."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy and the K settings that it is tried at."""

    name: str
    price: FloatArray
    """R, (K,)."""
    factor: FloatArray
    """Logarithm of a fixed factor on the need, (K,); NaN where its pilot's moves hold."""
    pilot: Pilot | None = None
    threshold: FloatArray = field(default_factory=lambda: np.empty(0))
    """Of the HPA on the metric itself, as a share of what a replica bears, (K,); empty where forecasts are used."""
    window_s: FloatArray = field(default_factory=lambda: np.empty(0))
    """Its stabilization window, (K,)."""
    aim: FloatArray = field(default_factory=lambda: np.empty(0))
    """Age of a queue's oldest message that it is told is wanted, as a share of what is, (K,); empty for just that."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an entrant did at each setting in each world, (K, W)."""

    name: str
    price: FloatArray
    factor: FloatArray
    short: FloatArray
    """Share of the load that met too few replicas."""
    cost: FloatArray
    """Replicas paid for over those needed at every step."""
    events: FloatArray
    """Changes of the count per hour."""
    ages: FloatArray
    """Share of a queue's messages per bin of the ages that they are cleared at, (K, W, A)."""
    aim: FloatArray
    """Age that it was told is wanted, as a share of what is, (K,)."""


def ours(name: str, *, queue: bool, factor: float = 0.0, pilot: Pilot | None = None) -> Entrant:
    """What is ours over its knob: the price of a short replica, for queues the wanted age."""
    if queue:
        n = len(AIMS)
        return Entrant(name, np.full(n, MARGIN_PRICE), np.full(n, factor), pilot, aim=AIMS)
    return Entrant(name, PRICES, np.full(len(PRICES), factor), pilot)


def forecast_only(name: str = "forecast only", *, queue: bool = False) -> Entrant:
    """The service without an agent."""
    return ours(name, queue=queue)


def with_margin() -> Entrant:
    """The same with one factor for all on what it asks for."""
    return Entrant(MARGIN, np.full(len(MARGINS), MARGIN_PRICE), np.log(MARGINS))


def knowing(*, queue: bool = False) -> Entrant:
    """Forecast-only that is told what a replica bears: nobody can have that."""

    def pilot(state: Episode, rows: IntArray) -> None:
        state.fixed[rows] = -log_ability(state.draw, state.step)[rows]

    return ours(KNOWING, queue=queue, pilot=pilot)


def learning() -> Entrant:
    """Forecast-only with the capacity that the service learns from feedback, in force as in the service."""
    kept: list[capacity.CapacityState] = []

    def pilot(state: Episode, rows: IntArray) -> None:
        fleet, seen = take(state.fleet, rows), take(state.seen, rows)
        before = kept.pop() if kept else capacity.initial_state(len(rows))
        work = np.where(fleet.queue, np.nan, seen.load)
        now = capacity.step(work, replace(seen, step_s=MOVE_S), fleet, before)
        kept.append(now)
        used = fleet.capacity * np.exp(-state.fixed[rows])
        state.fixed[rows] = -np.log(capacity.in_force(used, now.load, fleet.capacity) / fleet.capacity)

    return Entrant("capacity learnt", PRICES, np.zeros(len(PRICES)), pilot)


def usual_rule() -> Entrant:
    """The HPA's rule on the metric as a trigger without Foresail has it: what bad forecasts must not fall behind."""
    one = np.ones(1)
    return Entrant(RULE, MARGIN_PRICE * one, 0.0 * one, None, FLEET_UTILISATION.value * one, 300.0 * one)


def reactive() -> Entrant:
    """KEDA's rule and the HPA's on the metric itself, over thresholds and windows."""
    threshold, window_s = (grid.ravel() for grid in np.meshgrid(SHARES, np.array(CALIBRATED_S), indexing="ij"))
    n = len(threshold)
    return Entrant(CALIBRATED, np.ones(n), np.zeros(n), None, threshold, window_s)


def trial(
    world: ClusterWorld, entrants: Sequence[Entrant], variants: int, settling: int, rng: np.random.Generator
) -> list[Found]:
    """Let all entrants meet `variants` worlds of every history; worlds are in the order of histories.

    The first `settling` minutes are not judged.
    """
    base = drawn_of(world.histories, world.ranges, np.repeat(np.arange(len(world.histories.names)), variants), rng)
    return contest(world, entrants, base, range(settling, world.ranges.steps // SYNCS), rng)


def contest(
    world: ClusterWorld, entrants: Sequence[Entrant], base: Draw, judged: range, rng: np.random.Generator
) -> list[Found]:
    """Let all entrants meet the drawn worlds, and judge the given minutes; nothing comes after them."""
    n_worlds = len(base.price)
    state = _begun(world, base, entrants, rng)
    rows = _rows(entrants, n_worlds)
    n = len(state.fixed)
    sums, ages, everyone = np.zeros((5, n)), np.zeros((n, len(AGE_EDGES))), np.arange(n)
    before = np.zeros(n)
    for minute in range(judged.stop):
        for entrant, own in zip(entrants, rows, strict=True):
            if entrant.pilot is not None:
                entrant.pilot(state, own)
        world.pass_minute(state, rng)
        cleared, waited_s = world.cleared(state)
        if minute in judged:
            done = state.minute
            sums += [done.load, done.short, done.billed, done.needed, done.changes]
            age = np.searchsorted(AGE_EDGES, waited_s / state.draw.patience_s, side="right") - 1
            ages[everyone, age] += cleared - before
        before = cleared
    hours = len(judged) / 60.0
    return [
        _found(entrant, sums[:, own], ages[own], n_worlds, hours) for entrant, own in zip(entrants, rows, strict=True)
    ]


def _begun(world: ClusterWorld, base: Draw, entrants: Sequence[Entrant], rng: np.random.Generator) -> Episode:
    """Every world once for every setting of every entrant: rates first, then by entrant and setting."""
    n_worlds = len(base.price)
    price = np.concatenate([entrant.price for entrant in entrants])
    draw = replace(take(base, np.tile(np.arange(n_worlds), len(price))), price=np.repeat(price, n_worlds))
    state = world.begin(draw, rng)
    state.fixed = np.repeat(np.concatenate([entrant.factor for entrant in entrants]), n_worlds)
    threshold, window_s = (_padded(entrants, name, np.nan, n_worlds) for name in ("threshold", "window_s"))
    told_s = state.fleet.latency_target_s * np.where(draw.queue, _padded(entrants, "aim", 1.0, n_worlds), 1.0)
    state.fleet = replace(state.fleet, latency_target_s=told_s)
    state.raw = ~np.isnan(threshold)
    if state.raw.any():
        target = np.where(state.raw, threshold * draw.stated * np.where(draw.queue, draw.patience_s, 1.0), 1.0)
        ruled = trigger_rules(target, np.nan_to_num(window_s), (0.1, 1, int(state.fleet.maximum[0])))
        up, own = ruled.up, state.rules.up
        chosen = {name: np.where(state.raw, getattr(up, name), getattr(own, name)) for name in up.__slots__}
        state.rules = replace(
            ruled, up=type(up)(**chosen), tolerance_up=state.fleet.tolerance, tolerance_down=state.fleet.tolerance_down
        )
        state.hpa_state = hpa.initial_state((len(target),), SYNC_S.value)
    return state


def _padded(entrants: Sequence[Entrant], name: str, otherwise: float, n_worlds: int) -> FloatArray:
    """A setting of all rows, `otherwise` for entrants that do not have it."""
    values = [getattr(one, name) for one in entrants]
    filled = [
        own if len(own) else np.full(len(one.price), otherwise) for one, own in zip(entrants, values, strict=True)
    ]
    return np.repeat(np.concatenate(filled), n_worlds)


def _rows(entrants: Sequence[Entrant], n_worlds: int) -> list[IntArray]:
    ends = np.cumsum([len(entrant.price) * n_worlds for entrant in entrants])
    return [np.arange(end - len(entrant.price) * n_worlds, end) for entrant, end in zip(entrants, ends, strict=True)]


def _found(entrant: Entrant, sums: FloatArray, ages: FloatArray, n_worlds: int, hours: float) -> Found:
    load, short, billed, needed, changes = sums.reshape(5, -1, n_worlds)
    return Found(
        entrant.name,
        entrant.price,
        entrant.factor,
        short / np.maximum(load, 1e-12),
        billed / np.maximum(needed, 1.0),
        changes / hours,
        ages.reshape(-1, n_worlds, ages.shape[1]) / np.maximum(load, 1e-12)[:, :, None],
        entrant.aim if len(entrant.aim) else np.ones(len(entrant.price)),
    )


def cost_of(found: Found, weights: FloatArray, short_pct: float) -> float:
    """Mean cost where the mean short share is `short_pct`, worlds weighted by (W,); NaN where that is never reached.

    Between the settings on both sides of it, linear in the logarithm of the short share, however far apart they are: a
    short episode is short at a few bursts or at none.
    """
    share = weights / weights.sum()
    short, cost = 100.0 * found.short @ share, found.cost @ share
    best = envelope(short, cost)
    x = np.log(np.maximum(short[best], LEAST_SHORT_PCT))
    inside = x[0] <= np.log(short_pct) <= x[-1]
    return float(np.interp(np.log(short_pct), x, cost[best])) if inside else float("nan")


def setting_at(found: Found, weights: FloatArray, short_pct: float) -> int:
    """The cheapest setting that leaves no more than `short_pct` short, else the one that leaves the least."""
    share = weights / weights.sum()
    short, cost = 100.0 * found.short @ share, found.cost @ share
    good = short <= short_pct
    return int(np.argmin(np.where(good, cost, np.inf)) if good.any() else np.argmin(short))


@dataclass(frozen=True, slots=True)
class Ratio:
    """What one policy costs over another at the same short share, with a bootstrap interval over worlds."""

    mean: float
    low: float
    high: float


def ratio_of(found: Found, other: Found, short_pct: float, n_samples: int, rng: np.random.Generator) -> Ratio:
    """Cost of `found` over that of `other`; worlds are drawn in pairs. NaN where one of them never gets there."""
    n_worlds = found.cost.shape[1]
    mean = cost_of(found, np.ones(n_worlds), short_pct) / cost_of(other, np.ones(n_worlds), short_pct)
    weights = draws(n_worlds, n_samples, rng).astype(np.float64)
    drawn = np.array([cost_of(found, one, short_pct) / cost_of(other, one, short_pct) for one in weights])
    known = drawn[~np.isnan(drawn)]
    if len(known) < 0.8 * n_samples:
        return Ratio(mean, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Ratio(mean, float(low), float(high))


def oldest(found: Found) -> FloatArray:
    """Age, in wanted ages, that 95 % of the messages of all worlds stay below, (K,)."""
    below = np.cumsum(found.ages.mean(axis=1), axis=1)
    bin_of = (below < AGE_LEVEL - 1e-9).sum(axis=1)
    return np.asarray(AGE_EDGES[np.minimum(bin_of + 1, len(AGE_EDGES) - 1)])


def agent_pilot(world: ClusterWorld, act: Callable[[FloatArray, FloatArray], tuple[IntArray, FloatArray]]) -> Pilot:
    """An agent's moves for its rows."""

    def pilot(state: Episode, rows: IntArray) -> None:
        action = np.zeros(len(state.decided), np.int64)
        action[rows], state.learned.memory[rows] = act(world.observe(state)[rows], state.learned.memory[rows])
        moved = learned.moved(action, state.fleet, state.learned)
        for name in ("factor", "extra", "move"):
            getattr(state.learned, name)[rows] = getattr(moved, name)[rows]

    return pilot
