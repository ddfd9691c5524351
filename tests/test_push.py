"""Pushed load: what is refused, what is remembered, and what a crash or a full disk leaves."""

import errno
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from scaler.core.domain import UNKNOWN
from scaler.core.signals import Signal
from scaler.errors import SourceError
from scaler.push import RETENTION_S, PushedLoad, Sample, series_number
from scaler.roster import Key
from scaler.segments import HEADER, RECORD
from tests.fakes import DAY_S, WEDNESDAY_S
from tests.service import Clock, declared

WEB = declared("web")
TODAY = "load-2026-09-16.bin"


def store(folder: Path | None, clock: Clock | None = None) -> PushedLoad:
    pushed = PushedLoad(folder, clock or Clock(WEDNESDAY_S + 7200.0))
    pushed.load()
    return pushed


def samples(*values: float, end_s: float = WEDNESDAY_S + 7200.0, spacing_s: float = 15.0) -> list[Sample]:
    first_s = end_s - spacing_s * (len(values) - 1)
    return [Sample(first_s + spacing_s * index, value) for index, value in enumerate(values)]


async def read(pushed: PushedLoad, n: int, spacing_s: float = 15.0, end_s: float = WEDNESDAY_S + 7200.0) -> list[float]:
    return (await pushed.read(WEB, Signal.LOAD, end_s, n, spacing_s)).mean.tolist()


async def test_what_is_pushed_is_read_as_means_of_intervals_and_gaps_are_missing(tmp_path: Path) -> None:
    pushed = store(tmp_path)
    assert pushed.push("shop", "web", samples(1.0, 2.0, 3.0, math.nan, 5.0))
    found = await read(pushed, 6)
    assert found[1:4] + found[5:] == [1.0, 2.0, 3.0, 5.0]
    assert np.isnan([found[0], found[4]]).all()
    assert (await read(pushed, 2, 30.0))[1] == 5.0


async def test_of_two_samples_with_one_stamp_the_later_wins_and_order_does_not_matter(tmp_path: Path) -> None:
    pushed = store(tmp_path)
    one, two, three = samples(1.0, 2.0, 3.0)
    for part in ([three, one], [two], [Sample(two.t_s, 7.0)], [Sample(two.t_s, 8.0), Sample(two.t_s, 9.0)]):
        pushed.push("shop", "web", part)
    assert await read(pushed, 3) == [1.0, 9.0, 3.0]
    old = WEDNESDAY_S + 7200.0
    assert (await read(store(tmp_path), 3, end_s=old)) == [1.0, 9.0, 3.0]
    pushed_minute = (await pushed.read(WEB, Signal.LOAD, old, 600, 60.0)).mean[-1]
    assert pushed_minute == pytest.approx(13.0 / 3.0)


async def test_the_newest_interval_leans_on_the_one_before_but_only_once(tmp_path: Path) -> None:
    pushed = store(tmp_path)
    pushed.push("shop", "web", samples(4.0))
    assert (await read(pushed, 1, end_s=WEDNESDAY_S + 7215.0)) == [4.0]
    assert math.isnan((await read(pushed, 1, end_s=WEDNESDAY_S + 7230.0))[0])


async def test_nothing_pushed_yet_is_an_error_that_names_the_route() -> None:
    with pytest.raises(SourceError, match="POST /v1/workloads/shop/web/observations"):
        await read(store(None), 1)


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (Sample(WEDNESDAY_S + 7200 + 16, 1.0), r"16 s ahead of this service's clock \(2026-09-16T02:00:00\+00:00\)"),
        (Sample(WEDNESDAY_S + 7200 - RETENTION_S, 1.0), "older than nine days"),
        (Sample(WEDNESDAY_S), "nothing was measured"),
    ],
)
def test_a_sample_of_another_time_or_without_content_is_refused(sample: Sample, says: str) -> None:
    why = store(None).refusal(sample, 15.0)
    assert why is not None
    assert re.search(says, why)
    assert store(None).refusal(Sample(WEDNESDAY_S + 7200 + 15, 1.0), 15.0) is None


async def test_eight_days_come_back_after_a_restart_and_days_that_are_over_shrink(tmp_path: Path) -> None:
    clock = Clock(WEDNESDAY_S + 7200.0)
    pushed = store(tmp_path, clock)
    t_s = clock() - 15.0 * np.arange(int(8 * DAY_S / 15))[::-1]
    load = 100.0 + 50.0 * np.sin(t_s / 9000.0)
    for part in np.array_split(np.arange(len(t_s)), 50):
        pushed.push("shop", "web", [Sample(t, y) for t, y in zip(t_s[part].tolist(), load[part].tolist(), strict=True)])
    before = (await pushed.read(WEB, Signal.LOAD, clock(), 8 * 1440, 60.0)).mean
    size = (tmp_path / "load-2026-09-10.bin").stat().st_size
    await pushed.tidy()
    assert (tmp_path / "load-2026-09-10.bin").stat().st_size == 64 + 1440 * 64 < size
    again = store(tmp_path, clock)
    assert np.allclose(before, (await again.read(WEB, Signal.LOAD, clock(), 8 * 1440, 60.0)).mean, rtol=1e-6)
    assert np.array_equal(load[-720:], (await again.read(WEB, Signal.LOAD, clock(), 720, 15.0)).mean)
    clock.now_s += 5 * DAY_S
    await again.tidy()
    assert min(path.name for path in tmp_path.iterdir()) == "load-2026-09-12.bin"


