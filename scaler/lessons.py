"""Fits of the tracked workloads: who is due, in which batch, and what becomes of the result."""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from scaler.core.learning import Learnt, learn
from scaler.errors import FitFailed
from scaler.fitting import FitWorker
from scaler.fleet import Fleet
from scaler.roster import Key

log = structlog.get_logger("foresail.lessons")

LESSON = 8
"""Workloads fitted in one call of a worker: the replay's cost is shared, and a fit still ends soon."""


@dataclass(slots=True)
class Counters:
    """What the loop and its lessons count, for telemetry."""

    ticks: int = 0
    tick_s: float = 0.0
    read_failures: int = 0
    decide_failures: int = 0
    fits: int = 0
    fit_failures: int = 0
    fit_s: float = 0.0


class Lessons:
    """The workloads whose fit is due, over the rows that the engine owns."""

    def __init__(self, rows: Mapping[Key, tuple[Fleet, int]], counters: Counters, timeout_s: float) -> None:
        self._rows, self._counters, self._timeout_s = rows, counters, timeout_s
        self._due: dict[Key, None] = {}
        self._wanted = asyncio.Event()

    def ask(self, key: Key) -> None:
        """Put a workload on the list if a newer fit than its own should be serving."""
        fleet, row = self._rows[key]
        if math.isfinite(fleet.due_cutoff_s(row, fleet.ring.end_s)):
            self._due[key] = None
            self._wanted.set()

    @property
    def waiting(self) -> int:
        """Workloads on the list."""
        return len(self._due)

    def drop(self, key: Key) -> None:
        """Take a workload off the list."""
        self._due.pop(key, None)

    async def teach(self) -> None:
        """Fit what is due, in one worker process, until cancelled."""
        worker = FitWorker(self._timeout_s)
        try:
            while True:
                await self._wanted.wait()
                lesson = self._next_lesson()
                if lesson:
                    await self._teach(worker, lesson)
                else:
                    self._wanted.clear()
        finally:
            worker.close()

    def _next_lesson(self) -> list[Key]:
        """Up to LESSON workloads of one fleet, taken off the list."""
        chosen: list[Key] = []
        for key in self._due:
            if key in self._rows and (not chosen or self._rows[key][0] is self._rows[chosen[0]][0]):
                chosen.append(key)
                if len(chosen) == LESSON:
                    break
        for key in chosen:
            del self._due[key]
        return chosen

    async def _failed(self, worker: FitWorker, keys: list[Key], error: FitFailed) -> None:
        """Fit the workloads of a failed lesson one by one, so that only the one at fault goes without."""
        if len(keys) > 1:
            for key in keys:
                await self._teach(worker, [key])
            return
        self._counters.fit_failures += 1
        if keys[0] in self._rows:
            fleet, row = self._rows[keys[0]]
            fleet.skip_fit(row)
        log.warning("fit failed; the models in use stay until the next is due", workload=str(keys[0]), error=str(error))

    async def _teach(self, worker: FitWorker, keys: list[Key]) -> None:
        keys = [key for key in keys if key in self._rows]
        if not keys:
            return
        fleet = self._rows[keys[0]][0]
        due = {key: fleet.due_cutoff_s(self._rows[key][1], fleet.ring.end_s) for key in keys}
        due = {key: cutoff_s for key, cutoff_s in due.items() if math.isfinite(cutoff_s)}
        if not due:
            return
        rows = {key: self._rows[key] for key in due}
        history, columns = fleet.lesson([row for _, row in rows.values()])
        started = time.perf_counter()
        try:
            learnt: Learnt = await worker.run(learn, history, columns, np.array(list(due.values())))
        except FitFailed as error:
            await self._failed(worker, list(due), error)
            return
        self._counters.fits += len(due)
        self._counters.fit_s = time.perf_counter() - started
        for part, (key, cutoff_s) in enumerate(due.items()):
            if self._rows.get(key) == rows[key]:
                fleet.adopt(rows[key][1], learnt, part, cutoff_s)
