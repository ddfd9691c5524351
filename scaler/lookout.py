"""What the loop sees: the newest samples at every tick, the history of a newcomer, and why something was not read.

A source that fails touches its own workload only, and its reason is told once. What was missed is read later, together
with the next sample; after hours the whole history is asked for again.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import structlog

from forecasting.forecast import FloatArray
from scaler.core.domain import LARGEST_LOAD, NOTHING_RUNNING, UNBOUNDED, UNKNOWN, Kind, Running, Workload
from scaler.core.signals import FEEDBACK, Samples, Signal
from scaler.errors import SourceError
from scaler.fleet import Fleet
from scaler.ring import BUCKETS_S, COARSE_S, FINE_S
from scaler.roster import Key, Roster, key_of
from scaler.sightings import Sightings

log = structlog.get_logger("foresail.lookout")

NO_NUMBER = "the query gives no number now: no series, a gap, NaN, or a negative or infinite value"
"""Reason where a source answers and the newest sample is missing."""
HISTORY_AGAIN_S = 30.0
"""From a history that could not be read to the next try, which waits for a sample that can."""


class LoadSource(Protocol):
    """Where load comes from."""

    def admit(self, workload: Workload) -> None:
        """Raise TriggerError where this workload may never be read."""
        ...

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """The signal over each of the n intervals of `spacing_s` that end at `end_s`, oldest first.

        Raises SourceError where nothing could be read.
        """
        ...


class Cluster(Protocol):
    """Where replicas and the HPA's own limits come from."""

    def running(self, key: Key, t_s: float) -> Running | None:
        """What runs at `t_s`, None where nobody can tell."""
        ...


def _measured(workload: Workload) -> Signal | None:
    """The signal whose history is learnt from, None where nobody measures it."""
    if workload.kind is Kind.RATE:
        return Signal.LOAD
    return None if workload.arrival_query is None else Signal.ARRIVALS


