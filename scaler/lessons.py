"""Fits of the tracked workloads: who is due, in which batch, who is first, and when the result counts.

A fit begins at its cutoff, from the history up to it, and counts a fixed time later, however fast this machine was: so
every replica of the service decides by it from the same tick on. One that comes later than that, as after a start,
knows all that is known by then and counts at once. What the gate refuses never counts: the champion stays.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import structlog

from scaler import __version__
from scaler.archive import Archive, Fitted, Recalled
from scaler.core.domain import take
from scaler.core.gate import Contest, Verdict, unshifted
from scaler.core.learning import FIT_BUDGET_S, stacked
from scaler.core.retraining import CONFIGURATION, Defence, Retrained, replay, retrain
from scaler.core.trust import Cause, Evidence
from scaler.errors import FitFailed
from scaler.fleet import Fleet
from scaler.registry import Change, Origin, Stage
from scaler.roster import Key
from scaler.succession import Succession

log = structlog.get_logger("foresail.lessons")

LESSON = 8
"""Workloads fitted in one call of a worker: the replay's cost is shared, and a fit still ends soon."""


class Trigger(IntEnum):
    """Why a fit is wanted, the most urgent first."""

    DRIFT = 0
    """The load has drifted."""
    PERFORMANCE = 1
    """The forecast's errors have."""
    HAND = 2
    START = 3
    """There is no fit yet, or one that was kept is to be replayed."""
    SCHEDULE = 4

    @property
    def label(self) -> str:
        """What users read."""
        return self.name.lower()


ERRORS = frozenset({Cause.COVERAGE, Cause.SKILL, Cause.BIAS, Cause.CHANGE})
"""Parts of the drift that look at the forecasts instead of the load."""


