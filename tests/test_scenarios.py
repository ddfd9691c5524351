"""Every door lives through a scenario alike: `pipe` and the running service take the path that the table was made with.

The table itself, with its seeds and its clusters, is tests/core/test_scenarios.py; here one seed goes through both.
"""

import asyncio
import io
import json

import numpy as np
import pytest

from benchmarks.scenarios import BEFORE_S, CAPACITY, LEAD_S, MOST, SCENARIOS, START_S, THRESHOLD, Scenario, wave
from forecasting.forecast import FloatArray
from scaler import pipe
from scaler.core.domain import Mode, Workload
from scaler.core.signals import Samples, Signal
from scaler.core.trigger import as_metadata, parse_workload
from scaler.core.trust import Cause
from scaler.engine import Engine
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.service import Clock, FakeSource, loop_of, tick

STEP_S = 60.0
CALM, LIVE = 10, 40
"""Steps before the event, and all that are lived through."""
EVENT_S = START_S + STEP_S * CALM
DECLARED = {
    "namespace": "shop",
    "threshold": THRESHOLD,
    "capacity": CAPACITY,
    "leadTime": f"{LEAD_S:g}s",
    "step": f"{STEP_S:g}s",
    "minReplicas": 1,
    "maxReplicas": MOST,
}
LIVED = [one for one in SCENARIOS if one.name in {"level × 2", "unit × 1000", "outage of 2 h"}]
Path = list[tuple[str, str]]
"""Mode and cause of each live tick."""


def seen(scenario: Scenario) -> FloatArray:
    """Sixteen days and the live steps, one sample a step; the last live one is the last."""
    stamps_s = START_S + STEP_S * np.arange(1 - round(BEFORE_S / STEP_S), LIVE + 1, dtype=np.float64)
    rng = np.random.default_rng([0, 7])
    load = scenario.truth(wave(stamps_s, 0), stamps_s - EVENT_S, rng)
    return scenario.seen(load, stamps_s - EVENT_S, rng)


def through_pipe(name: str, load: FloatArray) -> Path:
    lines = [json.dumps(DECLARED | {"name": name})]
    for back, value in zip(range(LIVE - len(load) + 1, LIVE + 1), load.tolist(), strict=True):
        line = {"t": START_S + STEP_S * back, "load": None if np.isnan(value) else value, "replicas": 20, "ready": 20}
        lines.append(json.dumps(line if back > 0 else line | {"history": True}))
    out = io.StringIO()
    assert pipe.run(lines, out, io.StringIO()) == 0
    return [(answer["mode"], answer["cause"]) for answer in map(json.loads, out.getvalue().splitlines())]


class Scenes(FakeSource):
    """A load of its own for each workload."""

    def __init__(self, loads: dict[str, FloatArray]) -> None:
        super().__init__(lambda t_s: t_s)
        self.loads = loads

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        load = self.loads[workload.name] if signal is Signal.LOAD else np.full(LIVE + 1, np.nan)
        stamps_s = end_s - spacing_s * np.arange(n - 1, -1, -1.0)
        index = len(load) - 1 - LIVE + np.round((stamps_s - START_S) / STEP_S).astype(np.int64)
        values = np.where(index >= 0, load[np.maximum(index, 0)], np.nan)
        return Samples(values, values)


async def through_the_service(loads: dict[str, FloatArray]) -> dict[str, Path]:
    clock = Clock(START_S)
    engine = Engine(Settings(), Scenes(loads), NoCluster(), clock)
    paths: dict[str, Path] = {name: [] for name in loads}
    async with loop_of(engine):
        keys = [engine.declare(parse_workload(as_metadata(DECLARED | {"name": name}))) for name in loads]
        await asyncio.gather(*(engine.first(key) for key in keys))
        async with asyncio.timeout(300):
            while engine.counters.fits < len(keys):
                await asyncio.sleep(0.05)
        for _ in range(LIVE):
            await tick(engine, clock, step_s=STEP_S)
            for key in keys:
                posted = engine.board.get(key)
                assert posted is not None
                paths[key.name].append((posted.mode.label, Cause(posted.decisions.cause[posted.row]).label))
    return paths


@pytest.mark.timeout(400)  # three workloads are fitted by workers that yield to everybody
async def test_pipe_and_service_take_the_same_path_and_find_what_happened() -> None:
    loads = {f"web-{number}": seen(scenario) for number, scenario in enumerate(LIVED)}
    for scenario, (name, served) in zip(LIVED, (await through_the_service(loads)).items(), strict=True):
        assert served == through_pipe(name, loads[name]), scenario.name
        assert {mode for mode, _ in served[:CALM]} == {Mode.NORMAL.label}, scenario.name
        found = next(step for step, (mode, _) in enumerate(served) if mode != Mode.NORMAL.label)
        assert scenario.detected_within_s is not None
        assert STEP_S * (found + 1) <= EVENT_S - START_S + scenario.detected_within_s, scenario.name
