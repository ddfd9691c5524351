"""Fits of the tracked workloads: who is due, in which batch, and when the result counts.

A fit begins at its cutoff, from the history up to it, and counts a fixed time later, however fast this machine was: so
every replica of the service decides by it from the same tick on. One that comes later than that, as after a start,
knows all that is known by then and counts at once.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import structlog

from scaler.core.learning import FIT_BUDGET_S, Learnt, learn
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
    decide_failures: int = 0
    fits: int = 0
    fit_failures: int = 0
    fit_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Held:
    """What one workload has learnt and does not act on before every replica of the service can."""

    place: tuple[Fleet, int]
    learnt: Learnt
    part: int
    cutoff_s: float


class Lessons:
    """The workloads whose fit is due, and fits that wait for their time, over the rows that the engine owns."""

    def __init__(self, rows: Mapping[Key, tuple[Fleet, int]], counters: Counters, timeout_s: float) -> None:
        self._rows, self._counters, self._timeout_s = rows, counters, timeout_s
        self._due: dict[Key, None] = {}
        self._held: dict[Key, _Held] = {}
        self._wanted = asyncio.Event()

    def ask(self, key: Key) -> None:
        """Put a workload on the list if a newer fit than its own is wanted."""
        if math.isfinite(self._wanted_cutoff_s(key)):
            self._due[key] = None
            self._wanted.set()

    def _wanted_cutoff_s(self, key: Key) -> float:
        """Cutoff of the fit that is wanted next, −inf where it is there or the workload is not."""
        if key not in self._rows:
            return -math.inf
        fleet, row = self._rows[key]
        cutoff_s, held = fleet.wanted_cutoff_s(row), self._held.get(key)
        ready = held is not None and held.place == (fleet, row) and held.cutoff_s >= cutoff_s
        return -math.inf if ready else cutoff_s

    @property
    def waiting(self) -> int:
        """Workloads on the list."""
        return len(self._due)

    def drop(self, key: Key) -> None:
        """Take a workload off the list."""
        self._due.pop(key, None)
        self._held.pop(key, None)

    def adopt_until(self, t_s: float) -> None:
        """Put the fits in force whose time has come by `t_s`."""
        for key, held in list(self._held.items()):
            if held.cutoff_s + FIT_BUDGET_S <= t_s:
                del self._held[key]
                if self._rows.get(key) == held.place:
                    fleet, row = held.place
                    fleet.adopt(row, held.learnt, held.part, held.cutoff_s)

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

    def _next_lesson(self) -> dict[Key, float]:
        """Cutoffs of up to LESSON workloads of one fleet that learn up to the same moment, taken off the list."""
        chosen: dict[Key, float] = {}
        alike: tuple[Fleet, float] | None = None
        for key in list(self._due):
            cutoff_s = self._wanted_cutoff_s(key)
            if not math.isfinite(cutoff_s):
                del self._due[key]
                continue
            fleet = self._rows[key][0]
            alike = alike or (fleet, fleet.learns_until_s(cutoff_s))
            if alike == (fleet, fleet.learns_until_s(cutoff_s)):
                del self._due[key]
                chosen[key] = cutoff_s
                if len(chosen) == LESSON:
                    break
        return chosen

    async def _failed(self, worker: FitWorker, lesson: dict[Key, float], error: FitFailed) -> None:
        """Fit the workloads of a failed lesson one by one, so that only the one at fault goes without."""
        if len(lesson) > 1:
            for key, cutoff_s in lesson.items():
                await self._teach(worker, {key: cutoff_s})
            return
        self._counters.fit_failures += 1
        (key,) = lesson
        if key in self._rows:
            fleet, row = self._rows[key]
            fleet.skip_fit(row)
        log.warning("fit failed; the models in use stay until the next is due", workload=str(key), error=str(error))

    async def _teach(self, worker: FitWorker, lesson: dict[Key, float]) -> None:
        lesson = {key: cutoff_s for key, cutoff_s in lesson.items() if key in self._rows}
        if not lesson:
            return
        places = {key: self._rows[key] for key in lesson}
        fleet = next(iter(places.values()))[0]
        until_s = fleet.learns_until_s(min(lesson.values()))
        history, columns = fleet.lesson([row for _, row in places.values()], until_s)
        started = time.perf_counter()
        try:
            learnt: Learnt = await worker.run(learn, history, columns, np.array(list(lesson.values())))
        except FitFailed as error:
            await self._failed(worker, lesson, error)
            return
        self._counters.fits += len(lesson)
        self._counters.fit_s = time.perf_counter() - started
        for part, (key, cutoff_s) in enumerate(lesson.items()):
            self._held[key] = _Held(places[key], learnt, part, cutoff_s)
        self.adopt_until(fleet.ring.end_s)
