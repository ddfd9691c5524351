"""`python -m benchmarks agent_adversary`: a day of bad forecasts, with the agent, without it, and with the rule alone.

Four hours of honest forecasts, then a day in which they have one fault. Nobody notices: the mode stays Normal and the
price what it was, though a service would lower the one and raise the other. The guardrails are in force. The stated
capacity is the true one, CPU and latency are read; loads are the test part of the recorded histories.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.agent_eval import told_of
from forecasting.forecast import FloatArray
from rl_agent.agent import Agent
from scaler import agent_card
from scaler.agent_training import TEST
from scaler.core.simulator.draws import Draw, Fault, Foretold, Histories, Ranges, drawn_of
from scaler.core.simulator.trial import MARGIN_PRICE, Entrant, agent_pilot, contest, usual_rule
from scaler.core.simulator.world import SYNCS, ClusterWorld

WARM, HOUR, DAY = 4 * 60, 60, 24 * 60
"""Minutes."""
SEEDS, VARIANTS, SAMPLES = 5, 2, 1000
BIAS, LATE_STEPS = 0.4, 160
"""Forecasts a third too low or half too high, or forty minutes late."""
SHORT, FIRST_HOUR = 0.5, 2.0
"""Points of short load that the agent may leave beyond the rule alone, in the day and in its first hour."""
CHANGES = 0.1
"""Changes per hour that it may make beyond forecast-only's: less than three a day are noise."""


@dataclass(frozen=True, slots=True)
class Evil:
    """What is wrong with the forecasts of a day."""

    name: str
    fault: Fault
    bias: float = 0.0


EVILS = (
    Evil("nothing is wrong", Fault.NONE),
    Evil("a third too low", Fault.BIAS, -BIAS),
    Evil("half too high", Fault.BIAS, BIAS),
    Evil("40 minutes late", Fault.DELAY),
    Evil("no peaks", Fault.DROPPED),
    Evil("false peaks", Fault.FALSE),
)


@dataclass(frozen=True, slots=True)
class Lived:
    """What came of some minutes, (P, E, W): the agent's, forecast-only's and the rule's, by evil and world."""

    short_pct: FloatArray
    cost: FloatArray
    """Replicas over those that would have sufficed."""
    events: FloatArray
    """Changes of the count per hour."""


@dataclass(frozen=True, slots=True)
class Suffered:
    """The first hour with bad forecasts, and the day."""

    hour: Lived
    day: Lived


def suffered(told: Sequence[Foretold], agent: Agent, seeds: int, day: int = DAY) -> Suffered:
    """Let all three live through every evil, on worlds of every history drawn anew for each seed."""
    histories = Histories.of([one.part(*TEST) for one in told])
    ranges = Ranges(steps=SYNCS * (WARM + day), known=1.0, cpu=1.0, latency=1.0, faults=0.0)
    world = ClusterWorld(histories, ranges, 1)
    return Suffered(*(_lived(world, agent, seeds, range(WARM, WARM + last)) for last in (min(HOUR, day), day)))


def _lived(world: ClusterWorld, agent: Agent, seeds: int, judged: range) -> Lived:
    one = np.full(1, MARGIN_PRICE)
    entrants = [
        Entrant("agent", one, np.full(1, np.nan), agent_pilot(world, agent.act)),
        Entrant("forecast only", one, np.zeros(1)),
        usual_rule(),
    ]
    parts = []
    for seed in range(seeds):
        base = _worlds(world, np.random.default_rng([12, seed]))
        found = contest(world, entrants, base, judged, np.random.default_rng([13, seed]))
        columns = [np.stack([getattr(one, name)[0] for one in found]) for name in ("short", "cost", "events")]
        parts.append(np.stack(columns).reshape(3, 3, len(EVILS), -1))
    short, cost, events = np.concatenate(parts, axis=3)
    return Lived(100.0 * short, cost, events)


def _worlds(world: ClusterWorld, rng: np.random.Generator) -> Draw:
    """The same worlds for every evil; evil by evil."""
    history = np.repeat(np.arange(len(world.histories.names)), VARIANTS)
    drawn = drawn_of(world.histories, world.ranges, history, rng)
    n = len(history)
    several = {name: np.concatenate([getattr(drawn, name)] * len(EVILS)) for name in Draw.__slots__}
    return replace(
        Draw(**several),
        fault=np.repeat([int(evil.fault) for evil in EVILS], n),
        bias=np.repeat([evil.bias for evil in EVILS], n),
        since=np.full(n * len(EVILS), SYNCS * WARM),
        delay=np.full(n * len(EVILS), LATE_STEPS),
    )


def interval(values: FloatArray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean of (W,)."""
    picks = np.random.default_rng(0).integers(len(values), size=(SAMPLES, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


HEAD = (
    "| forecasts | short %: agent, forecast-only, rule | agent beyond the rule (95 %) | in the first hour (95 %) | "
    "changes per hour | cost |"
)


def lines_of(found: Suffered) -> Iterator[str]:
    """The table."""
    yield HEAD
    yield "|---|---|---|---|---|---|"
    for at, evil in enumerate(EVILS):
        three = [
            ", ".join(f"{one.mean():.{digits}f}" for one in values[:, at])
            for values, digits in ((found.day.short_pct, 2), (found.day.events, 1), (found.day.cost, 2))
        ]
        beyond = [_said(lived.short_pct[0, at] - lived.short_pct[2, at]) for lived in (found.day, found.hour)]
        yield f"| {evil.name} | {three[0]} | {beyond[0]} | {beyond[1]} | {three[1]} | {three[2]} |"


def _said(points: FloatArray) -> str:
    low, high = interval(points)
    return f"{points.mean():+.2f} ({low:+.2f} to {high:+.2f})"


def failures(found: Suffered) -> Iterator[str]:
    """Where the agent leaves more short than it may, or changes the count more often than forecast-only."""
    for at, evil in enumerate(EVILS):
        day, hour = (float((one.short_pct[0, at] - one.short_pct[2, at]).mean()) for one in (found.day, found.hour))
        if day > SHORT or hour > FIRST_HOUR:
            yield f"{evil.name}: {day:+.2f} points of short load beyond the rule, {hour:+.2f} in the first hour"
        own, forecasts = found.day.events[:2, at].mean(axis=1)
        if own > forecasts + CHANGES:
            yield f"{evil.name}: {own:.2f} changes per hour, {forecasts:.2f} by forecasts alone"


def run() -> Iterator[str]:
    """The table of the shipped agent; ends with an error where it leaves too much short or changes too often."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        sys.exit("FORESAIL_TRACES names no folder of histories (CSV: timestamp,value)")
    kept = agent_card.read(agent_card.SHIPPED / "rate")
    found = suffered(told_of(kept, Path(folder)), kept.agent, SEEDS)
    yield from lines_of(found)
    wrong = list(failures(found))
    if wrong:
        sys.exit("\n".join(wrong))
