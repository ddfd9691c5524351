"""Load that is pushed to us: kept in memory for the loop, and on disk (`segments`) for the next start.

    push → refused by name, or remembered and appended to its day's file
    read → means of what is remembered: as pushed for the last hours, per minute for nine days

The load belongs to a namespace and a name. The newest interval may lean on the one before: a push that comes just after
the tick then still counts, and only the second one that stays out is missing.
"""

import asyncio
import contextlib
import hashlib
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog

from forecasting.forecast import FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Running, Workload
from scaler.core.signals import FEEDBACK, Samples, Signal
from scaler.errors import SourceError, StoreError
from scaler.roster import Key
from scaler.segments import DAY_S, MINUTE_S, RECORD, DayFiles, Records, day_of, minute_of, sealed

log = structlog.get_logger("foresail.push")

RETENTION_S = 9 * DAY_S
"""Eight days of history and one to spare."""
RECENT_S = 4 * 3600.0
"""Span kept as it was pushed."""
SYNC_S = 5.0
"""At most this much is lost when the machine, not only the process, stops."""
TIDY_S = 3600.0
"""Between looks for days that are over."""
MINUTES = RETENTION_S // MINUTE_S
SHORTEST_SPACING_S, LONGEST_SPACING_S = 20.0, 600.0
"""A replica count is believed for three spacings of the pushes, within these limits."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One pushed sample; NaN and UNKNOWN where absent."""

    t_s: float
    load: float = math.nan
    arrivals: float = math.nan
    replicas: int = UNKNOWN
    ready: int = UNKNOWN
    feedback: tuple[float, float, float, float] = (math.nan,) * 4
    """CPU, memory, latency, queue depth."""


