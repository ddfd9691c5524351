"""Fits of the service keep to their budget: one that does not is ended, and what was in use stays."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

from scaler.core.domain import take
from scaler.core.learning import learn
from scaler.errors import FitFailed
from scaler.fitting import FitWorker
from scaler.fleet import Fleet
from scaler.lessons import Counters, Lessons
from scaler.roster import Key
from tests.fakes import seasonal_load
from tests.test_fleet import backfilled, some_fleet


def two_rows() -> tuple[Fleet, dict[Key, tuple[Fleet, int]]]:
    """Two workloads with two days of history and a naive champion each."""
    fleet = some_fleet(2)
    rows = {}
    for row in (0, 1):
        backfilled(fleet, row, seasonal_load(row))
        fleet.speak_naively(row)
        rows[Key("shop", f"web{row}", f"{row:08x}")] = (fleet, row)
    return fleet, rows


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
    lessons = Lessons(rows, counters, timeout_s=0.05)
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
    lessons = Lessons(rows, counters, timeout_s=60.0)
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
