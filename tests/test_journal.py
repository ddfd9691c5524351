"""The journal: what goes in comes out, whatever the disk does and whenever the process dies."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scaler.core.decision import decide, initial_state
from scaler.core.domain import UNKNOWN, Decisions
from scaler.core.trust import TrustRules
from scaler.journal import FOLD_S, Journal, Limits
from scaler.journal_file import APPLICATION, CREATE, MIGRATIONS, migrate
from scaler.record import (
    AFTER,
    LAYOUT,
    Recorded,
    Records,
    Tick,
    columns_of,
    described,
    layout_of,
    packed,
    records_of,
    unpacked,
)
from scaler.roster import Key
from tests.fakes import WEDNESDAY_S, some_fleet, some_forecasts, some_observations

EVIDENCE = os.environ.get("FORESAIL_EVIDENCE") == "1"
KILLS = 200 if EVIDENCE else 2
WEB, API = Key("shop", "web", "00000000"), Key("shop", "api", "11111111")


def some_decisions(t_s: float = WEDNESDAY_S, n: int = 2) -> tuple[Decisions, Records]:
    """Decisions of n workloads under a load of 100, and how they are kept."""
    fleet = some_fleet(n)
    seen = replace(some_observations(n, feedback=[0.5, np.nan, 0.25, np.nan]), t_s=t_s)
    made, _ = decide(seen, some_forecasts(n, 123.4), fleet, initial_state(n, 15.0), TrustRules())
    tick = Tick(made, seen, np.full(n, 1000.0), np.zeros(n, np.bool_), fleet)
    return made, records_of(tick, np.arange(n))


def some_records(rng: np.random.Generator, n: int) -> Records:
    """n rows of any numbers at rising times: the worst to pack."""
    records = np.zeros(n, LAYOUT)
    for name in LAYOUT.names or ():
        records[name] = rng.integers(0, 256, records[name].shape)
    for name in ("load", "raw_load", "value", "price", "peak", "path"):
        records[name] = rng.normal(size=records[name].shape)
    records["t"] = WEDNESDAY_S + 15.0 * np.arange(n)
    return records


def kept(journal: Journal, key: Key = WEB) -> Recorded:
    return journal.read(key, -np.inf, np.inf)


def times(journal: Journal, key: Key = WEB) -> list[float]:
    return kept(journal, key).t_s.tolist()


def filled(path: Path, n: int = 10, limits: Limits | None = None, now_s: float = WEDNESDAY_S) -> Journal:
    """A journal of n ticks of two workloads, all on disk."""
    journal = Journal(path, limits, lambda: now_s)
    for tick in range(n):
        journal.post(0, [WEB, API], some_decisions(WEDNESDAY_S + 15.0 * tick)[1])
    journal.flush()
    assert journal.trouble is None
    return journal


def test_a_decision_comes_back_as_it_was_made(tmp_path: Path) -> None:
    made, records = some_decisions()
    journal = Journal(tmp_path / "journal.sqlite")
    journal.post(0, [WEB, API], records)
    for _ in range(2):
        back = kept(journal, API)
        assert back.t_s.tolist() == [WEDNESDAY_S]
        assert back.raw_load.tolist() == [1000.0]
        assert back.threshold.tolist() == [10.0]
        assert back.present.tolist() == [[True, False, True, False]]
        assert np.allclose(back.level, made.level[1:])
        for name in ("load", "replicas", "reactive", "reactive_alone", "predictive", "guarded", "predicted_replicas",
                     "value", "mode", "cause", "earned", "price", "version"):  # fmt: skip
            assert np.array_equal(getattr(back, name)[0], getattr(made, name)[1]), name
        assert np.array_equal(back.peak[0], made.peak[1].astype(np.float32))
        journal.flush()
        assert journal.written == 2


def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path / "journal.sqlite").close()
    again = Journal(tmp_path / "journal.sqlite")
    again.post(0, [WEB], some_decisions(WEDNESDAY_S + 150.0, n=1)[1])
    again.flush()
    assert times(again) == [WEDNESDAY_S + 15.0 * tick for tick in range(11)]
    assert again.keys() == [API, WEB]
    assert again.read(WEB, WEDNESDAY_S + 30.0, WEDNESDAY_S + 45.0).t_s.tolist() == [
        WEDNESDAY_S + 30.0,
        WEDNESDAY_S + 45.0,
    ]
    assert again.newest(WEB, WEDNESDAY_S + 47.0).t_s.tolist() == [WEDNESDAY_S + 45.0]
    assert again.newest(WEB, WEDNESDAY_S + 20_000.0).t_s.tolist() == [WEDNESDAY_S + 150.0]
    assert not len(again.newest(WEB, WEDNESDAY_S - 1.0).t_s)
    assert not len(kept(again, Key("shop", "web", "22222222")).t_s)


def test_records_are_packed_without_loss() -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 500):
        records = some_records(rng, n)
        assert unpacked(packed(records), LAYOUT).tobytes() == records.tobytes()


def test_of_two_decisions_of_one_time_the_later_one_counts() -> None:
    records = np.concatenate([some_decisions(n=1)[1]] * 2)
    records["proposal"] = [3, 4]
    assert columns_of(records).proposal.tolist() == [4]


def test_folding_changes_nothing_but_the_size(tmp_path: Path) -> None:
    n, path = 300, tmp_path / "journal.sqlite"
    journal = filled(path, n, now_s=WEDNESDAY_S + 4000.0)
    before = kept(journal)
    journal.tidy()
    after = kept(journal)
    for name in Recorded.__slots__:
        assert np.array_equal(getattr(before, name), getattr(after, name), equal_nan=True), name
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*), min(t) FROM fresh").fetchone() == (60, WEDNESDAY_S + 2 * FOLD_S)
        assert connection.execute("SELECT count(*) FROM segment").fetchone() == (4,)
    connection.close()
    assert not np.isnan(after.t_s).any()
    assert len(after.t_s) == n


def test_what_is_too_old_is_dropped(tmp_path: Path) -> None:
    journal = filled(tmp_path / "journal.sqlite", 300, Limits(days=1.0), WEDNESDAY_S + 86_400.0 + 2000.0)
    journal.tidy()
    assert times(journal)[0] == WEDNESDAY_S + FOLD_S


def test_what_is_too_much_is_dropped_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path, Limits(n_bytes=200_000), lambda: WEDNESDAY_S + 20 * FOLD_S)
    rng = np.random.default_rng(1)
    for _ in range(10):
        records = some_records(rng, 2000)
        for tick in range(0, 2000, 100):
            journal.post(0, [WEB], records[tick : tick + 1])
    journal.flush()
    journal.tidy()
    assert path.stat().st_size < 300_000
    journal.post(0, [WEB], some_decisions(WEDNESDAY_S + 30 * FOLD_S, n=1)[1])
    assert times(journal)[-1] == WEDNESDAY_S + 30 * FOLD_S


def test_rows_of_an_older_layout_are_read_and_what_they_lack_is_unknown() -> None:
    older = np.dtype([(name, LAYOUT[name]) for name in LAYOUT.names or () if name not in {"ready", "drift", AFTER[2]}])
    assert layout_of(described(older)) == older
    today = some_decisions(n=1)[1]
    rows = np.zeros(1, older)
    for name in older.names or ():
        rows[name] = today[name]
    back = columns_of(unpacked(packed(rows), layout_of(described(older))))
    assert back.ready.tolist() == [UNKNOWN]
    assert np.isnan(back.drift).all()
    assert back.guarded[0, 2] == back.guarded[0, 1], "a guardrail that there was not yet moved nothing"
    assert np.array_equal(back.guarded[0, 3:], [today[name][0] for name in AFTER[3:]])


def test_the_schema_moves_forward_and_keeps_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    filled(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    later = (*MIGRATIONS, ("ALTER TABLE workload ADD COLUMN note TEXT",))
    migrate(connection, later)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(later),)
    assert connection.execute("SELECT count(note), count(*) FROM workload").fetchone() == (0, 2)
    migrate(connection, later)
    connection.close()


def spoilt(path: Path, how: str) -> None:
    """A file that is no journal of this version."""
    if how == "of a later version":
        filled(path).close()
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
    elif how == "of another program":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.close()
    elif how == "of noise":
        path.write_bytes(np.random.default_rng(1).bytes(20_000))
    elif how == "cut short":
        filled(path, 300).close()
        os.truncate(path, path.stat().st_size // 2)
    elif how == "overwritten in the middle":
        filled(path, 300).close()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(np.random.default_rng(1).bytes(40_960))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("of a later version", "was written by a later version"),
        ("of another program", "not a journal"),
        ("of noise", "damaged or not a journal"),
        ("cut short", "damaged"),
        ("overwritten in the middle", "damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_left_as_it_is(tmp_path: Path, how: str, why: str) -> None:
    path = tmp_path / "journal.sqlite"
    spoilt(path, how)
    before = path.read_bytes()
    journal = Journal(path, None, lambda: WEDNESDAY_S)
    for tick in range(3):
        journal.post(0, [WEB], some_decisions(WEDNESDAY_S + 15.0 * tick, n=1)[1])
        journal.flush()
        journal.tidy()
    assert journal.refused
    assert journal.trouble is not None
    assert why in journal.trouble
    assert journal.trouble.endswith("left as it is")
    assert times(journal) == [WEDNESDAY_S, WEDNESDAY_S + 15.0, WEDNESDAY_S + 30.0], "it goes on in memory"
    journal.close()
    assert path.read_bytes() == before


def test_damage_that_shows_only_when_read_ends_the_use_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = filled(path, 300, now_s=WEDNESDAY_S + 5000.0)
    journal.tidy()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE segment SET records = x'00'")
    connection.close()
    assert times(journal) == []
    assert journal.refused
    assert journal.trouble is not None
    assert "damaged: records that cannot be read back" in journal.trouble
    journal.post(0, [WEB], some_decisions(WEDNESDAY_S + 9000.0, n=1)[1])
    journal.flush()
    assert times(journal) == [WEDNESDAY_S + 9000.0]


def test_a_full_disk_costs_nothing_but_memory_and_is_caught_up_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.journal.RETRY_S", 0.0)
    journal = filled(tmp_path / "journal.sqlite", 3)
    file = journal._file
    assert file is not None
    pages = file._connection.execute("PRAGMA page_count").fetchone()[0]
    file._connection.execute(f"PRAGMA max_page_count = {pages}")
    for tick in range(3, 40):
        journal.post(0, [WEB, API], some_records(np.random.default_rng(tick), 40)[tick : tick + 1].repeat(2))
        journal.flush()
    assert journal.trouble is not None
    assert "full" in journal.trouble
    assert times(journal) == [WEDNESDAY_S + 15.0 * tick for tick in range(40)], "what is not written is read as well"
    file._connection.execute("PRAGMA max_page_count = 1000000")
    journal.flush()
    assert journal.trouble is None
    journal.close()
    again = Journal(tmp_path / "journal.sqlite")
    again.open()
    assert len(times(again)) == 40


def test_a_disk_that_becomes_read_only_is_told_of_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scaler.journal.RETRY_S", 0.0)
    journal = filled(tmp_path / "journal.sqlite", 3)
    assert journal._file is not None
    journal._file._connection.execute("PRAGMA query_only = 1")
    journal.post(0, [WEB], some_decisions(WEDNESDAY_S + 45.0, n=1)[1])
    journal.flush()
    assert journal.trouble is not None
    assert "readonly" in journal.trouble
    assert len(times(journal)) == 4


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    journal = Journal(tmp_path / "var" / "journal.sqlite")
    journal.post(0, [WEB], some_decisions(n=1)[1])
    journal.flush()
    assert journal.trouble is not None
    assert times(journal) == [WEDNESDAY_S]


def test_memory_is_bounded_and_what_was_lost_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "var").write_text("a file")
    records = some_decisions(n=1)[1]
    monkeypatch.setattr("scaler.journal.PENDING_BYTES", 10 * records.nbytes)
    journal = Journal(tmp_path / "var" / "journal.sqlite")
    for tick in range(25):
        journal.post(0, [WEB], some_decisions(WEDNESDAY_S + 15.0 * tick, n=1)[1])
    assert times(journal) == [WEDNESDAY_S + 15.0 * tick for tick in range(15, 25)]
    assert journal.lost == 15


def test_a_journal_without_a_file_is_in_memory(tmp_path: Path) -> None:
    journal = Journal()
    journal.post(0, [WEB, API], some_decisions()[1])
    journal.flush()
    journal.tidy()
    journal.close()
    assert times(journal, API) == [WEDNESDAY_S]
    assert journal.trouble is None
    assert list(tmp_path.iterdir()) == []


WRITER = """
import asyncio, sys, time
from pathlib import Path
import numpy as np
from scaler.journal import Journal
from scaler.record import LAYOUT
from scaler.roster import Key

