"""The loop: see, decide, post, once per step for all workloads of that step. The system clock lives here.

    first request or declaration → introduce: back-fill, first decision, ask for a fit
    every step                   → tick: read all newest samples, then decide in tiles of 64 rows, then post
    every quarter of a minute    → ask for the fits that are due; forget workloads that nobody asks for
    whenever a fit is due        → fit in a worker process, adopt a minute after its cutoff

A tile takes about a millisecond, and requests are answered between tiles.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from forecasting import catalog
from scaler.archive import Archive
from scaler.board import Board, Posted
from scaler.core.agenda import Agenda, check
from scaler.core.domain import Decisions, Mode, Workload, take
from scaler.core.trust import Cause
from scaler.errors import NotDecidedYet, SourceError, StaleLoad
from scaler.fitting import FitWorker
from scaler.fleet import Fleet
from scaler.journal import Journal
from scaler.latency import Latency
from scaler.lessons import Counters, Lessons
from scaler.lookout import Cluster, LoadSource, Lookout
from scaler.record import Tick, records_of
from scaler.roster import Key, Roster, key_of
from scaler.settings import Settings
from scaler.sightings import Sightings
from scaler.succession import Succession

if TYPE_CHECKING:
    from scaler.core.audition import InForce

log = structlog.get_logger("foresail.engine")

TILE = 64
"""Rows decided at once, so that no request waits longer for the loop than a tile takes."""
TURNS = 8
"""Turns of the event loop between two tiles; an idle one takes microseconds."""
CHORES_S = 15.0
"""Between looks for due fits and forgotten workloads: most of a fit's budget is for the fit."""
FEEDBACK_READERS = 8
"""Workloads whose feedback is read at once: slow answers keep only each other waiting."""
READY_WITHIN_S = 120.0
"""A loop that is later than this should not be asked: another replica may keep up."""
LOUD = (Mode.DEGRADED, Mode.HOLDING, Mode.FAILED)
"""Modes whose beginning is a warning."""


