"""The demo's past."""

import asyncio
import contextlib

import numpy as np
import pytest

from scaler.demo import demo_workloads
from scaler.rehearsal import Rehearsal, rehearsed
from tests.fakes import WEDNESDAY_S
from tests.service import declared, loop_of, some_engine


def test_the_past_is_decided_step_by_step_from_what_was_known_then() -> None:
    (frontend,) = [one for one in demo_workloads() if one.name == "frontend"]
    batches = rehearsed(WEDNESDAY_S, 600.0, [frontend])
    stamps_s = [float(records["t"][0]) for _, _, records in batches]
    assert sorted(set(stamps_s)) == list(WEDNESDAY_S - 600.0 + 15.0 * np.arange(41))
    _, keys, last = batches[-1]
    assert [(key.namespace, key.name) for key in keys] == [("shop", "frontend")]
    assert last["version"][0] == WEDNESDAY_S - 600.0, "the model's cutoff"
    assert last["predictive"][0] > 0
    assert last["replicas"][0] > 0


async def test_a_demo_with_decisions_of_before_rehearses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.rehearsal.FIRST_S", 0.0)
    engine, _, clock = some_engine()
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        clock.now_s += 600.0
        running = asyncio.create_task(Rehearsal(engine).run())
        await asyncio.sleep(0.1)
        assert not running.done()
        assert len(engine.journal.read(engine.roster.find("web"), 0.0, clock.now_s).t_s) == 1
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