async def main():
    journal = Journal(Path(sys.argv[1]))
    task = asyncio.create_task(journal.run())
    keys = [Key("shop", f"w{i}", "00000000") for i in range(64)]
    records = np.zeros(64, LAYOUT)
    tick = float(sys.argv[2])
    while True:
        tick += 1.0
        records = records.copy()
        records["t"] = tick
        journal.post(0, keys, records)
        print(tick, time.monotonic(), flush=True)
        await asyncio.sleep(0.01)
asyncio.run(main())
"""


@pytest.mark.timeout(60 + 10 * KILLS)
def test_a_kill_loses_no_record_older_than_a_second(tmp_path: Path) -> None:
    chance, path, first = random.Random(9), tmp_path / "journal.sqlite", 0.0  # noqa: S311 - when to kill
    seen = 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        end_s = time.monotonic() + chance.uniform(0.9, 2.5)
        while time.monotonic() < end_s:
            lines.append(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        killed_s = time.monotonic()
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        posted = [tuple(map(float, line.split())) for line in lines if line.endswith("\n")]
        old = {tick for tick, at_s in posted if at_s < killed_s - 1.0}
        seen += len(old)
        journal = Journal(path)
        journal.open()
        assert journal.trouble is None
        for key in (Key("shop", "w0", "00000000"), Key("shop", "w63", "00000000")):
            there = journal.read(key, first + 1.0, np.inf).t_s
            assert old <= set(there.tolist())
            assert np.array_equal(there, np.arange(first + 1.0, first + 1.0 + len(there))), "no gaps"
        journal.close()
        first = posted[-1][0]
    assert seen > 10 * KILLS


def test_the_schema_of_the_first_version_stands() -> None:
    """A file that was written by version 1 must be readable for ever: its statements are never edited."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in CREATE:
        connection.execute(statement)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert tables == {"layout", "workload", "fresh", "segment"}
    assert MIGRATIONS[0] is CREATE
    assert int.from_bytes(b"FORE", "big") == APPLICATION
