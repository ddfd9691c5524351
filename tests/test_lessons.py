"""When a fit counts, a fixed time after its cutoff on every replica of the service, and that it keeps to its budget."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from scaler.archive import Archive
from scaler.core.domain import take
from scaler.core.learning import FIT_BUDGET_S, due_cutoff_s, learn
from scaler.core.retraining import replay, retrain
from scaler.errors import FitFailed
from scaler.fitting import FitWorker
from scaler.fleet import Fleet
from scaler.lessons import Counters, Lessons
from scaler.roster import Key
from scaler.succession import Succession
from tests.fakes import seasonal_load
from tests.service import Clock, declared, some_engine, tick
from tests.test_fleet import backfilled, some_fleet

STEP_S = 15.0
CUTOFF_S = due_cutoff_s(1_789_516_800.0, 8 * 86_400.0, declared("web").fingerprint, 60.0)
"""Of a workload named web with days of history."""


class SlowWorker:
    """Fits at once, and gives the result when it is told to."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.until_s: list[float] = []

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        assert function in {retrain, replay}
        self.until_s.append(arguments[0].end_s)
        learnt = function(*arguments)
        await self.released.wait()
        return learnt

    def close(self) -> None:
        """Nothing is held."""


class Replica:
    """One replica of the service, with a worker of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, start_s: float, looks_from_s: float = 0.0) -> None:
        self.engine, _, self.clock = some_engine()
        self.clock.now_s, self._looks_from_s = start_s, looks_from_s
        self.worker = SlowWorker()
        self._patch = patch

    async def begin(self) -> Key:
        """Introduce the workload with its first fit in force."""
        key = self.engine.declare(declared("web"))
        await self.engine.introduce(key)
        self.engine.lessons.worker = lambda: self.worker
        self.teaching = asyncio.create_task(self.engine.lessons.teach())
        self.worker.released.set()
        await settled()
        assert self.version(key) > 0
        self.worker.released.clear()
        return key

    async def step(self, key: Key) -> tuple[Any, ...]:
        """One tick and a look for due fits: what was decided."""
        await tick(self.engine, self.clock, step_s=STEP_S)
        if self.clock() >= self._looks_from_s:
            self.engine.lessons.ask(key)
        await settled()
        posted = self.engine.board.answer(key)
        made, row = posted.decisions, posted.row
        return (made.t_s, made.version[row], made.value[row], made.level[row], tuple(made.peak[row]))

    def version(self, key: Key) -> int:
        fleet, row = self.engine.row_of(key)
        return int(fleet.models.cutoff_s[row])


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_replicas_that_fit_at_different_speeds_decide_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = (Replica(monkeypatch, CUTOFF_S - 4 * STEP_S, CUTOFF_S + late_s) for late_s in (0.0, 30.0))
    keys = [await replica.begin() for replica in (fast, slow)]
    fast.worker.released.set()
    said = []
    for _ in range(12):
        said.append([await replica.step(key) for replica, key in zip((fast, slow), keys, strict=True)])
        if slow.clock() == CUTOFF_S + FIT_BUDGET_S - STEP_S:
            assert slow.worker.until_s[1:] == [CUTOFF_S], "it has begun, with the history up to its cutoff"
            slow.worker.released.set()
            await settled()
    assert all(one == other for one, other in said)
    versions = {one[0]: one[1] for one, _ in said}
    assert versions[CUTOFF_S + FIT_BUDGET_S - STEP_S] < CUTOFF_S
    assert versions[CUTOFF_S + FIT_BUDGET_S] == CUTOFF_S
    for replica in (fast, slow):
        replica.teaching.cancel()


async def test_a_late_fit_counts_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(monkeypatch, CUTOFF_S - 2 * STEP_S)
    key = await replica.begin()
    before = replica.version(key)
    while replica.clock() < CUTOFF_S + 2 * FIT_BUDGET_S:
        assert (await replica.step(key))[1] == before
    replica.worker.released.set()
    await settled()
    assert (await replica.step(key))[1] == CUTOFF_S
    assert len(replica.worker.until_s) == 2, "it was fitted once"
    replica.teaching.cancel()


async def test_a_newcomer_between_cutoff_and_adoption_serves_the_fit_that_the_others_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = Replica(monkeypatch, CUTOFF_S + STEP_S)
    key = await replica.begin()
    replica.worker.released.set()
    assert replica.version(key) < CUTOFF_S
    said = [await replica.step(key) for _ in range(4)]
    assert [version == CUTOFF_S for _, version, *_ in said] == [False, False, True, True]
    assert np.isfinite(said[-1][4]).all()
    replica.teaching.cancel()


async def test_a_workload_that_is_forgotten_meanwhile_adopts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = Replica(monkeypatch, CUTOFF_S - STEP_S)
    key = await replica.begin()
    replica.worker.released.set()
    await replica.step(key)
    fleet, row = replica.engine.row_of(key)
    replica.engine.redeclare([])
    await tick(replica.engine, replica.clock, 6)
    assert fleet.models.cutoff_s[row] == 0
    replica.teaching.cancel()


def test_the_clock_of_these_tests_stands_at_a_cutoff() -> None:
    assert Clock().now_s - 86_400.0 < CUTOFF_S <= Clock().now_s - FIT_BUDGET_S


def two_rows() -> tuple[Fleet, dict[Key, tuple[Fleet, int]]]:
    """Two workloads with two days of history and a naive champion each."""
    fleet = some_fleet(2)
    rows = {}
    for row in (0, 1):
        backfilled(fleet, row, seasonal_load(row))
        fleet.speak_naively(row)
        rows[Key("shop", f"web{row}", f"{row:08x}")] = (fleet, row)
    return fleet, rows


def some_lessons(rows: dict[Key, tuple[Fleet, int]], counters: Counters, timeout_s: float) -> Lessons:
    archive = Archive(None)
    return Lessons(rows, counters, lambda: FitWorker(timeout_s), Succession(rows, archive, None), archive)


async def taught_until(lessons: Lessons, counters: Counters, n: int) -> None:
    """Let lessons be taught until n fits have ended, however."""
    task = asyncio.create_task(lessons.teach())
    async with asyncio.timeout(60):
        while counters.fits + counters.fit_failures < n:
            await asyncio.sleep(0.02)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_fit_beyond_its_budget_is_ended_and_the_champion_stays() -> None:
    fleet, rows = two_rows()
    before = [take(fleet.models, slice(row, row + 1)).naive.offsets.tobytes() for row in (0, 1)]
    counters = Counters()
    lessons = some_lessons(rows, counters, timeout_s=0.05)
    for key in rows:
        lessons.ask(key)
    await taught_until(lessons, counters, 2)
    assert (counters.fits, counters.fit_failures) == (0, 2)
    for row in (0, 1):
        assert take(fleet.models, slice(row, row + 1)).naive.offsets.tobytes() == before[row]
        assert not fleet.models.validated[row]
        # Not again at once, but when the next is due.
        assert not np.isfinite(fleet.due_cutoff_s(row, fleet.ring.end_s))


async def test_one_workload_at_fault_does_not_cost_the_others_their_fit() -> None:
    fleet, rows = two_rows()
    fleet.ring.history(slice(1, 2)).mean[0, -2000] = -5.0
    counters = Counters()
    lessons = some_lessons(rows, counters, timeout_s=60.0)
    for key in rows:
        lessons.ask(key)
    await taught_until(lessons, counters, 2)
    assert (counters.fits, counters.fit_failures) == (1, 1)
    assert fleet.models.validated[:2].tolist() == [True, False]


async def test_what_a_fit_refuses_is_told_by_name() -> None:
    fleet, _ = two_rows()
    fleet.ring.history(slice(0, 1)).mean[0, -2000] = -5.0
    worker = FitWorker(60.0)
    try:
        history, columns = fleet.lesson([0])
        with pytest.raises(FitFailed, match="load must not be negative, not -5"):
            await worker.run(learn, history, columns, np.array([fleet.ring.end_s]))
    finally:
        worker.close()
