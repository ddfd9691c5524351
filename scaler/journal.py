"""Every decision kept, in SQLite: what was known, what each rule wanted, what moved the number, what was sent.

    post (the loop) → pending → one writer: a transaction per quarter of a second → `fresh`: a tile's tick per row
    every half hour → folded: `segment`, a workload's half hour per row, a fifth of the size; what is too old is dropped

What is pending can be read like what is written. A journal that cannot be written (a full or read-only disk) keeps its
newest records in memory, says so, and writes them once it can. A file that is damaged, newer than this version or not a
journal is refused and left as it is; then the journal lives in memory alone.
"""

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import structlog

from scaler.errors import StoreError
from scaler.journal_file import FOLD_S, Batch, JournalFile, is_damage
from scaler.record import LAYOUT, Recorded, Records, columns_of
from scaler.roster import Key

log = structlog.get_logger("foresail.journal")

DAY_S = 86_400.0
GATHER_S = 0.25
"""Between two transactions: a record waits no longer for the disk, and a tick of a thousand workloads is one or two."""
RETRY_S = 5.0
"""Until a disk that refused a write is tried again."""
TIDY_S = 60.0
"""Between looks for half hours that are over."""
PENDING_BYTES = 64 * 2**20
"""Most that waits in memory for the disk; beyond it the oldest is lost."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept."""

    days: float = 28.0
    """Age from which records are dropped."""
    n_bytes: int = 2**30
    """Size of the file from which the oldest records are dropped."""


