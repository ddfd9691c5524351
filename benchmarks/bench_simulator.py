"""How fast clusters are simulated, and what a whole backtest costs."""

import resource
import time
from collections.abc import Iterator

import numpy as np
from rich.console import Console

from forecasting.forecast import FloatArray
from scaler.backtest import Assumptions, judge, question_of
from scaler.core.simulator import cluster
from scaler.core.simulator.cluster import Setup, World, scatter
from scaler.core.simulator.controllers import Reactive, trigger_rules
from scaler.core.simulator.keda import KedaRules
from scaler.core.simulator.load import Monitoring, seen_through
from scaler.core.simulator.pods import FixedStartUp, RandomStartUp, Spread
from scaler.core.simulator.service import Requests
from scaler.trace import Trace

CLUSTERS, STEPS, STEP_S = 256, 4000, 15.0
WANTED_PLAIN, WANTED_FULL = 1.0e6, 0.4e6
"""Cluster-steps per second on one core."""
WANTED_BACKTEST_S, WANTED_MB = 60.0, 500.0


def wave(n: int) -> FloatArray:
    rng = np.random.default_rng(0)
    return 100.0 * (1.0 + 0.5 * np.sin(np.arange(n) / 900.0)) * (1.0 + 0.05 * rng.standard_normal(n))


def worlds() -> Iterator[tuple[str, World, float]]:
    rng = np.random.default_rng(0)
    t_s = STEP_S * np.arange(1, STEPS + 1)
    load = seen_through(Monitoring(lag_s=15.0, lost=0.01), wave(STEPS), t_s, STEP_S, rng)
    fixed = FixedStartUp.of(np.full(CLUSTERS, 300.0), STEP_S)
    yield "without the latency model", World(load, STEP_S, fixed), WANTED_PLAIN
    yield (
        "all features",
        World(
            load=load,
            step_s=STEP_S,
            start_up=RandomStartUp.lognormal(300.0, Spread(), STEP_S, STEPS, rng),
            drift=np.exp(0.1 * np.cumsum(0.01 * rng.standard_normal((STEPS, 1)), axis=0)),
            scatter=scatter(STEPS, rng),
            served_by=Requests(),
            warm_steps=4,
            drain_steps=2,
        ),
        WANTED_FULL,
    )


def setup() -> Setup:
    rules = trigger_rules(np.geomspace(2.0, 9.0, CLUSTERS), np.tile([0.0, 60.0, 300.0, 60.0], 64), (0.1, 1, 1000))
    keda = KedaRules(np.zeros(CLUSTERS, np.int64))
    return Setup(np.full(CLUSTERS, 7.0), np.full(CLUSTERS, 20), rules, keda)


def fortnight() -> Trace:
    minute = np.arange(14 * 1440)
    rng = np.random.default_rng(1)
    load = 200.0 + 150.0 * np.sin(minute / 1440.0 * 2 * np.pi) + 10.0 * rng.standard_normal(len(minute))
    return Trace("fortnight", 0.0, 60.0, np.maximum(load, 0.0))


def simulations() -> Iterator[str]:
    for name, world, wanted in worlds():
        best = 0.0
        for _ in range(3):
            began = time.perf_counter()
            cluster.run(world, setup(), Reactive())
            best = max(best, CLUSTERS * STEPS / (time.perf_counter() - began))
        verdict = "ok" if best >= wanted else "TOO SLOW"
        yield f"simulator, {name}: {best / 1e6:.2f} M cluster-steps/s (wanted {wanted / 1e6:.1f}) {verdict}"


def run() -> Iterator[str]:
    """Every measurement as a line."""
    yield from simulations()
    began = time.perf_counter()
    judge(question_of(fortnight(), None, Assumptions(lead_s=300.0)), None, Console(quiet=True))
    took_s = time.perf_counter() - began
    largest_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024.0
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
    verdict = "ok" if took_s <= WANTED_BACKTEST_S else "TOO SLOW"
    yield f"backtest of 14 days at 1 min: {took_s:.1f} s (wanted {WANTED_BACKTEST_S:g}) {verdict}"
    yield f"its memory: {own_mb:.0f} MB and {largest_mb:.0f} MB in the larger process (wanted {WANTED_MB:g} in all)"
