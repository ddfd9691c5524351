"""When a fit counts: a fixed time after its cutoff on every replica of the service, however fast each one fits."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scaler.core.learning import FIT_BUDGET_S, due_cutoff_s, learn
from scaler.roster import Key
from tests.service import Clock, declared, some_engine, tick

STEP_S = 15.0
CUTOFF_S = due_cutoff_s(1_789_516_800.0, 8 * 86_400.0, declared("web").fingerprint, 60.0)
"""Of a workload named web with days of history."""


class SlowWorker:
    """Fits at once, and gives the result when it is told to."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.until_s: list[float] = []

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        assert function is learn
        self.until_s.append(arguments[0].end_s)
        learnt = learn(*arguments)
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
        self._patch.setattr("scaler.lessons.FitWorker", lambda _: self.worker)
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