class Worker(Protocol):
    """Where fits run: a process beside this one, or another machine."""

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the function there. Raises FitFailed."""
        ...

    def close(self) -> None:
        """End it; a fit under way is not waited for."""
        ...


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
    retrained: Retrained
    part: int
    cutoff_s: float
    configuration: str


class Lessons:
    """The workloads whose fit is due, and fits that wait for their time, over the rows that the engine owns."""

    def __init__(
        self,
        rows: Mapping[Key, tuple[Fleet, int]],
        counters: Counters,
        worker: Callable[[], Worker],
        succession: Succession,
        archive: Archive,
    ) -> None:
        self._rows, self._counters = rows, counters
        self.worker = worker
        """Makes a worker for each that teaches."""
        self._succession, self._archive = succession, archive
        self._due: dict[Key, Trigger] = {}
        self._held: dict[Key, _Held] = {}
        self._kept: dict[Key, Recalled] = {}
        self._alarms: dict[Key, Cause] = {}
        self._wanted = asyncio.Event()
        self.fitting: frozenset[Key] = frozenset()
        """Workloads whose fit is under way."""
        self.replays = True
        """Whether a fit that was kept is replayed before it serves; else it only defends its place."""

    def ask(self, key: Key) -> None:
        """Put a workload on the list if a newer fit than its own is wanted."""
        if math.isfinite(self._wanted_cutoff_s(key)):
            self._due[key] = self._why(key)
            self._wanted.set()

    def alarmed(self, key: Key, cause: Cause) -> None:
        """Remember what a workload lost its trust by: the fit that is wanted for it is for that."""
        self._alarms[key] = cause

    def recall(self, key: Key, recalled: Recalled) -> None:
        """Take over a fit that was kept, to be replayed; one that was fitted otherwise is left where it is."""
        fleet, row = self._rows[key]
        for cutoff_s, at_s in recalled.failed.items():
            self._succession.memory(key).failed[cutoff_s] = at_s
            fleet.refuse(row, cutoff_s)
        version = recalled.version
        if version is not None and (version.origin.configuration, version.origin.code) == (CONFIGURATION, __version__):
            if self.replays:
                self._kept[key] = recalled
            else:
                fleet.reinstate(row, unshifted(recalled.fitted.models))

    def _why(self, key: Key) -> Trigger:
        fleet, row = self._rows[key]
        if key in self._kept or not fleet.models.cutoff_s[row]:
            return Trigger.START
        if fleet.drifted(row):
            return Trigger.PERFORMANCE if self._alarms.get(key) in ERRORS else Trigger.DRIFT
        return Trigger.HAND if fleet.by_hand_s[row, 0] > fleet.models.cutoff_s[row] else Trigger.SCHEDULE

    def _wanted_cutoff_s(self, key: Key) -> float:
        """Cutoff of the fit that is wanted next, −inf where it is there or the workload is not."""
        if key not in self._rows:
            return -math.inf
        if key in self._kept:
            return float(self._kept[key].fitted.models.cutoff_s[0])
        fleet, row = self._rows[key]
        cutoff_s, held = fleet.wanted_cutoff_s(row), self._held.get(key)
        ready = held is not None and held.place == (fleet, row) and held.cutoff_s >= cutoff_s
        return -math.inf if ready else cutoff_s

    @property
    def waiting(self) -> int:
        """Workloads on the list."""
        return len(self._due)

    def queue(self) -> dict[Trigger, int]:
        """Workloads on the list by what asked for their fit, the most urgent first."""
        found = Counter(self._due.values())
        return {trigger: found[trigger] for trigger in Trigger}

    def drop(self, key: Key) -> None:
        """Take a workload off the list."""
        for memory in (self._due, self._held, self._kept, self._alarms):
            memory.pop(key, None)

    def adopt_until(self, t_s: float) -> None:
        """Put the fits in force whose time has come by `t_s`."""
        for key, held in list(self._held.items()):
            if held.cutoff_s + FIT_BUDGET_S <= t_s:
                del self._held[key]
                if self._rows.get(key) == held.place:
                    fleet, row = held.place
                    before = fleet.voice(row)
                    fleet.adopt(row, held.retrained.learnt, held.part, held.cutoff_s)
                    if fleet.models.validated[row]:
                        self._succession.crowned(key, before, t_s, held.configuration)

    async def teach(self) -> None:
        """Fit what is due, in one worker, until cancelled."""
        worker = self.worker()
        try:
            while True:
                await self._wanted.wait()
                lesson = self._next_lesson()
                if lesson:
                    self.fitting |= set(lesson)
                    await self._teach(worker, lesson)
                    self.fitting -= set(lesson)
                else:
                    self._wanted.clear()
        finally:
            worker.close()

    def _next_lesson(self) -> dict[Key, float]:
        """Cutoffs of up to LESSON workloads of one fleet that learn up to the same moment, taken off the list.

        The most urgent first, and whoever can be fitted along with it; what was kept is replayed by itself.
        """
        chosen: dict[Key, float] = {}
        alike: tuple[Fleet, float, bool] | None = None
        for key in sorted(self._due, key=lambda one: self._due[one]):
            cutoff_s = self._wanted_cutoff_s(key)
            if not math.isfinite(cutoff_s):
                del self._due[key]
                continue
            fleet = self._rows[key][0]
            mine = fleet, fleet.learns_until_s(cutoff_s), key in self._kept
            alike = alike or mine
            if alike == mine:
                del self._due[key]
                chosen[key] = cutoff_s
                if len(chosen) == LESSON:
                    break
        return chosen

    async def _failed(self, worker: Worker, lesson: dict[Key, float], error: FitFailed) -> None:
        """Fit the workloads of a failed lesson one by one, so that only the one at fault goes without."""
        if len(lesson) > 1:
            for key, cutoff_s in lesson.items():
                await self._teach(worker, {key: cutoff_s})
            return
        self._counters.fit_failures += 1
        (key,) = lesson
        self._kept.pop(key, None)
        if key in self._rows:
            fleet, row = self._rows[key]
            fleet.refuse(row, fleet.ring.end_s)
        log.warning("fit failed; the models in use stay until the next is due", workload=str(key), error=str(error))

    async def _teach(self, worker: Worker, lesson: dict[Key, float]) -> None:
        lesson = {key: cutoff_s for key, cutoff_s in lesson.items() if key in self._rows}
        if not lesson:
            return
        places = {key: self._rows[key] for key in lesson}
        fleet = next(iter(places.values()))[0]
        until_s = fleet.learns_until_s(min(lesson.values()))
        rows, cutoffs_s = [row for _, row in places.values()], np.array(list(lesson.values()))
        history, columns = fleet.lesson(rows, until_s)
        kept = [self._kept[key].fitted for key in lesson if key in self._kept]
        started = time.perf_counter()
        try:
            retrained: Retrained
            if kept:
                fitted = stacked([one.before for one in kept]), stacked([one.models for one in kept])
                retrained = await worker.run(replay, history, columns, cutoffs_s, fitted)
            else:
                alike = np.array([self._succession.memory(key).configuration == CONFIGURATION for key in lesson])
                defence = Defence(take(fleet.models, np.array(rows)), alike)
                retrained = await worker.run(retrain, history, columns, cutoffs_s, defence)
        except FitFailed as error:
            await self._failed(worker, lesson, error)
            return
        self._counters.fits += len(lesson)
        self._counters.fit_s = time.perf_counter() - started
        first_s = fleet.ring.end_s - np.array([fleet.ring.span_s(slice(row, row + 1))[0] for row in rows])
        for part, (key, cutoff_s) in enumerate(lesson.items()):
            if self._kept.pop(key, None) is None:
                origin = _origin(retrained.contest, part, float(first_s[part]), cutoff_s)
                self._judged(key, retrained, part, origin)
            if retrained.contest.passed[part]:
                self._held[key] = _Held(places[key], retrained, part, cutoff_s, CONFIGURATION)
        self.adopt_until(fleet.ring.end_s)

    def _judged(self, key: Key, retrained: Retrained, part: int, origin: Origin) -> None:
        """Keep a challenger with what the gate says of it; one that is refused is not fitted again until the next."""
        at = np.array([part])
        models, passed = take(retrained.learnt.models, at), bool(retrained.contest.passed[part])
        told = told_of(retrained.contest, part)
        if not passed and self._rows.get(key) is not None:
            fleet, row = self._rows[key]
            fleet.refuse(row, origin.cutoff_s)
            self._succession.refused(key, told)
        if models.validated[0]:
            stage, evidence = (Stage.CHALLENGER, Evidence.VALIDATED) if passed else (Stage.RETIRED, Evidence.GENERATED)
            fitted = Fitted(models, take(retrained.learnt.before, at))
            self._archive.register(key, fitted, origin, Change(origin.cutoff_s + FIT_BUDGET_S, stage, evidence, told))


def _origin(contest: Contest, part: int, first_s: float, cutoff_s: float) -> Origin:
    scores = {name: float(getattr(contest, name)[part]) for name in Contest.__slots__ if name != "verdict"}
    known = {name: value for name, value in scores.items() if math.isfinite(value)}
    return Origin("forecaster", first_s, cutoff_s, CONFIGURATION, __version__, known)


def told_of(contest: Contest, part: int) -> str:
    """What the gate found of one workload, as a line."""
    parts = [Verdict(int(contest.verdict[part])).label]
    if contest.windows[part]:
        said = f"{contest.rolled[part]:.3g} replicas on {contest.windows[part]} windows, seasonal naive"
        parts.append(f"{said} {contest.naive[part]:.3g}")
    if contest.shared[part]:
        said = f"{contest.challenger[part]:.3g} on {contest.shared[part]} windows, champion"
        parts.append(f"{said} {contest.champion[part]:.3g}")
    return "; ".join(parts)