class Lookout:
    """Reads for the rows that the engine owns, and asks by `newcomers` for the histories that are to be read."""

    def __init__(
        self,
        roster: Roster,
        rows: Mapping[Key, tuple[Fleet, int]],
        source: LoadSource,
        cluster: Cluster,
        clock: Callable[[], float],
        read_timeout_s: float,
    ) -> None:
        self._roster, self._rows, self._source, self._cluster = roster, rows, source, cluster
        self._clock, self._read_timeout_s = clock, read_timeout_s
        self.newcomers: asyncio.Queue[Key] = asyncio.Queue()
        """Workloads whose history is to be read."""
        self.failures = 0
        """Samples that could not be read."""
        self.troubles: dict[Key, str] = {}
        """Why the newest sample of a workload could not be read."""
        self._history_due_s: dict[Key, float] = {}
        self._feedback: dict[Key, tuple[float, FloatArray]] = {}
        """Stamp and values of the newest feedback."""
        self._asked: asyncio.Queue[tuple[Key, float]] = asyncio.Queue()
        self._under_way: set[Key] = set()
        self._feedback_troubles: dict[tuple[Key, Signal], str] = {}

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a workload that is tracked no more."""
        self.troubles.pop(key, None)
        self._history_due_s.pop(key, None)
        self._feedback.pop(key, None)
        for signal in FEEDBACK:
            self._feedback_troubles.pop((key, signal), None)

    def without_history(self, key: Key, reason: str) -> None:
        """Remember that a history could not be read, and try it again with a sample that can."""
        self._history_due_s[key] = self._clock() + HISTORY_AGAIN_S
        self.troubles[key] = reason

    async def look(self, fleet: Fleet, key: Key, row: int, t_s: float, seen: Sightings) -> None:
        """Read one workload's newest samples into `seen`; what was missed meanwhile goes into the history."""
        if self._rows.get(key) != (fleet, row):
            return
        workload, timeout_s = self._roster.entries[key].workload, min(self._read_timeout_s, 0.8 * fleet.step_s)
        missed_s = fleet.missed(row, t_s) * fleet.step_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._look_at_replicas(fleet, workload, row, t_s, seen)
                await self._look_at_load(fleet, workload, row, t_s, seen)
        except SourceError as error:
            self._missed(key, str(error))
        except TimeoutError:
            self._missed(key, f"no answer within {timeout_s:g} s")
        except Exception as error:  # a defect of one source: the other workloads go on
            log.exception("load not read", workload=str(key))
            self._missed(key, repr(error))
        else:
            self._found(key, float(seen.load[row]), missed_s)
        self.look_at_cluster(fleet, key, row, t_s, seen)
        self._look_at_feedback(key, workload, row, t_s, seen)

    def _look_at_feedback(self, key: Key, workload: Workload, row: int, t_s: float, seen: Sightings) -> None:
        """Take what was read since the tick before, and ask for the next: no decision waits for feedback."""
        stamp_s, values = self._feedback.get(key, (-math.inf, seen.feedback[row]))
        if t_s - stamp_s <= 2.0 * workload.step_s:
            seen.feedback[row] = values
        if key not in self._under_way:
            self._under_way.add(key)
            self._asked.put_nowait((key, t_s))

    async def read_feedback(self) -> None:
        """Read CPU, memory, latency and queue depth of those that were asked for, until cancelled."""
        while True:
            key, t_s = await self._asked.get()
            try:
                if key in self._rows:
                    found = await self._read_signals(key, t_s)
                    if key in self._rows:
                        self._feedback[key] = t_s, found
            finally:
                self._under_way.discard(key)

    async def _read_signals(self, key: Key, t_s: float) -> FloatArray:
        """CPU, memory, latency and queue depth at `t_s`, (4,); NaN where nobody tells."""
        workload = self._roster.entries[key].workload
        values = np.full(len(FEEDBACK), np.nan)
        for column, signal in enumerate(FEEDBACK):
            pushed = workload.server_address is None
            if pushed or workload.query_of(signal) is not None:
                values[column], reason = await self._read_signal(workload, signal, t_s)
                if not pushed:  # what may be pushed and is not is no trouble
                    self._tell_feedback(key, signal, reason)
        return np.where((values >= 0) & (values <= LARGEST_LOAD), values, np.nan)

    async def _read_signal(self, workload: Workload, signal: Signal, t_s: float) -> tuple[float, str | None]:
        """The newest value of a signal, else NaN and why."""
        try:
            async with asyncio.timeout(self._read_timeout_s):
                found = float((await self._source.read(workload, signal, t_s, 1, workload.step_s)).mean[-1])
        except SourceError as error:
            return math.nan, str(error)
        except TimeoutError:
            return math.nan, f"no answer within {self._read_timeout_s:g} s"
        except Exception as error:  # a defect of one source: the other signals and workloads go on
            log.exception("feedback not read", workload=str(key_of(workload)), signal=signal.value)
            return math.nan, repr(error)
        return found, NO_NUMBER if math.isnan(found) else None

    def _tell_feedback(self, key: Key, signal: Signal, reason: str | None) -> None:
        """Log why a signal was not read, and when it is read again; once each."""
        known = self._feedback_troubles.get((key, signal))
        if reason is not None and reason != known:
            log.warning("feedback not read", workload=str(key), signal=signal.value, reason=reason)
            self._feedback_troubles[key, signal] = reason
        if reason is None and known is not None:
            log.info("feedback read again", workload=str(key), signal=signal.value)
            del self._feedback_troubles[key, signal]

    async def _look_at_replicas(self, fleet: Fleet, workload: Workload, row: int, t_s: float, seen: Sightings) -> None:
        """Read how many replicas run, where a query tells; a failure leaves them unknown for this tick."""
        if workload.replicas_query is None:
            return
        with contextlib.suppress(SourceError):
            found = (await self._source.read(workload, Signal.REPLICAS, t_s, 1, fleet.step_s)).mean[-1]
            if found <= UNBOUNDED:
                seen.replicas[row] = round(float(found))

    async def _look_at_load(self, fleet: Fleet, workload: Workload, row: int, t_s: float, seen: Sightings) -> None:
        if workload.kind is Kind.RATE:
            seen.load[row] = await self._catch_up(fleet, workload, Signal.LOAD, row, t_s)
            return
        seen.load[row] = (await self._source.read(workload, Signal.LOAD, t_s, 1, fleet.step_s)).mean[-1]
        if workload.arrival_query is not None:
            seen.arrivals[row] = await self._catch_up(fleet, workload, Signal.ARRIVALS, row, t_s)

    async def _catch_up(self, fleet: Fleet, workload: Workload, signal: Signal, row: int, t_s: float) -> float:
        """Newest sample, read together with the missed ones before it, which go into the history."""
        missed_s = fleet.missed(row, t_s) * fleet.step_s
        n = round(min(missed_s, FINE_S) / fleet.step_s) if math.isfinite(missed_s) else 1
        samples = await self._source.read(workload, signal, t_s, max(n, 1), fleet.step_s)
        if n > 1:
            earlier = Samples(samples.mean[:-1], samples.maximum[:-1])
            fleet.backfill(row, t_s - fleet.step_s, earlier, fleet.step_s)
        return float(samples.mean[-1])

    def _missed(self, key: Key, reason: str) -> None:
        """Count a sample that was not read; its reason is logged when it changes."""
        self.failures += 1
        if self.troubles.get(key) != reason:
            log.warning("load not read", workload=str(key), reason=reason)
        self.troubles[key] = reason

    def _found(self, key: Key, load: float, missed_s: float) -> None:
        """Note what was read, and ask for the history again where it is still missing or an outage was long."""
        if math.isnan(load):
            self._missed(key, NO_NUMBER)
            return
        if self.troubles.pop(key, None) is not None:
            log.info("load read again", workload=str(key))
        if math.isfinite(missed_s) and missed_s > FINE_S:
            self._history_due_s.setdefault(key, self._clock())
        if self._clock() >= self._history_due_s.get(key, math.inf):
            del self._history_due_s[key]
            self.newcomers.put_nowait(key)

    def look_at_cluster(self, fleet: Fleet, key: Key, row: int, t_s: float, seen: Sightings) -> None:
        """Note what runs and what is asked by hand; the latter ends where nobody can tell any more."""
        running = self._cluster.running(key, t_s) or NOTHING_RUNNING
        if running.replicas != UNKNOWN:
            seen.replicas[row], seen.ready[row] = running.replicas, running.ready
        fleet.follow(row, running)

    async def backfill(self, key: Key) -> float:
        """Read days in buckets and hours at the step; the newest load."""
        workload, (fleet, row) = self._roster.entries[key].workload, self._rows[key]
        ring, measured = fleet.ring, _measured(workload)
        if measured is not None:
            for end_s, span_s, spacing_s in (
                (ring.bucket_end_s, BUCKETS_S, ring.bucket_s),
                (ring.end_s, FINE_S, fleet.step_s),
            ):
                samples = await self._source.read(workload, measured, end_s, round(span_s / spacing_s), spacing_s)
                if self._rows.get(key) == (fleet, row):
                    fleet.backfill(row, end_s, samples, spacing_s)
        return float((await self._source.read(workload, Signal.LOAD, ring.end_s, 1, fleet.step_s)).mean[-1])

    async def backfill_weeks(self, key: Key) -> None:
        """Read what is older than the buckets, in coarse blocks; where it is not kept or refused, the days suffice."""
        workload, (fleet, row) = self._roster.entries[key].workload, self._rows[key]
        ring, measured = fleet.ring, _measured(workload)
        if measured is None:
            return
        # One block more than the buckets leave: they may begin in the middle of it.
        end_s = ring.coarse_end_s - BUCKETS_S + ring.coarse_s
        n = round((COARSE_S - BUCKETS_S) / ring.coarse_s) + 1
        try:
            blocks = await self._source.read(workload, measured, end_s, n, ring.coarse_s)
        except SourceError as error:
            log.info("no weeks before the last eight days", workload=str(key), reason=str(error))
            return
        if self._rows.get(key) == (fleet, row):
            fleet.backfill_blocks(row, end_s, blocks)