@pytest.mark.parametrize("left", [1, 63, 64, 65, 100, 127])
async def test_a_torn_end_is_cut_off_at_the_next_open(tmp_path: Path, left: int) -> None:
    store(tmp_path).push("shop", "web", samples(1.0, 2.0))
    with (tmp_path / TODAY).open("rb+") as file:
        file.truncate(64 + left)
    again = store(tmp_path)
    assert (tmp_path / TODAY).stat().st_size == 64 + left // 64 * 64
    again.push("shop", "web", samples(3.0))
    assert (await read(store(tmp_path), 1)) == [3.0]


def test_a_torn_header_and_records_of_zeros_are_cut_off_too(tmp_path: Path) -> None:
    (tmp_path / TODAY).write_bytes(HEADER[:20])
    assert store(tmp_path).push("shop", "web", samples(1.0))
    with (tmp_path / TODAY).open("ab") as file:
        file.write(bytes(3 * 64))
    again = store(tmp_path)
    assert again.trouble is None
    assert (tmp_path / TODAY).stat().st_size == 128


@pytest.mark.parametrize("damage", ["foreign", "middle", "all"])
async def test_a_foreign_or_damaged_file_is_refused_by_name_and_left_as_it_is(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path).push("shop", "web", samples(*range(1, 2001), spacing_s=1.0))
    path = tmp_path / TODAY
    content = bytearray(path.read_bytes())
    if damage == "foreign":
        content[:] = b"the only copy of my thesis\n" * 40
    else:
        content[64 + 640 : 64 + 641 if damage == "middle" else None] = b"\xff" * (
            1 if damage == "middle" else len(content) - 704
        )
    path.write_bytes(content)
    pushed = store(tmp_path)
    assert "load-2026-09-16.bin" in capsys.readouterr().out
    for value in (5.0, 6.0):
        assert not pushed.push("shop", "web", samples(value))
    assert await read(pushed, 1) == [6.0]
    assert capsys.readouterr().out.count("in memory only") == 1
    pushed._clock.now_s += 30 * DAY_S
    await pushed.tidy()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


async def test_a_full_or_read_only_disk_keeps_the_load_in_memory_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = store(tmp_path)
    assert pushed.push("shop", "web", samples(1.0))

    def full(file: int, content: bytes) -> int:
        if len(content) > 64:
            return real(file, content[:70])
        raise OSError(errno.ENOSPC, "No space left on device")

    real = os.write
    monkeypatch.setattr(os, "write", full)
    assert not pushed.push("shop", "web", samples(2.0, 3.0))
    assert not pushed.push("shop", "web", samples(4.0))
    monkeypatch.setattr(os, "write", real)
    assert await read(pushed, 2) == [2.0, 4.0]
    assert pushed.push("shop", "web", samples(5.0))
    said = capsys.readouterr().out
    assert (said.count("in memory only"), said.count("on disk again")) == (1, 1)
    assert (tmp_path / TODAY).stat().st_size == 64 * 3
    assert (await read(store(tmp_path), 1)) == [5.0]


def test_a_folder_that_is_none_is_said_and_survived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pushed").write_text("a file of the user's")
    pushed = store(tmp_path / "pushed")
    assert not pushed.push("shop", "web", samples(1.0))
    assert "in memory only" in capsys.readouterr().out
    assert (tmp_path / "pushed").read_text() == "a file of the user's"


def test_pushed_replicas_are_what_runs_until_they_are_stale() -> None:
    pushed = store(None)
    key = Key("shop", "web", WEB.fingerprint)
    assert pushed.running(key, WEDNESDAY_S) is None
    pushed.push("shop", "web", [Sample(WEDNESDAY_S + 60 * k, 1.0, replicas=3 + k, ready=2) for k in range(3)])
    running = pushed.running(key, WEDNESDAY_S + 130)
    assert running is not None
    assert (running.replicas, running.ready, running.hpa_maximum) == (5, 2, UNKNOWN)
    assert pushed.running(key, WEDNESDAY_S + 400) is None


def test_records_are_of_fixed_size_and_a_series_keeps_its_number() -> None:
    assert (RECORD.itemsize, len(HEADER)) == (64, 64)
    assert series_number("shop", "web") == 2106893391048486989 != series_number("shopw", "eb")


def test_a_folder_where_no_lock_can_be_made_does_not_stop_the_service(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store(tmp_path / "file").claim()
    store(None).claim()
