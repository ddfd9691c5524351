"""Pushed samples on disk: one append-only file per UTC day, `var/pushed/load-2026-09-16.bin`.

    64 bytes of header, then records of 64 bytes, each with its own checksum

A record that a crash cut short is cut off when the file is next read. A file that is not ours, or damaged other than at
its end, is refused by name: never written to, never removed, and what belongs in it stays in memory. A day that is over
is written anew with one record per series and minute. Writes reach the kernel before a push is answered, so they
outlive this process; the disk has them after the next `sync`.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaler.errors import StoreError
from scaler.files import sync

RECORD = np.dtype(
    [
        ("series", "<u8"),
        ("t", "<f8"),
        ("load", "<f8"),
        ("arrivals", "<f8"),
        ("replicas", "<i4"),
        ("ready", "<i4"),
        ("cpu", "<f4"),
        ("memory", "<f4"),
        ("latency", "<f4"),
        ("queue", "<f4"),
        ("samples", "<u4"),
        ("check", "<u4"),
    ]
)
"""NaN and −1 where absent; `samples` is 0 for a pushed sample, else how many a minute's mean stands for."""
HEADER = b"foresail pushed load, version 1\n".ljust(RECORD.itemsize, b"\0")
Records = NDArray[Any]
LONGEST_TORN = 1024
"""Records at the end that a crash may have spoilt; more is damage."""
CHUNK = 65_536
DAY_S, MINUTE_S = 86_400, 60


def minute_of(t_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Minute since the epoch in which a sample lies: those stamped in (60·m, 60·(m + 1)]."""
    return np.asarray(np.ceil(t_s / MINUTE_S), np.int64) - 1


def day_of(minute: NDArray[np.int64]) -> NDArray[np.int64]:
    """UTC day since the epoch of a minute."""
    return minute // (DAY_S // MINUTE_S)


def sealed(records: Records) -> Records:
    """The same records with their checksums."""
    records["check"] = _checksum(records)
    return records


def _checksum(records: Records) -> NDArray[np.uint32]:
    """FNV-1a (Fowler, Noll and Vo) over the record's 32-bit words but the last."""
    words = np.ascontiguousarray(records).view(np.uint32).reshape(len(records), -1)
    check = np.full(len(records), 0x811C9DC5, np.uint32)
    for column in range(words.shape[1] - 1):
        check = (check ^ words[:, column]) * np.uint32(0x01000193)
    return check


class DayFiles:
    """The files of one folder; the folder is made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused: dict[Path, str] = {}
        """Files that are not used, and why."""
        self.cut: dict[Path, int] = {}
        """Bytes that were cut off the end of a file."""
        self._ours: set[Path] = set()
        self._unsynced: set[Path] = set()
        self._lock: int | None = None

    def claim(self) -> None:
        """Keep other processes out of the folder for as long as this one lives, however it ends.

        Raises:
            StoreError: another process has it.
        """
        with contextlib.suppress(OSError):  # nobody writes to a folder where no lock can be made
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(self._lock, 20, 0).decode(errors="replace").strip()
                text = (
                    f"{self.folder}: another Foresail (process {holder}) keeps pushed load here: give each its own var"
                )
                raise StoreError(text) from error
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def path(self, day: int) -> Path:
        """File of a day since the epoch."""
        return self.folder / f"load-{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d}.bin"

    def days(self) -> list[int]:
        """Days that have a file, oldest first. Raises OSError where the folder cannot be read."""
        if not self.folder.exists():
            return []
        names = (re.fullmatch(r"load-(\d{4}-\d{2}-\d{2})\.bin", path.name) for path in self.folder.iterdir())
        found = []
        for name in filter(None, names):
            try:
                found.append((datetime.fromisoformat(name[1]).replace(tzinfo=UTC).timestamp()) // DAY_S)
            except ValueError:
                continue
        return sorted(map(int, found))

    def read(self, day: int) -> Iterator[Records]:
        """Records of a day in chunks, after a torn end has been cut off.

        Raises:
            StoreError: the file is not ours or damaged; it is refused from now on.
        """
        path = self.path(day)
        try:
            good = self._whole_records(path)
            self._ours.add(path)
            if good:
                kept = np.memmap(path, RECORD, "r", len(HEADER), (good,))
                for start in range(0, good, CHUNK):
                    yield np.array(kept[start : start + CHUNK])
        except OSError as error:
            raise self._refuse(path, str(error)) from error

    def _whole_records(self, path: Path) -> int:
        """Good records of a file, whose torn end is cut off."""
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(HEADER))
        if head != HEADER[: len(head)]:
            raise self._refuse(path, "it is not a file of pushed load")
        records = max(size - len(HEADER), 0) // RECORD.itemsize
        good = self._first_bad(path, records)
        end = len(HEADER) + good * RECORD.itemsize if len(head) == len(HEADER) else 0
        if size > end:
            os.truncate(path, end)
            self.cut[path] = size - end
        return good

    def _first_bad(self, path: Path, n: int) -> int:
        if not n:
            return 0
        kept, first_bad = np.memmap(path, RECORD, "r", len(HEADER), (n,)), n
        for start in range(0, n, CHUNK):
            chunk = np.array(kept[start : start + CHUNK])
            bad = chunk["check"] != _checksum(chunk)
            if first_bad < n and not bad.all():
                raise self._refuse(path, f"record {first_bad} is damaged")
            if first_bad == n and bad.any():
                first_bad = start + int(bad.argmax())
                if not bad[bad.argmax() :].all():
                    raise self._refuse(path, f"record {first_bad} is damaged")
        if n - first_bad > LONGEST_TORN:
            raise self._refuse(path, f"record {first_bad} and all after it are damaged")
        return first_bad

    def _refuse(self, path: Path, why: str) -> StoreError:
        self.refused[path] = why
        return StoreError(f"{path}: {why}")

    def append(self, day: int, records: Records) -> None:
        """Add sealed records to a day.

        Raises:
            StoreError: nothing was added: the file is refused, or the folder is full or cannot be written to.
        """
        path = self.path(day)
        if path in self.refused:
            raise StoreError(f"{path}: {self.refused[path]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if path not in self._ours and path.exists():
                for _ in self.read(day):
                    break
            self._write(path, records.tobytes())
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        self._ours.add(path)
        self._unsynced.add(path)

    def _write(self, path: Path, content: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(file).st_size
            if size % RECORD.itemsize:
                raise self._refuse(path, "somebody else has written to it")
            content = content if size else HEADER + content
            if os.write(file, content) != len(content):
                os.ftruncate(file, size)
                raise OSError(0, "the disk is full")
        finally:
            os.close(file)

    def rewrite(self, day: int, records: Records) -> None:
        """Replace a day's file, at once or not at all.

        Raises:
            StoreError: it stays as it is.
        """
        path = self.path(day)
        if path in self.refused:
            raise StoreError(f"{path}: {self.refused[path]}")
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(HEADER + records.tobytes())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            sync(self.folder)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error

    def remove_before(self, day: int) -> None:
        """Remove files of ours that are older than `day`; what is not ours stays. Raises OSError."""
        for path in [self.path(each) for each in self.days() if each < day]:
            with path.open("rb") as file:
                ours = file.read(len(HEADER)) == HEADER
            if ours and path not in self.refused:
                path.unlink()
                self._ours.discard(path)
                self._unsynced.discard(path)

    def sync(self) -> None:
        """Have the disk hold what was appended. Raises OSError."""
        while self._unsynced:
            path = self._unsynced.pop()
            if path.exists():
                sync(path)
                sync(path.parent)