class Journal:
    """Decisions by workload and time. `post` and `read` may be called at any time, by any thread."""

    def __init__(
        self,
        path: Path | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.limits = limits or Limits()
        self.trouble: str | None = None
        """Why records are in memory only, None where they reach the disk or where none was asked for."""
        self.refused = path is None
        """Whether the file will not be used at all."""
        self.lost = 0
        """Records that were dropped from memory before the disk took them."""
        self.written = 0
        """Records that reached the disk."""
        self._clock = clock
        self._pending: deque[Batch] = deque()
        self._pending_bytes = 0
        self._wanted = threading.Lock()
        """Held while `_pending` is read or changed: never while a disk is waited for."""
        self._file: JournalFile | None = None
        self._using = threading.Lock()
        """Held while the writer's connection is used."""
        self._again_s = -float("inf")

    def post(self, tile: int, keys: Sequence[Key], records: Records) -> None:
        """Keep the records of one tick, row i about `keys[i]`; `tile` is a number that the same workloads share."""
        if not len(keys):
            return
        with self._wanted:
            self._pending.append(Batch(tile, tuple(keys), records))
            self._pending_bytes += records.nbytes
            while self._pending_bytes > PENDING_BYTES:
                dropped = self._pending.popleft()
                self._pending_bytes -= dropped.records.nbytes
                self.lost += 0 if self.refused else len(dropped.keys)

    def read(self, key: Key, begin_s: float, end_s: float) -> Recorded:
        """Decisions of one workload with begin_s ≤ t ≤ end_s, oldest first; empty where there are none."""
        parts = [np.zeros(0, LAYOUT)]
        # Pending first: what is written meanwhile is then read twice, not missed.
        with self._wanted:
            waiting = list(self._pending)
        parts += self._asked(lambda file: file.read(key, begin_s, end_s))
        for batch in waiting:
            if key in batch.keys and begin_s <= float(batch.records["t"][0]) <= end_s:
                parts.append(batch.records[batch.keys.index(key)][None])
        found = np.concatenate(parts)
        return columns_of(found[(found["t"] >= begin_s) & (found["t"] <= end_s)])

    def newest(self, key: Key, at_s: float, within_s: float = DAY_S) -> Recorded:
        """The newest decision of a workload up to `at_s`, looked for `within_s` back; at most one."""
        span_s = FOLD_S
        while True:
            found = self.read(key, at_s - min(span_s, within_s), at_s)
            if len(found.t_s) or span_s >= within_s:
                return last_of(found)
            span_s *= 8.0

    def keys(self) -> list[Key]:
        """Workloads of which something is kept."""
        with self._wanted:
            found = {key for batch in self._pending for key in batch.keys}
        return sorted(found.union(self._asked(lambda file: file.keys())))

    def _asked(self, question: Callable[[JournalFile], list[Found]]) -> list[Found]:
        """What the file answers; nothing where it cannot be read, and it is refused where that is for damage."""
        file = self._file
        if file is None:
            return []
        try:
            return question(file)
        except (sqlite3.Error, StoreError) as error:
            log.warning("decisions could not be read back", file=str(self.path), error=str(error))
            if isinstance(error, StoreError) or is_damage(error):
                with self._using:
                    self._refuse(f"{self.path} is damaged: {error}")
            return []

    async def run(self) -> None:
        """Write until cancelled, then what is left."""
        tidied_s = time.monotonic()
        try:
            await asyncio.to_thread(self.open)
            while True:
                await asyncio.sleep(GATHER_S)
                await asyncio.to_thread(self.flush)
                if time.monotonic() - tidied_s >= TIDY_S:
                    tidied_s = time.monotonic()
                    await asyncio.to_thread(self.tidy)
        finally:
            self.close()

    def open(self) -> None:
        """Open the file, so that what earlier runs wrote can be read; where it cannot be used, say why."""
        with self._using:
            if not self.refused:
                self._guarded(lambda _: None)

    def flush(self) -> None:
        """Write what is pending, in one transaction; where that fails it stays pending, and the reason is told."""
        with self._using:
            if self.refused or not self._pending or time.monotonic() < self._again_s:
                return
            with self._wanted:
                batches = list(self._pending)
            if not self._guarded(lambda file: file.write(batches)):
                return
            with self._wanted:
                for batch in batches:
                    if self._pending and self._pending[0] is batch:
                        self._pending.popleft()
                        self._pending_bytes -= batch.records.nbytes
            self.written += sum(len(batch.keys) for batch in batches)

    def tidy(self) -> None:
        """Fold half hours that are over and drop what is too old or too much; records are written in between."""
        until_s = self._clock() // FOLD_S * FOLD_S
        while self._step(lambda file: file.fold(until_s)):
            self.flush()
        while self._step(lambda file: file.drop(self._clock() - self.limits.days * DAY_S, self.limits.n_bytes)):
            self.flush()

    def _step(self, work: Callable[[JournalFile], bool]) -> bool:
        """One piece of tidying; whether there is more."""
        more: list[bool] = []
        with self._using:
            if self.refused or self._file is None:
                return False
            self._guarded(lambda file: more.append(work(file)))
        return bool(more and more[0])

    def close(self) -> None:
        """Write what is left and close the file."""
        self._again_s = -float("inf")
        self.flush()
        with self._using:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _guarded(self, work: Callable[[JournalFile], None]) -> bool:
        """Work on the file, opened where it is not yet; whether it went well."""
        if self.path is None:
            return False
        try:
            if self._file is None:
                self._file = JournalFile(self.path)
            work(self._file)
        except StoreError as error:
            self._refuse(str(error))
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self._refuse(f"{self.path} is damaged: {error}")
            else:
                self._again_s = time.monotonic() + RETRY_S
                self._say(f"{self.path}: {error}")
        except OSError as error:
            self._again_s = time.monotonic() + RETRY_S
            self._say(f"{self.path}: {error.strerror or error}")
        else:
            self._say(None)
            return True
        return False

    def _refuse(self, why: str) -> None:
        """Go on in memory alone."""
        self.refused = True
        if self._file is not None:
            self._file.close()
            self._file = None
        self._say(f"{why}; it is left as it is")

    def _say(self, trouble: str | None) -> None:
        """Log when decisions stay in memory, and when they are on disk again; once each."""
        if trouble is not None and self.trouble is None:
            log.warning("decisions are kept in memory only, and lost at a restart", error=trouble)
        if trouble is None and self.trouble is not None:
            log.info("decisions are on disk again", lost=self.lost)
        self.trouble = trouble


def last_of(found: Recorded) -> Recorded:
    """The newest of some decisions; none where there are none."""
    return Recorded(**{name: getattr(found, name)[-1:] for name in Recorded.__slots__})
