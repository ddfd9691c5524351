"""The journal's file: its tables in SQLite, how they are written, folded, read, and led from version to version.

    fresh     a tile's tick per row, as it was written
    segment   a workload's half hour per row: what reads and what retention drops
    workload, layout   what the numbers in both mean

One connection writes; each read has its own, and SQLite's WAL lets both go on at once.
"""

import sqlite3
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaler.errors import StoreError
from scaler.record import Records, described, layout_of, packed, unpacked
from scaler.roster import Key

FOLD_S = 1800.0
"""Span of a segment: longer ones are little smaller, and what is not folded yet is read tile by tile."""
APPLICATION = 0x464F5245
"""SQLite's application_id of a journal: "FORE"."""
CHECK_S = 2.0
"""Time that looking for damage at the start may take: a file of a hundred megabytes is looked through."""
BUSY_S = 5.0
"""How long a transaction waits for another one: only a reader that was killed leaves work behind."""
MAGIC = b"SQLite format 3\0"
DESCRIBED = described()

CREATE = (
    "CREATE TABLE layout (id INTEGER PRIMARY KEY, fields TEXT NOT NULL UNIQUE)",
    (
        "CREATE TABLE workload (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,"
        " fingerprint TEXT NOT NULL, UNIQUE (namespace, name, fingerprint))"
    ),
    (
        "CREATE TABLE fresh (id INTEGER PRIMARY KEY, tile INTEGER NOT NULL, t REAL NOT NULL, layout INTEGER NOT NULL,"
        " members BLOB NOT NULL, records BLOB NOT NULL)"
    ),
    (
        "CREATE TABLE segment (id INTEGER PRIMARY KEY, workload INTEGER NOT NULL, begin_t REAL NOT NULL,"
        " end_t REAL NOT NULL, layout INTEGER NOT NULL, records BLOB NOT NULL)"
    ),
    "CREATE INDEX segment_of ON segment (workload, end_t, begin_t)",
    "CREATE INDEX segment_end ON segment (end_t)",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (CREATE,)
"""Statements that lead from each version of the schema to the next one, the first from an empty file."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one tick, row i about `keys[i]`."""

    tile: int
    keys: tuple[Key, ...]
    records: Records


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite found the file itself spoilt."""
    return getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class JournalFile:
    """The tables, one connection to write and one per read: SQLite's WAL lets both go on at once."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises StoreError where the file must be left alone, OSError or sqlite3.Error otherwise."""
        check_header(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._connection = _connected(path)
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise
        self._ids: dict[Key, int] = {}
        self._layouts: dict[int, np.dtype[Any]] = {}

    def _set_up(self) -> None:
        connection = self._connection
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
        else:
            _look_for_damage(connection, self.path)
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit reaches the disk before it is done: neither a crash nor a power cut takes it back.
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, MIGRATIONS)

    def close(self) -> None:
        """Close the writing connection."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._ids.clear()
            self._layouts.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def write(self, batches: Sequence[Batch]) -> None:
        """Write some ticks in one transaction."""
        with self._transaction() as connection:
            layout = self._layout_id(connection)
            rows = []
            for batch in batches:
                members = np.array([self._id(connection, key) for key in batch.keys], "<i4").tobytes()
                rows.append((batch.tile, float(batch.records["t"][0]), layout, members, packed(batch.records)))
            connection.executemany("INSERT INTO fresh (tile, t, layout, members, records) VALUES (?, ?, ?, ?, ?)", rows)

    def _id(self, connection: sqlite3.Connection, key: Key) -> int:
        found = self._ids.get(key)
        if found is None:
            connection.execute("INSERT OR IGNORE INTO workload (namespace, name, fingerprint) VALUES (?, ?, ?)", key)
            found = self._ids[key] = _id_of(connection, key) or 0
        return found

    def _layout_id(self, connection: sqlite3.Connection) -> int:
        connection.execute("INSERT OR IGNORE INTO layout (fields) VALUES (?)", (DESCRIBED,))
        found = connection.execute("SELECT id FROM layout WHERE fields = ?", (DESCRIBED,)).fetchone()
        return int(found[0])

    def fold(self, until_s: float) -> bool:
        """Turn one tile's oldest half hour that is over by `until_s` into segments; whether there may be more."""
        with self._transaction() as connection:
            oldest = connection.execute("SELECT tile, t FROM fresh WHERE t < ? ORDER BY id LIMIT 1", (until_s,))
            first = oldest.fetchone()
            if first is None:
                return False
            tile, end_s = first[0], (first[1] // FOLD_S + 1.0) * FOLD_S
            taken = connection.execute(
                "SELECT id, layout, members, records FROM fresh WHERE tile = ? AND t < ?", (tile, min(end_s, until_s))
            ).fetchall()
            members = np.concatenate([np.frombuffer(row[2], "<i4") for row in taken])
            records = np.concatenate([unpacked(row[3], self._layout(connection, row[1])) for row in taken])
            connection.executemany(
                "INSERT INTO segment (workload, begin_t, end_t, layout, records) VALUES (?, ?, ?, ?, ?)",
                [
                    (workload, part["t"].min(), part["t"].max(), self._layout_id(connection), packed(part))
                    for workload, part in _by_member(members, records)
                ],
            )
            connection.executemany("DELETE FROM fresh WHERE id = ?", [row[:1] for row in taken])
        return True

    def drop(self, before_s: float, n_bytes: int) -> bool:
        """Drop some of what is too old, else of the oldest where the file is too large; whether there may be more."""
        with self._transaction() as connection:
            old = "id IN (SELECT id FROM segment WHERE end_t < ? ORDER BY end_t LIMIT 2000)"
            dropped = connection.execute(f"DELETE FROM segment WHERE {old}", (before_s,)).rowcount  # noqa: S608
            if not dropped and self._used_bytes() > n_bytes:
                dropped = connection.execute(f"DELETE FROM segment WHERE {old}", (float("inf"),)).rowcount  # noqa: S608
        if dropped:
            self._connection.execute("PRAGMA incremental_vacuum(4096)").fetchall()
        return dropped > 0

    def _used_bytes(self) -> int:
        pages, free, size = (
            int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def read(self, key: Key, begin_s: float, end_s: float) -> list[Records]:
        """Records of a workload in pieces, with others around that time."""
        with closing(_connected(self.path)) as connection:
            # One snapshot: a fold between the two queries would hide what it moves.
            connection.execute("BEGIN")
            workload = _id_of(connection, key)
            if workload is None:
                return []
            parts = [
                unpacked(blob, self._layout(connection, layout))
                for layout, blob in connection.execute(
                    "SELECT layout, records FROM segment WHERE workload = ? AND end_t >= ? AND begin_t <= ?",
                    (workload, begin_s, end_s),
                )
            ]
            return parts + list(self._fresh(connection, workload, begin_s, end_s))

    def _fresh(self, connection: sqlite3.Connection, workload: int, begin_s: float, end_s: float) -> Iterator[Records]:
        found = connection.execute("SELECT id, members FROM fresh WHERE t >= ? AND t <= ?", (begin_s, end_s))
        for number, members in found.fetchall():
            place = np.flatnonzero(np.frombuffer(members, "<i4") == workload)
            if len(place):
                query = connection.execute("SELECT layout, records FROM fresh WHERE id = ?", (number,))
                layout, blob = query.fetchone()
                yield unpacked(blob, self._layout(connection, layout))[place]

    def keys(self) -> list[Key]:
        """Workloads that were ever written."""
        with closing(_connected(self.path)) as connection:
            return [Key(*row) for row in connection.execute("SELECT namespace, name, fingerprint FROM workload")]

    def _layout(self, connection: sqlite3.Connection, number: int) -> np.dtype[Any]:
        found = self._layouts.get(number)
        if found is None:
            text = connection.execute("SELECT fields FROM layout WHERE id = ?", (number,)).fetchone()[0]
            found = self._layouts[number] = layout_of(text)
        return found


def _by_member(members: NDArray[np.int32], records: Records) -> Iterator[tuple[int, Records]]:
    order = np.argsort(members, kind="stable")
    bounds = np.flatnonzero(np.diff(members[order])) + 1
    for part in np.split(order, bounds):
        yield int(members[part[0]]), records[part]


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _id_of(connection: sqlite3.Connection, key: Key) -> int | None:
    query = "SELECT id FROM workload WHERE namespace = ? AND name = ? AND fingerprint = ?"
    found = connection.execute(query, key).fetchone()
    return None if found is None else int(found[0])


def check_header(path: Path) -> None:
    """Look at a file without SQLite, which might change it.

    Raises:
        StoreError: it is not a journal, or one of a later version.
    """
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or header[:16] != MAGIC:
        raise StoreError(f"{path} is damaged or not a journal: it does not begin as one")
    version, application = struct.unpack(">I4xI", header[60:72])
    if application != APPLICATION:
        raise StoreError(f"{path} is not a journal: another program made it")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a later version (schema {version}, this one knows up to {len(MIGRATIONS)})"
        )


def _look_for_damage(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreError where SQLite finds damage within CHECK_S; what lies farther back shows when it is read."""
    until_s = time.monotonic() + CHECK_S
    connection.set_progress_handler(lambda: time.monotonic() > until_s, 10_000)
    try:
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if said != "ok":
        raise StoreError(f"{path} is damaged: {said}")


def migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Lead the schema to the newest version, each step in a transaction of its own.

    Raises:
        StoreError: the file is of a later version.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise StoreError(f"the journal was written by a later version (schema {version})")
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
        # The header tells the version to whoever looks without SQLite.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
