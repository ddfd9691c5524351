"""How fast the agent's world steps, and what a decision of the agent costs."""

import time
from collections.abc import Iterator

import numpy as np

from rl_agent.agent import Agent
from scaler.core import learned
from scaler.core.learned import MEMORY, MOVES, OBSERVATION
from scaler.core.simulator.draws import Histories, Ranges
from scaler.core.simulator.imagined import imagined
from scaler.core.simulator.world import SYNCS, ClusterWorld

WORLDS, MINUTES, ROWS = 256, 60, 100
WANTED_STEPS, WANTED_US = 20e3, 20.0
"""Steps per second of training on two cores, and microseconds per decision in batches of ROWS."""


def some_agent() -> Agent:
    rng, m = np.random.default_rng(0), MEMORY
    layers = [(len(OBSERVATION), m), (m, 3 * m), (m, 3 * m), (m, len(MOVES))]
    return Agent(*(rng.standard_normal(shape) for layer in layers for shape in (layer, layer[1:])))


def world(n: int) -> ClusterWorld:
    rng = np.random.default_rng(0)
    histories = Histories.of([imagined(f"load {i}", 1.0, rng, queue=i == 3) for i in range(4)])
    return ClusterWorld(histories, Ranges(), n)


def run() -> Iterator[str]:
    """Every measurement as a line, in process time."""
    rng, place = np.random.default_rng(1), world(WORLDS)
    state = place.initial(rng)
    began = time.process_time()
    for _ in range(MINUTES):
        place.observe(state)
        state, _, _ = place.advance(state, np.zeros(WORLDS, np.int64), rng)
    steps = WORLDS * MINUTES / (time.process_time() - began)
    yield f"agent's world: {steps / 1e3:.0f} k moves/s, {SYNCS * steps / 1e3:.0f} k syncs/s of one core"
    yield from training()
    yield decisions()


def training() -> Iterator[str]:
    try:
        from rl_agent.ppo import PpoConfig  # noqa: PLC0415 - torch may be missing
        from rl_agent.train import train  # noqa: PLC0415
    except ImportError:
        yield "training: torch is not installed"
        return
    began = time.process_time()
    progress = next(iter(train(world(WORLDS), 0, 1, PpoConfig())))
    rate = progress.steps / (time.process_time() - began)
    verdict = "ok" if rate >= WANTED_STEPS / 2 else "TOO SLOW"
    yield f"training: {rate / 1e3:.0f} k steps/s of one core (wanted {WANTED_STEPS / 1e3:.0f} k of two) {verdict}"


def decisions() -> str:
    place, agent = world(ROWS), some_agent()
    state = place.initial(np.random.default_rng(2))
    best = np.inf
    for _ in range(50):
        began = time.process_time()
        now = learned.remember(state.seen, state.forecasts, state.fleet, state.learned)
        by = learned.missed(state.fleet, now)
        need = learned.need_range(state.forecasts, state.seen, state.draw.price, state.fleet, now, by)[1]
        vector = learned.encode(state.seen, state.forecasts, need, state.draw.price, state.fleet, now)
        learned.moved(agent.act(vector, now.memory)[0], state.fleet, now)
        best = min(best, time.process_time() - began)
    each_us = best / ROWS * 1e6
    verdict = "ok" if each_us <= WANTED_US else "TOO SLOW"
    return f"a decision of the agent, {ROWS} at once: {each_us:.1f} µs (wanted {WANTED_US:g}) {verdict}"
