"""The loop: see, decide, post, once per step for all workloads of that step. The system clock lives here.

    first request or declaration → introduce: back-fill, first decision, ask for a fit
    every step                   → tick: read all newest samples, then decide in tiles of 64 rows, then post
    every minute                 → ask for the fits that are due; forget workloads that nobody asks for
    whenever a fit is due        → fit in a worker process, adopt

A tile takes about a millisecond, and requests are answered between tiles.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog

from forecasting.forecast import FloatArray
from scaler.board import Board, Posted
from scaler.core.domain import Kind, Running, Signal, Workload
from scaler.core.learning import Learnt, learn
from scaler.errors import FitFailed, SourceError
from scaler.fitting import FitWorker
from scaler.fleet import Fleet, Sightings
from scaler.ring import BUCKETS_S, COARSE_S, FINE_S
from scaler.roster import Key, Roster
from scaler.settings import Settings

log = structlog.get_logger("foresail.engine")

TILE = 64
"""Rows decided at once, so that no request waits longer for the loop than a tile takes."""
LESSON = 8
"""Workloads fitted in one call of a worker: the replay's cost is shared, and a fit still ends soon."""
CHORES_S = 60.0
"""Between looks for due fits and forgotten workloads."""
MOST_MISSED = 40
"""Samples read again after an outage of the source; longer gaps stay gaps until the next back-fill."""


class LoadSource(Protocol):
    """Where load comes from."""

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> FloatArray:
        """Mean of the signal over each of the n intervals of `spacing_s` that end at `end_s`, oldest first, (n,).

        NaN where missing. Raises SourceError where nothing could be read.
        """
        ...


class Cluster(Protocol):
    """Where replicas and the HPA's own limits come from."""

    def running(self, key: Key, t_s: float) -> Running | None:
        """What runs at `t_s`, None where nobody can tell."""
        ...


class NoCluster:
    """Nobody can tell what runs."""

    def running(self, key: Key, t_s: float) -> Running | None:
        """Nothing is known."""
        del key, t_s
        return None


@dataclass(slots=True)
class Counters:
    """What the loop counts, for telemetry."""

    ticks: int = 0
    tick_s: float = 0.0
    read_failures: int = 0
    decide_failures: int = 0
    fits: int = 0
    fit_failures: int = 0
    fit_s: float = 0.0


