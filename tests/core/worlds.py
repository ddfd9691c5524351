"""Simulated days of fleets whose replicas follow a schedule: what a service sees of them, for learning from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecasting.forecast import FloatArray, IntArray
from scaler.core.domain import Observations
from scaler.core.simulator import service
from scaler.core.simulator.cluster import Cluster, Setup, World
from scaler.core.simulator.constants import UTILISATION
from scaler.core.simulator.controllers import shipped_rules
from scaler.core.simulator.load import Load
from scaler.core.simulator.pods import FixedStartUp
from scaler.core.simulator.service import Requests
from tests.fakes import DAY_S, WEDNESDAY_S, some_observations

STEP_S = 15.0
SPIKE_S = 120.0


@dataclass(frozen=True)
class Days:
    """B fleets over T steps."""

    utilisation: FloatArray
    """Of saturation, (T, B); above 1 a backlog grows."""
    replicas: IntArray
    """(T, B)"""
    capacity: float = 10.0
    drift: FloatArray | None = None
    """(T, 1)"""
    noise: float = 0.1
    """Of the load, and of what is reported of CPU and latency."""
    spike: float | FloatArray = 0.6
    """CPU that a pod burns beside its work for SPIKE_S from its Ready on."""
    seed: int = 0


def utilised(days: float, seeds: int, low: float = 0.3, high: float = 0.9) -> FloatArray:
    """A daily swing between two utilisations, each fleet at its own time of day, (T, B)."""
    phase = np.random.default_rng(7).uniform(0.0, 2.0 * np.pi, seeds)
    turn = 2.0 * np.pi * np.arange(round(days * DAY_S / STEP_S))[:, None] * STEP_S / DAY_S
    return np.asarray((low + high) / 2.0 + (high - low) / 2.0 * np.sin(turn + phase))


def scheduled(days: float, seeds: int, around: int = 10) -> IntArray:
    """Replica counts that change by one every ten minutes or so, within four of `around`, (T, B)."""
    rng = np.random.default_rng(8)
    n = round(days * DAY_S / STEP_S)
    moves = np.where(rng.random((n, seeds)) < STEP_S / 600.0, rng.choice([-1, 1], (n, seeds)), 0)
    walk = np.cumsum(moves, axis=0)
    return np.asarray(around - 4 + np.abs((walk + 4) % 16 - 8))


def seen(days: Days) -> Iterator[Observations]:
    """What a service sees of them, step by step."""
    rng = np.random.default_rng(days.seed)
    n_steps, n = days.utilisation.shape
    saturation = days.capacity / UTILISATION.value
    drift = np.ones((n_steps, 1)) if days.drift is None else days.drift
    load = days.utilisation * days.replicas * saturation * drift[:1]
    load = np.maximum(load * (1.0 + days.noise * rng.standard_normal(load.shape)), 0.0)
    stamps_s = WEDNESDAY_S + STEP_S * np.arange(1, n_steps + 1)
    world = World(
        Load(stamps_s, load, load, load),
        STEP_S,
        FixedStartUp.of(np.full(n, 60.0), STEP_S),
        drift=days.drift,
        served_by=Requests(),
        scatter=np.ones((n_steps, 3)),
    )
    cluster = Cluster(world, Setup(np.full(n, days.capacity), days.replicas[0], shipped_rules(n, (0.1, 1, 100))))
    before = [cluster.pods.ready.copy()]
    for step in range(n_steps):
        now = cluster.serve(step)
        young = np.maximum(now.ready - before[0], 0)
        before = [*before, now.ready.copy()][-round(SPIKE_S / STEP_S) :]
        reported = service.feedback(cluster.served, cluster.served.backlog, np.ones(3))
        reported[:, 0] = np.minimum(reported[:, 0] + days.spike * young / np.maximum(now.ready, 1), 1.0)
        reported[:, :3] *= 1.0 + days.noise * rng.standard_normal((n, 3))
        yield some_observations(
            n,
            t_s=now.t_s,
            load=now.sample.copy(),
            replicas=now.replicas.copy(),
            ready=now.ready.copy(),
            feedback=reported,
        )
        cluster.pods.scale(days.replicas[step], step)