class _Track:
    """One signal of one series."""

    def __init__(self) -> None:
        self.stamps_s: list[float] = []
        self.values: list[float] = []
        self.floor_s = -math.inf
        """All samples after it are among `values`, each as it was pushed last."""
        self.minute = np.full(MINUTES, -1, np.int32)
        self.mean = np.zeros(MINUTES, np.float32)
        self.count = np.zeros(MINUTES, np.uint16)

    def add(self, t_s: FloatArray, values: FloatArray, samples: IntArray, now_s: float) -> None:
        """Remember samples in the order they came; of two with one stamp the later one wins."""
        self.floor_s = max(self.floor_s, now_s - RECENT_S)
        recent = (t_s > self.floor_s) & (samples == 0)
        self._add_to_minutes(t_s[~recent], values[~recent], np.maximum(samples[~recent], 1))
        newest = dict(zip(t_s[recent].tolist(), values[recent].tolist(), strict=True))
        new = [stamp_s for stamp_s, value in newest.items() if self._add_recent(stamp_s, value)]
        self._add_to_minutes(np.array(new), np.array([newest[stamp_s] for stamp_s in new]), np.ones(len(new), np.int64))
        if self.stamps_s and self.stamps_s[0] <= self.floor_s - 600.0:
            gone = bisect_left(self.stamps_s, self.floor_s)
            del self.stamps_s[:gone], self.values[:gone]

    def _add_recent(self, t_s: float, value: float) -> bool:
        """Put one sample in its place; whether it is new there."""
        at = bisect_left(self.stamps_s, t_s)
        if at < len(self.stamps_s) and self.stamps_s[at] == t_s:
            slot = (math.ceil(t_s / MINUTE_S) - 1) % MINUTES
            self.mean[slot] += (value - self.values[at]) / max(int(self.count[slot]), 1)
            self.values[at] = value
            return False
        self.stamps_s.insert(at, t_s)
        self.values.insert(at, value)
        return True

    def _add_to_minutes(self, t_s: FloatArray, values: FloatArray, samples: IntArray) -> None:
        if not len(t_s):
            return
        minute, place = np.unique(minute_of(t_s), return_inverse=True)
        total = np.bincount(place, values * samples)
        count = np.bincount(place, samples).astype(np.int64)
        slot = minute % MINUTES
        usable = self.minute[slot] <= minute
        minute, slot, total, count = minute[usable], slot[usable], total[usable], count[usable]
        before = np.where(self.minute[slot] == minute, self.count[slot], 0).astype(np.int64)
        mean = (self.mean[slot].astype(np.float64) * before + total) / (before + count)
        self.minute[slot], self.mean[slot] = minute, mean
        self.count[slot] = np.minimum(before + count, 60_000)

    def samples(self, end_s: float, n: int, spacing_s: float) -> Samples:
        """Mean and maximum over each of n intervals, NaN where there is none."""
        start_s = end_s - n * spacing_s
        if start_s >= self.floor_s:
            first, last = bisect_left(self.stamps_s, start_s), bisect_left(self.stamps_s, math.nextafter(end_s, np.inf))
            stamps_s, values = np.array(self.stamps_s[first:last]), np.array(self.values[first:last])
        else:
            wanted = np.arange(max(math.ceil(start_s / MINUTE_S), 0), math.ceil(end_s / MINUTE_S))
            wanted = wanted[-MINUTES:]
            known = wanted[self.minute[wanted % MINUTES] == wanted]
            stamps_s, values = (known + 1.0) * MINUTE_S, self.mean[known % MINUTES].astype(np.float64)
        place = np.ceil((stamps_s - start_s) / spacing_s - 1e-9).astype(np.int64) - 1
        inside = (place >= 0) & (place < n)
        count = np.bincount(place[inside], minlength=n)
        total = np.bincount(place[inside], values[inside], minlength=n)
        largest = np.full(n, -np.inf)
        np.maximum.at(largest, place[inside], values[inside])
        known_here = count > 0
        mean = np.where(known_here, total / np.maximum(count, 1), np.nan)
        return Samples(mean, np.where(known_here, largest, np.nan))

    def of_day(self, day: int) -> tuple[IntArray, FloatArray, IntArray]:
        """Minutes of a day that are known, their means and how many samples they stand for."""
        wanted = np.arange(day * DAY_S // MINUTE_S, (day + 1) * DAY_S // MINUTE_S)
        known = wanted[self.minute[wanted % MINUTES] == wanted]
        slot = known % MINUTES
        return known, self.mean[slot].astype(np.float64), self.count[slot].astype(np.int64)


class _Series:
    """All that was pushed under one name."""

    def __init__(self) -> None:
        self.tracks = {Signal.LOAD: _Track()}
        self.newest_s = -math.inf
        self.running: tuple[float, float, int, int] | None = None
        """Stamp, spacing to the sample before, replicas and ready of the newest sample that had them."""
        self.feedback: dict[Signal, tuple[float, float]] = {}
        """Stamp and value of the newest sample of each signal."""

    def add(self, records: Records, now_s: float) -> None:
        """Remember records of this series."""
        for signal, column in ((Signal.LOAD, "load"), (Signal.ARRIVALS, "arrivals")):
            present = ~np.isnan(records[column])
            if present.any():
                part = records[present]
                samples = part["samples"].astype(np.int64)
                self.tracks.setdefault(signal, _Track()).add(part["t"], part[column], samples, now_s)
        for signal in FEEDBACK:
            told = records[~np.isnan(records[signal.value])]
            if len(told):
                newest = told[told["t"].argmax()]
                known = self.feedback.get(signal, (-math.inf, math.nan))
                self.feedback[signal] = max(known, (float(newest["t"]), float(newest[signal.value])))
        counted = records[records["replicas"] != UNKNOWN]
        if len(counted):
            newest = counted[counted["t"].argmax()]
            t_s = float(newest["t"])
            before_s = -math.inf if self.running is None else self.running[0]
            if t_s > before_s:
                spacing_s = min(max(t_s - before_s, SHORTEST_SPACING_S), LONGEST_SPACING_S)
                if not math.isfinite(before_s):
                    spacing_s = SHORTEST_SPACING_S
                self.running = (t_s, spacing_s, int(newest["replicas"]), int(newest["ready"]))
        self.newest_s = max(self.newest_s, float(records["t"].max()))


def series_number(namespace: str, name: str) -> int:
    """Number of a series on disk."""
    return int.from_bytes(hashlib.blake2b(f"{namespace}\0{name}".encode(), digest_size=8).digest(), "little")


class PushedLoad:
    """A load source, and what the pushes say of replicas."""

    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._files = None if folder is None else DayFiles(folder)
        self._series: dict[int, _Series] = {}
        self._raw_days: set[int] = set()
        self.trouble: str | None = None
        """Why what is pushed stays in memory, None where it is on disk."""

    def claim(self) -> None:
        """Keep other processes out of the folder. Raises StoreError where one is in there already."""
        if self._files is not None:
            self._files.claim()

    def load(self) -> None:
        """Read what earlier runs were pushed. What cannot be read is logged by name and left as it is."""
        now_s, n = self._clock(), 0
        for day in self._days_on_disk(now_s):
            for records in self._readable(day):
                self._remember(records, now_s)
                n += len(records)
                if not records["samples"].all():
                    self._raw_days.add(day)
        if n and self._files is not None:
            log.info("pushed load read", samples=n, series=len(self._series), folder=str(self._files.folder))

    def _days_on_disk(self, now_s: float) -> list[int]:
        if self._files is None:
            return []
        try:
            return [day for day in self._files.days() if (day + 1) * DAY_S > now_s - RETENTION_S]
        except OSError as error:
            self._say(f"{self._files.folder}: {error.strerror or error}")
            return []

    def _readable(self, day: int) -> Iterator[Records]:
        if self._files is None:
            return
        try:
            yield from self._files.read(day)
        except StoreError as error:
            log.warning("a file of pushed load is refused; it stays as it is", error=str(error))
        for path, n_bytes in self._files.cut.items():
            log.warning("an unfinished end was cut off", file=str(path), bytes=n_bytes)
        self._files.cut.clear()

    def _remember(self, records: Records, now_s: float) -> None:
        order = np.argsort(records["series"], kind="stable")
        records = records[order]
        bounds = np.flatnonzero(np.diff(records["series"])) + 1
        for part in np.split(records, bounds):
            self._series.setdefault(int(part["series"][0]), _Series()).add(part, now_s)

    def knows(self, namespace: str, name: str) -> bool:
        """Whether anything was pushed under this name."""
        return series_number(namespace, name) in self._series

    def refusal(self, sample: Sample, step_s: float) -> str | None:
        """Why a sample is refused, None where it is not."""
        now_s = self._clock()
        if sample.t_s > now_s + step_s:
            return (
                f"t is {sample.t_s - now_s:.0f} s ahead of this service's clock ({_utc(now_s)}), "
                f"more than a step of {step_s:g} s"
            )
        if sample.t_s <= now_s - RETENTION_S:
            return f"t is older than nine days before this service's clock ({_utc(now_s)})"
        if sample.replicas == UNKNOWN and all(map(math.isnan, (sample.load, sample.arrivals, *sample.feedback))):
            return "nothing was measured: neither load nor replicas nor feedback"
        return None

    def push(self, namespace: str, name: str, samples: Sequence[Sample]) -> bool:
        """Remember samples that are not refused; whether they are on disk too."""
        records = np.zeros(len(samples), RECORD)
        number = series_number(namespace, name)
        for index, s in enumerate(samples):
            records[index] = (number, s.t_s, s.load, s.arrivals, s.replicas, s.ready, *s.feedback, 0, 0)
        self._remember(records, self._clock())
        return self._append(sealed(records))

    def _append(self, records: Records) -> bool:
        if self._files is None:
            return False
        trouble = None
        days = day_of(minute_of(records["t"]))
        for day in np.unique(days).tolist():
            self._raw_days.add(day)
            try:
                self._files.append(day, records[days == day])
            except StoreError as error:
                trouble = str(error)
        self._say(trouble)
        return trouble is None

    def _say(self, trouble: str | None) -> None:
        """Log when what is pushed stays in memory, and when it is on disk again; once each."""
        if trouble is not None and self.trouble is None:
            log.warning("pushed load is kept in memory only, and lost at a restart", error=trouble)
        if trouble is None and self.trouble is not None:
            log.info("pushed load is on disk again")
        self.trouble = trouble

    def admit(self, workload: Workload) -> None:
        """Any workload may be pushed."""
        del workload

    async def read(self, workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
        """As `LoadSource.read`; of minutes long past the maxima are not kept, there it is the mean."""
        series = self._series.get(series_number(workload.namespace, workload.name))
        if series is not None and signal in FEEDBACK:
            return _newest(series, signal, end_s, n, spacing_s)
        track = None if series is None else series.tracks.get(signal)
        if track is None:
            where = f"/v1/workloads/{workload.namespace}/{workload.name}/observations"
            raise SourceError(f"{workload.namespace}/{workload.name}: no {signal.value} was pushed yet: POST {where}")
        samples = track.samples(end_s, n, spacing_s)
        if math.isnan(samples.mean[-1]) and spacing_s == workload.step_s:
            before = track.samples(end_s - spacing_s, 1, spacing_s)
            samples.mean[-1], samples.maximum[-1] = before.mean[0], before.maximum[0]
        return samples

    def running(self, key: Key, t_s: float) -> Running | None:
        """Replicas of the newest push that told them, as `Cluster.running`; the HPA's own limits stay unknown."""
        series = self._series.get(series_number(key.namespace, key.name))
        if series is None or series.running is None:
            return None
        stamp_s, spacing_s, replicas, ready = series.running
        if t_s - stamp_s > 3.0 * spacing_s:
            return None
        return Running(replicas, ready, UNKNOWN, UNKNOWN, math.nan)

    async def run(self) -> None:
        """Keep the disk up to date and old days small, until cancelled; then once more."""
        tidied_s = -math.inf
        try:
            while True:
                await asyncio.sleep(SYNC_S)
                await asyncio.to_thread(self._sync)
                if time.monotonic() - tidied_s >= TIDY_S:
                    tidied_s = time.monotonic()
                    await self.tidy()
        finally:
            self._sync()

    def _sync(self) -> None:
        if self._files is not None:
            try:
                self._files.sync()
            except OSError as error:
                log.warning("pushed load is not on disk for sure", error=str(error))

    async def tidy(self) -> None:
        """Write days that are over as means of minutes, remove those beyond retention, forget silent series."""
        now_s = self._clock()
        over = [day for day in self._raw_days if (day + 1) * DAY_S < now_s - RECENT_S]
        for day in sorted(over):
            self._raw_days.discard(day)
            await self._shrink(day)
        for number in [n for n, series in self._series.items() if series.newest_s < now_s - RETENTION_S]:
            del self._series[number]
        if self._files is not None:
            with contextlib.suppress(OSError):
                self._files.remove_before(int((now_s - RETENTION_S) // DAY_S))

    async def _shrink(self, day: int) -> None:
        if self._files is None:
            return
        parts = []
        for number, series in list(self._series.items()):
            parts.append(_minutes(number, series, day))
            await asyncio.sleep(0)
        try:
            await asyncio.to_thread(self._files.rewrite, day, sealed(np.concatenate([np.zeros(0, RECORD), *parts])))
        except StoreError as error:
            log.warning("a day of pushed load was not made smaller; it stays as it is", error=str(error))


def _newest(series: _Series, signal: Signal, end_s: float, n: int, spacing_s: float) -> Samples:
    """The newest sample, where it lies in the last interval or the one before it: no more is kept of feedback."""
    stamp_s, value = series.feedback.get(signal, (-math.inf, math.nan))
    values = np.full(n, np.nan)
    if end_s - 2.0 * spacing_s < stamp_s <= end_s:
        values[-1] = value
    return Samples(values, values)


def _minutes(number: int, series: _Series, day: int) -> Records:
    """A day of one series, one record per minute and signal."""
    parts = []
    for signal, track in series.tracks.items():
        minute, mean, count = track.of_day(day)
        part = np.zeros(len(minute), RECORD)
        part["series"], part["t"], part["samples"] = number, (minute + 1.0) * MINUTE_S, count
        for column in ("load", "arrivals", "cpu", "memory", "latency", "queue"):
            part[column] = np.nan
        part["replicas"] = part["ready"] = UNKNOWN
        part["load" if signal is Signal.LOAD else "arrivals"] = mean
        parts.append(part)
    return np.concatenate(parts)


def _utc(t_s: float) -> str:
    return datetime.fromtimestamp(t_s, UTC).isoformat(timespec="seconds")