async def _let_others_run() -> None:
    """Let requests under way be answered: each takes several turns of the event loop, and would wait as many tiles."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Engine:
    """The tracked workloads, their fleets and the loop over them."""

    def __init__(
        self,
        settings: Settings,
        source: LoadSource,
        cluster: Cluster,
        clock: Callable[[], float] = time.time,
        journal: Journal | None = None,
        archive: Archive | None = None,
    ) -> None:
        self.settings = settings
        self.roster = Roster(settings.max_workloads, settings.max_workloads_per_namespace, self._admit)
        self.board = Board()
        self.journal = journal or Journal(clock=clock)
        self.counters = Counters()
        self.latency = Latency()
        self.clock = clock
        self._admits = source.admit
        self.agendas: Mapping[str, Agenda] = {}
        self.in_force: InForce | None = None
        """The agent that fleets ask, None without one; set before the loop runs."""
        self._fleets: dict[float, Fleet] = {}
        self._rows: dict[Key, tuple[Fleet, int]] = {}
        self.archive = archive or Archive(None)
        self.succession = Succession(self._rows, self.archive, settings.canary_ratio)
        self.lookout = Lookout(self.roster, self._rows, source, cluster, clock, settings.read_timeout_s)
        self._modes: dict[Key, int] = {}
        self._incomplete: set[Key] = set()
        """Workloads whose history is being read: a fit would be taught by a part of it."""
        own = lambda: FitWorker(settings.fit_timeout_s, settings.fit_memory_mb)  # noqa: E731
        self.lessons = Lessons(self._rows, self.counters, own, self.succession, self.archive)
        self._tasks: asyncio.TaskGroup | None = None

    def declare(self, workload: Workload) -> Key:
        """Track a workload from the settings."""
        return self._welcome(self.roster.declare(workload, self.clock()))

    def asked(self, namespace: str, name: str, metadata: Mapping[str, str]) -> Key:
        """Workload that a KEDA request speaks of, tracked from now on.

        Raises:
            TriggerError, TooManyWorkloads: as `Roster.resolve`.
        """
        return self._welcome(self.roster.resolve(namespace, name, metadata, self.clock()))

    def _admit(self, workload: Workload) -> None:
        check(workload.calendar, self.agendas)
        self._admits(workload)

    def schedule(self, agendas: Mapping[str, Agenda]) -> None:
        """Put the settings' calendars in force."""
        self.agendas = agendas
        for fleet in self._fleets.values():
            fleet.schedule(agendas)

    def renew(self, key: Key) -> bool:
        """Count an open stream as a request for its workload; False where that is tracked no more."""
        return self.roster.renew(key, self.clock())

    def redeclare(self, workloads: Sequence[Workload]) -> None:
        """Track just these workloads from the settings; one that is declared no more is forgotten at once.

        Raises:
            TooManyWorkloads: a cap would be exceeded; nothing has changed.
        """
        self.roster.check_room_for(workloads)
        for key in self.roster.declared_no_more() - {key_of(workload) for workload in workloads}:
            self._forget(key)
        for workload in workloads:
            self.declare(workload)

    def _welcome(self, key: Key) -> Key:
        workload = self.roster.entries[key].workload
        self.board.withhold(key, served=not workload.observe_only)
        if key not in self._rows:
            fleet = self._fleet_of(workload.step_s)
            self._rows[key] = (fleet, fleet.add(workload))
            self.lookout.newcomers.put_nowait(key)
            return key
        fleet, row = self._rows[key]
        if fleet.workloads[row] is not workload:
            fleet.configure(row, workload)
            log.info("configured anew", workload=str(key))
        return key

    def row_of(self, key: Key) -> tuple[Fleet, int]:
        """Fleet and row of a tracked workload."""
        return self._rows[key]

    def seen_s(self, key: Key) -> float:
        """Newest tick of a workload's fleet: samples up to it are history."""
        return self._rows[key][0].ring.end_s

    async def first(self, key: Key) -> Posted:
        """Decision that may be served, waited for if the workload is new. Raises as `Board.first`, with the reason."""
        try:
            return await self.board.first(key, self.settings.first_answer_s)
        except (NotDecidedYet, StaleLoad) as error:
            troubles = self.lookout.troubles
            raise type(error)(f"{error}: {troubles[key]}" if key in troubles else str(error)) from error

    def late_s(self) -> float:
        """Time by which the next tick of the latest fleet is overdue, 0 where none is."""
        now_s = self.clock()
        return max((abs(now_s - fleet.ring.end_s) - fleet.step_s for fleet in self._fleets.values()), default=0.0)

    @property
    def ready(self) -> bool:
        """Whether the loop keeps up: what /readyz and gRPC's health say."""
        return self.late_s() < READY_WITHIN_S

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for step_s in self._fleets:
                tasks.create_task(self._beat(step_s))
            tasks.create_task(self._introduce_newcomers())
            tasks.create_task(self._chores())
            tasks.create_task(self.archive.run())
            tasks.create_task(self.succession.run())
            for _ in range(FEEDBACK_READERS):
                tasks.create_task(self.lookout.read_feedback())
            for _ in range(self.settings.fit_workers):
                tasks.create_task(self.lessons.teach())

    def _fleet_of(self, step_s: float) -> Fleet:
        if step_s not in self._fleets:
            self._fleets[step_s] = self._new_fleet(step_s)
            if self._tasks is not None:
                self._tasks.create_task(self._beat(step_s))
        return self._fleets[step_s]

    def _new_fleet(self, step_s: float) -> Fleet:
        fleet = Fleet(step_s, self.clock(), self.settings.trust)
        fleet.in_force = self.in_force
        fleet.schedule(self.agendas)
        return fleet

    async def _beat(self, step_s: float) -> None:
        while True:
            now_s = self.clock()
            await asyncio.sleep((now_s // step_s + 1) * step_s - now_s)
            await self.tick(step_s, self.clock() // step_s * step_s)

    async def tick(self, step_s: float, t_s: float) -> None:
        """See, decide and post for all workloads of one step length at `t_s`, a multiple of the step."""
        fleet, started = self._fleets[step_s], time.perf_counter()
        if t_s <= fleet.ring.end_s:
            if fleet.ring.end_s - t_s > 2.0 * step_s:
                self._begin_again(step_s)
            return
        keys = {key: row for key, (of, row) in self._rows.items() if of is fleet}
        seen = Sightings.nothing(len(fleet.workloads))
        fleet.ring.advance(t_s)
        await self._look_at_all(fleet, keys, t_s, seen)
        self.lessons.adopt_until(t_s)
        self.succession.follow(fleet, keys, t_s)
        by_tile: dict[int, dict[Key, int]] = {}
        for key, row in keys.items():
            by_tile.setdefault(row // TILE, {})[key] = row
        for tile, rows in sorted(by_tile.items()):
            self._decide_tile(fleet, tile, rows, seen)
            await _let_others_run()
        self.succession.look(t_s)
        fleet.complete_s = t_s
        self.counters.ticks += 1
        self.counters.tick_s = time.perf_counter() - started

    def _begin_again(self, step_s: float) -> None:
        """Start a fleet anew on a clock that was set back; its workloads are introduced again."""
        log.warning("the clock was set back; histories are read again", step_s=step_s)
        old, fleet = self._fleets[step_s], self._new_fleet(step_s)
        self._fleets[step_s] = fleet
        for key in [key for key, (of, _) in self._rows.items() if of is old]:
            self._rows[key] = (fleet, fleet.add(self.roster.entries[key].workload))
            self.lookout.newcomers.put_nowait(key)

    async def _look_at_all(self, fleet: Fleet, keys: dict[Key, int], t_s: float, seen: Sightings) -> None:
        async with asyncio.TaskGroup() as looks:
            for index, (key, row) in enumerate(keys.items()):
                looks.create_task(self.lookout.look(fleet, key, row, t_s, seen))
                if index % TILE == TILE - 1:
                    await _let_others_run()

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
        observed = fleet.see(at, part)
        made = fleet.decide(at, observed)
        self._tell_moves(made, rows)
        heard = {key: row for key, row in rows.items() if not fleet.unheard(at.start + row)}
        self.board.post(made, heard)
        kept = np.array(list(heard.values()), np.int64)
        whole = Tick(made, observed, part.load, fleet.persistent(at), take(fleet.columns, at))
        self.journal.post(at.start // TILE, list(heard), records_of(whole, kept))

    def _tell_moves(self, made: Decisions, rows: dict[Key, int]) -> None:
        """Log each move of a mode once, with its cause."""
        modes, causes = made.mode.tolist(), made.cause.tolist()
        for key, row in rows.items():
            was = self._modes.get(key)
            if was == modes[row]:
                continue
            self._modes[key] = modes[row]
            if modes[row] == Mode.DEGRADED:
                self.lessons.alarmed(key, Cause(causes[row]))
            if was is not None:
                told = log.warning if modes[row] in LOUD else log.info
                told(
                    "mode",
                    workload=str(key),
                    was=Mode(was).label,
                    now=Mode(modes[row]).label,
                    cause=Cause(causes[row]).label,
                )

    async def _introduce_newcomers(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                key = await self.lookout.newcomers.get()
                tasks.create_task(self._introduce_guarded(key))

    async def _introduce_guarded(self, key: Key) -> None:
        self._incomplete.add(key)
        try:
            await self.introduce(key)
        except Exception as error:  # a defect met by one workload: it is tried again, the others go on
            self.lookout.without_history(key, repr(error))
            log.exception("not introduced", workload=str(key))
        finally:
            self._incomplete.discard(key)

    async def introduce(self, key: Key) -> None:
        """Back-fill a new workload's days, decide for it at once, add the weeks before, and ask for its fit."""
        if key not in self._rows:
            return
        workload = self.roster.entries[key].workload
        fleet, row = self._rows[key]
        if workload.inactive:
            log.info("understood but not active in this version", workload=str(key), keys=workload.inactive)
        try:
            load = await self.lookout.backfill(key)
        except SourceError as error:
            self.lookout.without_history(key, str(error))
            log.warning("history not read", workload=str(key), reason=str(error))
            return
        if self._rows.get(key) != (fleet, row):
            return
        if not fleet.models.cutoff_s[row]:
            fleet.speak_naively(row)
        if not math.isnan(load):
            everyone = Sightings.nothing(len(fleet.workloads))
            self.lookout.look_at_cluster(fleet, key, row, fleet.ring.end_s, everyone)
            everyone.load[row] = load
            self._decide_alone(fleet, key, row, everyone)
        await self.lookout.backfill_weeks(key)
        recalled = await self.archive.recall(key)
        if self._rows.get(key) == (fleet, row):
            if not fleet.models.cutoff_s[row]:
                self.lessons.recall(key, recalled)
            self.lessons.ask(key)

    async def recall(self, key: Key) -> None:
        """Read a workload's history again: samples older than its newest tick have come in."""
        fleet, row = self._rows[key]
        with contextlib.suppress(SourceError):
            await self.lookout.backfill(key)
            await self.lookout.backfill_weeks(key)
        if self._rows.get(key) == (fleet, row):
            if fleet.models.speaker[row] == catalog.NOBODY:
                fleet.speak_naively(row)
            self.lessons.ask(key)

    async def _chores(self) -> None:
        while True:
            await asyncio.sleep(CHORES_S)
            now_s = self.clock()
            for key in self.roster.unasked(now_s - self.settings.forget_after_s):
                self._forget(key)
            for index, key in enumerate(list(self._rows)):
                if key not in self._incomplete:
                    self.lessons.ask(key)
                    self.succession.age(key, now_s, self.settings.trust)
                if index % TILE == 0:
                    await asyncio.sleep(0)
            if not self.settings.fit_workers:
                self.succession.offered(await self.archive.champions(list(self._rows)))

    def _forget(self, key: Key) -> None:
        fleet, row = self._rows.pop(key)
        self.roster.forget(key)
        self.board.forget(key)
        self.lookout.forget(key)
        self._modes.pop(key, None)
        self.lessons.drop(key)
        self.succession.drop(key)
        fleet.remove(row)
        log.info("forgotten: neither declared nor asked for", workload=str(key))
