"""What the status page shows of all workloads, line by line: rendered once per decision, however many look."""

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from forecasting.forecast import FloatArray
from scaler.core.domain import UNBOUNDED, Mode, whole_lead_s
from scaler.core.steering import Steering
from scaler.core.trust import Cause
from scaler.engine import Engine
from scaler.families import COVERED_S, curves_of
from scaler.roster import Key
from scaler.views import count, number

SPARK_S = 2 * 3600.0
"""Past that a line's small picture shows."""
SPARK_POINTS = 48
COVERAGE_LEVEL = "0.97"
COVERAGE_EVERY_S = 900.0
"""Between two looks at a workload's coverage: a day of its decisions is read for it."""
UNKNOWN_S = 5.0
"""Longest pause before a look at one of which nothing is known yet."""
LEAST_PAUSE_S = 1.0
"""Between two workloads' coverages, so that a large fleet's are older and not dearer."""


class Steered(Protocol):
    """Where it stands what was asked by hand."""

    def steering(self, key: Key, t_s: float) -> Steering:
        """What is asked of a workload at `t_s`."""
        ...


class Feed:
    """One JSON line per workload, with a serial number that rises whenever it changes."""

    def __init__(self, engine: Engine, steered: Steered) -> None:
        self._engine, self._steered = engine, steered
        self._lines: dict[Key, tuple[int, float, str]] = {}
        self.serial = 0
        self.gone: list[tuple[int, str]] = []
        """Workloads that are tracked no more, with the serial of their end."""
        self.coverage: dict[Key, float] = {}
        self._looked_s = -math.inf

    def look(self) -> None:
        """Render anew what has changed since the last look; at most once a second."""
        now_s, engine = self._engine.clock(), self._engine
        if 0.0 <= now_s - self._looked_s < 1.0:
            return
        self._looked_s = now_s
        for key in [key for key in self._lines if key not in engine.roster.entries]:
            del self._lines[key]
            self.serial += 1
            self.gone = [*self.gone[-100:], (self.serial, f"{key.namespace}/{key.name}")]
        for key in list(engine.roster.entries):
            posted = engine.board.get(key)
            t_s = -math.inf if posted is None else posted.t_s
            known = self._lines.get(key)
            if known is None or known[1] != t_s:
                self.serial += 1
                self._lines[key] = self.serial, t_s, json.dumps(self._line(key), separators=(",", ":"))

    def since(self, serial: int) -> Iterator[str]:
        """Lines that changed after `serial`."""
        return (line for number_, _, line in self._lines.values() if number_ > serial)

    def _line(self, key: Key) -> dict[str, Any]:
        engine, (fleet, row) = self._engine, self._engine.row_of(key)
        workload, posted = engine.roster.entries[key].workload, engine.board.get(key)
        steered = self._steered.steering(key, engine.clock())
        maximum = int(fleet.columns.maximum[row])
        line: dict[str, Any] = {
            "ns": key.namespace,
            "name": engine.roster.identifier(key),
            "kind": workload.kind.value,
            "step": fleet.step_s,
            "lead": round(float(fleet.columns.lead_s[row]) - whole_lead_s(workload, 0.0), 1),
            "threshold": number(float(fleet.columns.threshold[row])),
            "capacity": number(float(fleet.columns.capacity[row])),
            "max": None if maximum >= UNBOUNDED else maximum,
            "shadow": bool(fleet.columns.shadow[row]),
            "stated": workload.shadow,
            "observed": workload.observe_only,
            "paused": bool(fleet.columns.paused[row]),
            "fixed": None if steered.override is None else str(steered.override),
            "trouble": engine.lookout.troubles.get(key),
            "coverage": number(self.coverage.get(key, math.nan)),
            "spark": [number(float(v)) for v in _spark(fleet.ring.history(slice(row, row + 1)).fine[0], fleet.step_s)],
            "mode": Mode.LEARNING.label,
            "t": None,
        }
        if posted is not None:
            made, at = posted.decisions, posted.row
            line |= {
                "t": posted.t_s,
                "mode": posted.mode.label,
                "cause": Cause(made.cause[at]).label,
                "load": number(float(made.load[at])),
                "now": count(int(made.replicas[at])),
                "ready": count(int(made.ready[at])),
                "soon": int(made.predicted_replicas[at]),
                "alone": int(made.reactive_alone[at]),
                "drift": number(float(made.drift[at])),
                "earned": number(float(made.earned[at])),
                "peak": [number(float(v)) for v in made.peak[at]],
            }
        return line

    async def run(self) -> None:
        """Count coverages until cancelled, one workload after the other."""
        while True:
            keys = list(self._engine.roster.entries)
            for key in keys:
                usual_s = COVERAGE_EVERY_S / len(keys)
                await asyncio.sleep(max(usual_s if key in self.coverage else min(usual_s, UNKNOWN_S), LEAST_PAUSE_S))
                await self.look_at_coverage(key)
            if not keys:
                await asyncio.sleep(LEAST_PAUSE_S)

    async def look_at_coverage(self, key: Key) -> None:
        """Read a workload's last day."""
        now_s = self._engine.clock()
        made = await asyncio.to_thread(self._engine.journal.read, key, now_s - 1.05 * COVERED_S, now_s)
        curve = curves_of("foresail_coverage", {}, made, {COVERAGE_LEVEL})[COVERAGE_LEVEL]
        known = curve.values[~np.isnan(curve.values)]
        if len(known):
            self.coverage[key] = float(known[-1])


def _spark(fine: FloatArray, step_s: float) -> FloatArray:
    """Means of equal parts of the newest samples, NaN where a part is empty."""
    width = max(round(SPARK_S / step_s / SPARK_POINTS), 1)
    parts = fine[-min(width * SPARK_POINTS, len(fine) // width * width) :].reshape(-1, width)
    known = ~np.isnan(parts)
    total, n = np.where(known, parts, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)
