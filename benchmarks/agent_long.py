"""`python -m benchmarks agent_long`: three days with a hidden capacity, the agent beside the capacity that is learnt.

Capacity learnt from feedback needs hours of varied load, which the half days of the card do not give it. Here worlds
last three days and are judged after the first; CPU and latency are read. Histories whose test part is shorter are left
out.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.agent_eval import told_of
from rl_agent.agent import Agent
from scaler import agent_card
from scaler.agent_training import SAMPLES, SHORT_PCTS, TEST, WORLDS_OF
from scaler.core.simulator.draws import LOOKS_BACK, SPARE, Foretold, Histories, Ranges
from scaler.core.simulator.trial import (
    Entrant,
    Found,
    agent_pilot,
    cost_of,
    knowing,
    learning,
    ratio_of,
    trial,
    with_margin,
)
from scaler.core.simulator.world import SYNCS, ClusterWorld

DAY = 24 * 60
"""Minutes."""
PRICES = np.geomspace(4.0, 4000.0, 13)
VARIANTS, SEED = 2, 3


def compared(told: Sequence[Foretold], agent: Agent, day: int = DAY) -> tuple[list[str], list[Found]]:
    """Names of the histories, and what the learnt capacity, a margin, the known capacity and the agent came to."""
    steps = 3 * day * SYNCS
    parts = [one.part(*TEST) for one in told]
    parts = [one for one in parts if len(one.value) > steps + LOOKS_BACK + SPARE]
    ranges = replace(Ranges(steps=steps), **WORLDS_OF["cpu and latency"])  # type: ignore[arg-type] # all are shares
    world = ClusterWorld(Histories.of(parts), ranges, 1)
    prices = {"price": PRICES, "factor": np.zeros(len(PRICES))}
    agents = Entrant("agent", PRICES, np.full(len(PRICES), np.nan), agent_pilot(world, agent.act))
    entrants = [replace(learning(), **prices), with_margin(), replace(knowing(), **prices), agents]
    return [one.name for one in parts], trial(world, entrants, VARIANTS, day, np.random.default_rng(SEED))


def lines_of(names: Sequence[str], found: Sequence[Found]) -> Iterator[str]:
    """Costs at equal shortage, and the agent's over those of the others."""
    everyone = np.ones(found[-1].cost.shape[1])
    yield f"{len(names)} histories, {len(everyone)} worlds of three days, judged after the first"
    yield "| cost at a short load of | " + " | ".join(f"{pct:g} %" for pct in SHORT_PCTS) + " | least short |"
    yield "|---|" + "---|" * (len(SHORT_PCTS) + 1)
    for one in found:
        costs = " | ".join(_said(cost_of(one, everyone, pct)) for pct in SHORT_PCTS)
        yield f"| {one.name} | {costs} | {100 * one.short.mean(axis=1).min():.2f} % |"
    for rival in found[:-1]:
        for pct in SHORT_PCTS:
            ratio = ratio_of(found[-1], rival, pct, SAMPLES, np.random.default_rng(0))
            if not np.isnan(ratio.mean):
                yield f"agent over {rival.name} at {pct:g} %: {ratio.mean:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def _said(cost: float) -> str:
    return "–" if np.isnan(cost) else f"{cost:.2f}"


def run() -> Iterator[str]:
    """The table of the shipped agent."""
    folder = os.environ.get("FORESAIL_TRACES")
    if folder is None:
        sys.exit("FORESAIL_TRACES names no folder of histories (CSV: timestamp,value)")
    kept = agent_card.read(agent_card.SHIPPED / "rate")
    yield from lines_of(*compared(told_of(kept, Path(folder)), kept.agent))
