"""A trial: policies over the same worlds, each at every setting of its one knob, pooled over a family.

What is compared is what a replica-hour buys where the same share of the load is short (`cost_at`), for queues where the
oldest messages are as old.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core.domain import take
from scaler.core.simulator.draws import Draw, Histories, Ranges, drawn_of
from scaler.core.simulator.score import cost_at, envelope
from scaler.core.simulator.world import ClusterWorld, Episode

SETTLING = 60
"""Minutes of an episode that are not counted."""
AGE_EDGES: FloatArray = np.concatenate([[0.0], np.geomspace(0.02, 50.0, 120)])
"""Wanted ages, in whose bins the ages that messages met are counted."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy and the settings it is tried at."""

    name: str
    prices: FloatArray
    """R of each setting, (K,)."""
    factors: FloatArray
    """Logarithm of the fixed factor on the need of each setting, (K,); NaN where the pilot moves."""
    pilot: Callable[[Episode, IntArray], None] | None = None
    """Told once a minute of the whole batch and of its own rows in it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an entrant did, per setting and world, (K, W)."""

    name: str
    prices: FloatArray
    factors: FloatArray
    short: FloatArray
    """Share of the load that met too few replicas."""
    cost: FloatArray
    """Replicas paid for over those needed at every step."""
    events: FloatArray
    """Changes of the count per hour."""
    ages: FloatArray
    """Load by the age that it met, (K, W, bins)."""


def trial(
    histories: Histories, ranges: Ranges, entrants: Sequence[Entrant], variants: int, rng: np.random.Generator
) -> list[Found]:
    """Let entrants meet `variants` worlds of every history."""
    base = drawn_of(histories, ranges, np.repeat(np.arange(len(histories.names)), variants), rng)
    n_worlds, settings = len(base.price), sum(len(entrant.prices) for entrant in entrants)
    draw = _laid_out(base, entrants)
    world = ClusterWorld(histories, ranges, len(draw.price))
    state = world.begin(draw, rng)
    state.fixed = np.repeat(np.concatenate([entrant.factors for entrant in entrants]), n_worlds)
    rows = _rows(entrants, n_worlds)
    sums = np.zeros((5, settings * n_worlds))
    ages = np.zeros((settings * n_worlds, len(AGE_EDGES)))
    everyone = np.arange(settings * n_worlds)
    for minute in range(ranges.steps // 4 - 1):
        for entrant, own in zip(entrants, rows, strict=True):
            if entrant.pilot is not None:
                entrant.pilot(state, own)
        world.pass_minute(state, rng)
        if minute >= SETTLING:
            done = state.minute
            sums += [done.load, done.short, done.billed, done.needed, done.changes]
            late = np.searchsorted(AGE_EDGES, state.served.latency_s / draw.patience_s, side="right") - 1
            ages[everyone, late] += done.load
    hours = (ranges.steps // 4 - 1 - SETTLING) / 60.0
    return [
        _found(entrant, sums[:, own], ages[own], n_worlds, hours) for entrant, own in zip(entrants, rows, strict=True)
    ]


def _laid_out(base: Draw, entrants: Sequence[Entrant]) -> Draw:
    """Every world once for every setting of every entrant, settings first."""
    n_worlds = len(base.price)
    prices = np.concatenate([entrant.prices for entrant in entrants])
    index = np.tile(np.arange(n_worlds), len(prices))
    draw = take(base, index)
    return replace(draw, price=np.repeat(prices, n_worlds))


def _rows(entrants: Sequence[Entrant], n_worlds: int) -> list[IntArray]:
    ends = np.cumsum([len(entrant.prices) * n_worlds for entrant in entrants])
    return [np.arange(end - len(entrant.prices) * n_worlds, end) for entrant, end in zip(entrants, ends, strict=True)]


def _found(entrant: Entrant, sums: FloatArray, ages: FloatArray, n_worlds: int, hours: float) -> Found:
    load, short, billed, needed, changes = sums.reshape(5, -1, n_worlds)
    return Found(
        entrant.name,
        entrant.prices,
        entrant.factors,
        short / np.maximum(load, 1e-12),
        billed / np.maximum(needed, 1.0),
        changes / hours,
        ages.reshape(-1, n_worlds, ages.shape[1]),
    )


def pooled_cost(found: Found, worlds: IntArray, short_pct: float) -> float:
    """Mean cost of the worlds at that mean short share, every world counting alike; NaN where it is never reached."""
    short, cost = 100.0 * found.short[:, worlds].mean(axis=1), found.cost[:, worlds].mean(axis=1)
    best = envelope(short, cost)
    at = cost_at(short[best], cost[best], short_pct)
    return float("nan") if at is None else at