class Engine:
    """The tracked workloads, their fleets and the loop over them."""

    def __init__(
        self,
        settings: Settings,
        source: LoadSource,
        cluster: Cluster,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.roster = Roster(settings.max_workloads, settings.max_workloads_per_namespace)
        self.board = Board()
        self.counters = Counters()
        self.clock = clock
        self._source, self._cluster = source, cluster
        self._fleets: dict[float, Fleet] = {}
        self._rows: dict[Key, tuple[Fleet, int]] = {}
        self._newcomers: asyncio.Queue[Key] = asyncio.Queue()
        self._to_fit: dict[Key, None] = {}
        self._fit_wanted = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    # What requests use ------------------------------------------------------------------------------------------

    def declare(self, workload: Workload) -> Key:
        """Track a workload from the settings."""
        return self._welcome(self.roster.declare(workload, self.clock()))

    def asked(self, namespace: str, name: str, metadata: Mapping[str, str]) -> Key:
        """Workload that a KEDA request speaks of, tracked from now on.

        Raises:
            TriggerError, TooManyWorkloads: as `Roster.resolve`.
        """
        return self._welcome(self.roster.resolve(namespace, name, metadata, self.clock()))

    def _welcome(self, key: Key) -> Key:
        if key not in self._rows:
            workload = self.roster.entries[key].workload
            fleet = self._fleet_of(workload.step_s)
            self._rows[key] = (fleet, fleet.add(workload))
            self._newcomers.put_nowait(key)
        return key

    def row_of(self, key: Key) -> tuple[Fleet, int]:
        """Fleet and row of a tracked workload."""
        return self._rows[key]

    async def first(self, key: Key) -> Posted:
        """Decision that may be served, waited for if the workload is new. Raises as `Board.first`."""
        return await self.board.first(key, self.settings.first_answer_s)

    def late_s(self) -> float:
        """Time by which the next tick of the latest fleet is overdue, 0 where none is."""
        now_s = self.clock()
        return max((now_s - fleet.ring.end_s - fleet.step_s for fleet in self._fleets.values()), default=0.0)

    # The loop ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for step_s in self._fleets:
                tasks.create_task(self._beat(step_s))
            tasks.create_task(self._introduce_newcomers())
            tasks.create_task(self._chores())
            for _ in range(self.settings.fit_workers):
                tasks.create_task(self._fit_what_is_due())

    def _fleet_of(self, step_s: float) -> Fleet:
        if step_s not in self._fleets:
            self._fleets[step_s] = Fleet(step_s, self.clock(), self.settings.trust)
            if self._tasks is not None:
                self._tasks.create_task(self._beat(step_s))
        return self._fleets[step_s]

    async def _beat(self, step_s: float) -> None:
        while True:
            now_s = self.clock()
            await asyncio.sleep((now_s // step_s + 1) * step_s - now_s)
            await self.tick(step_s, self.clock() // step_s * step_s)

    async def tick(self, step_s: float, t_s: float) -> None:
        """See, decide and post for all workloads of one step length at `t_s`, a multiple of the step."""
        fleet, started = self._fleets[step_s], time.perf_counter()
        if t_s <= fleet.ring.end_s:
            return
        keys = {key: row for key, (of, row) in self._rows.items() if of is fleet}
        seen = Sightings.nothing(len(fleet.workloads))
        fleet.ring.advance(t_s)
        await self._look_at_all(fleet, keys, t_s, seen)
        by_tile: dict[int, dict[Key, int]] = {}
        for key, row in keys.items():
            by_tile.setdefault(row // TILE, {})[key] = row
        for tile, rows in sorted(by_tile.items()):
            self._decide_tile(fleet, tile, rows, seen)
            await asyncio.sleep(0)
        self.counters.ticks += 1
        self.counters.tick_s = time.perf_counter() - started

    async def _look_at_all(self, fleet: Fleet, keys: dict[Key, int], t_s: float, seen: Sightings) -> None:
        async with asyncio.TaskGroup() as looks:
            for index, (key, row) in enumerate(keys.items()):
                looks.create_task(self._look(fleet, key, row, t_s, seen))
                if index % TILE == TILE - 1:
                    await asyncio.sleep(0)

    def _decide_tile(self, fleet: Fleet, tile: int, rows: dict[Key, int], seen: Sightings) -> None:
        first = tile * TILE
        still = {key: row for key, row in rows.items() if self._rows.get(key) == (fleet, row)}
        try:
            self._decide(fleet, slice(first, first + TILE), {key: row - first for key, row in still.items()}, seen)
        except Exception:
            # One workload's failure must not touch another's: the tile again, row by row, without the one that fails.
            log.exception("tile failed; deciding its workloads one by one", first_row=first)
            for key, row in still.items():
                self._decide_alone(fleet, key, row, seen)

    def _decide_alone(self, fleet: Fleet, key: Key, row: int, seen: Sightings) -> None:
        try:
            self._decide(fleet, slice(row, row + 1), {key: 0}, seen)
        except Exception:
            self.counters.decide_failures += 1
            log.exception("no decision; the last one stands", workload=str(key))

    def _decide(self, fleet: Fleet, at: slice, rows: dict[Key, int], seen: Sightings) -> None:
        part = Sightings(seen.load[at], seen.arrivals[at], seen.replicas[at], seen.ready[at], seen.feedback[at])
        self.board.post(fleet.decide(at, fleet.see(at, part)), rows)

    async def _look(self, fleet: Fleet, key: Key, row: int, t_s: float, seen: Sightings) -> None:
        """Read one workload's newest samples into `seen`; what was missed meanwhile goes into the history."""
        workload = self.roster.entries[key].workload
        n = int(min(max(fleet.missed(row, t_s), 1), MOST_MISSED))
        try:
            async with asyncio.timeout(min(self.settings.read_timeout_s, 0.8 * fleet.step_s)):
                loads = await self._source.read(workload, Signal.LOAD, t_s, n, fleet.step_s)
                seen.load[row] = loads[-1]
                if workload.kind is Kind.RATE and n > 1:
                    fleet.backfill(row, t_s - fleet.step_s, loads[:-1], fleet.step_s)
                if workload.kind is Kind.QUEUE and workload.arrival_query is not None:
                    seen.arrivals[row] = (await self._source.read(workload, Signal.ARRIVALS, t_s, 1, fleet.step_s))[-1]
        except (SourceError, TimeoutError) as error:
            self.counters.read_failures += 1
            log.debug("load not read", workload=str(key), error=str(error))
        self._look_at_cluster(fleet, key, row, t_s, seen)

    def _look_at_cluster(self, fleet: Fleet, key: Key, row: int, t_s: float, seen: Sightings) -> None:
        running = self._cluster.running(key, t_s)
        if running is not None:
            seen.replicas[row], seen.ready[row] = running.replicas, running.ready
            fleet.set_hpa(row, running.hpa_minimum, running.hpa_maximum, running.tolerance)

    # Newcomers --------------------------------------------------------------------------------------------------

    async def _introduce_newcomers(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                key = await self._newcomers.get()
                tasks.create_task(self.introduce(key))

    async def introduce(self, key: Key) -> None:
        """Back-fill a new workload's history, decide for it at once, and ask for its fit."""
        workload = self.roster.entries[key].workload
        fleet, row = self._rows[key]
        if workload.inactive:
            log.info("understood but not active in this version", workload=str(key), keys=workload.inactive)
        t_s, seen = fleet.ring.end_s, Sightings.nothing(1)
        try:
            seen.load[0] = await self._backfill(fleet, row, workload, t_s)
        except (SourceError, TimeoutError) as error:
            log.warning("history not read", workload=str(key), error=str(error))
        if self._rows.get(key) != (fleet, row) or math.isnan(seen.load[0]):
            return
        everyone = Sightings.nothing(len(fleet.workloads))
        self._look_at_cluster(fleet, key, row, t_s, everyone)
        everyone.load[row] = seen.load[0]
        fleet.speak_naively(row)
        self._decide_alone(fleet, key, row, everyone)
        self._ask_for_fit(key)

    async def _backfill(self, fleet: Fleet, row: int, workload: Workload, t_s: float) -> float:
        """Read weeks in coarse blocks, days in buckets and hours at the step; the newest load."""
        measured = Signal.LOAD if workload.kind is Kind.RATE else Signal.ARRIVALS
        ring = fleet.ring
        if measured is Signal.LOAD or workload.arrival_query is not None:
            for end_s, span_s, spacing_s in (
                (ring.coarse_end_s, COARSE_S, ring.coarse_s),
                (ring.bucket_end_s, BUCKETS_S, ring.bucket_s),
                (t_s, FINE_S, fleet.step_s),
            ):
                n = round(span_s / spacing_s)
                values = await self._source.read(workload, measured, end_s, n, spacing_s)
                fleet.backfill(row, end_s, values, spacing_s)
        return float((await self._source.read(workload, Signal.LOAD, t_s, 1, fleet.step_s))[-1])

    # Fits -------------------------------------------------------------------------------------------------------

    async def _chores(self) -> None:
        while True:
            await asyncio.sleep(CHORES_S)
            now_s = self.clock()
            for key in self.roster.unasked(now_s - self.settings.forget_after_s):
                self._forget(key)
            for index, key in enumerate(list(self._rows)):
                self._ask_for_fit(key)
                if index % TILE == 0:
                    await asyncio.sleep(0)

    def _forget(self, key: Key) -> None:
        fleet, row = self._rows.pop(key)
        self.roster.forget(key)
        self.board.forget(key)
        fleet.remove(row)
        self._to_fit.pop(key, None)
        log.info("forgotten: nobody asks for it", workload=str(key))

    def _ask_for_fit(self, key: Key) -> None:
        fleet, row = self._rows[key]
        if math.isfinite(fleet.due_cutoff_s(row, fleet.ring.end_s)):
            self._to_fit[key] = None
            self._fit_wanted.set()

    async def _fit_what_is_due(self) -> None:
        worker = FitWorker(self.settings.fit_timeout_s)
        try:
            while True:
                await self._fit_wanted.wait()
                lesson = self._next_lesson()
                if lesson:
                    await self._teach(worker, lesson)
                else:
                    self._fit_wanted.clear()
        finally:
            worker.close()

    def _next_lesson(self) -> list[Key]:
        """Up to LESSON workloads of one fleet, taken off the list."""
        chosen: list[Key] = []
        for key in self._to_fit:
            if key in self._rows and (not chosen or self._rows[key][0] is self._rows[chosen[0]][0]):
                chosen.append(key)
                if len(chosen) == LESSON:
                    break
        for key in chosen:
            del self._to_fit[key]
        return chosen

    async def _fit_failed(self, worker: FitWorker, keys: list[Key], error: FitFailed) -> None:
        """Fit the workloads of a failed lesson one by one, so that only the one at fault goes without."""
        if len(keys) > 1:
            for key in keys:
                await self._teach(worker, [key])
            return
        self.counters.fit_failures += 1
        log.warning("fit failed; the models in use stay", workload=str(keys[0]), error=str(error))

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
            await self._fit_failed(worker, list(due), error)
            return
        self.counters.fits += len(due)
        self.counters.fit_s = time.perf_counter() - started
        for part, (key, cutoff_s) in enumerate(due.items()):
            if self._rows.get(key) == rows[key]:
                fleet.adopt(rows[key][1], learnt, part, cutoff_s)
