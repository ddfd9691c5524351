"""CPU and latency beside the load: read for the next tick, never waited for, and learnt from."""

import asyncio
from typing import Any

import numpy as np
import pytest
import structlog

from scaler.core.domain import Running, Workload
from scaler.core.signals import FEEDBACK, Signal
from scaler.core.steering import Steering
from scaler.facts import Watchman
from scaler.telemetry import EngineCollector
from tests.service import METADATA, declared, loop_of, some_engine, tick


async def test_feedback_is_read_beside_the_load_and_reaches_the_decision() -> None:
    engine, source, clock = some_engine(running=Running(10, 10, 1, 100, 0.1))
    source.feedback["web", Signal.CPU], source.feedback["web", Signal.LATENCY] = 0.4, 0.2
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        await tick(engine, clock)
        await asyncio.sleep(0)
        await tick(engine, clock)
        posted = engine.board.answer(key)
        assert posted.decisions.feedback[posted.row].tolist()[::2] == [0.4, 0.2]
        assert np.isnan(posted.decisions.feedback[posted.row][1::2]).all()


async def test_feedback_that_does_not_come_costs_neither_load_nor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, source, clock = some_engine()
    read = source.read

    async def stuck(workload: Workload, signal: Signal, *asked: Any) -> Any:
        if signal in FEEDBACK:
            await asyncio.Event().wait()
        return await read(workload, signal, *asked)

    monkeypatch.setattr(source, "read", stuck)
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        async with asyncio.timeout(5.0):
            await tick(engine, clock, 3)
        posted = engine.board.answer(key)
        assert posted.t_s == clock.now_s
        assert not np.isnan(posted.decisions.load[posted.row])
        assert np.isnan(posted.decisions.feedback[posted.row]).all()
        assert key not in engine.lookout.troubles


async def test_feedback_that_stops_is_forgotten_after_two_steps() -> None:
    engine, source, clock = some_engine()
    source.feedback["web", Signal.CPU] = 0.4
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        told = []
        for step in range(4):
            if step == 2:
                source.feedback.clear()
            await tick(engine, clock)
            await asyncio.sleep(0)
            posted = engine.board.answer(key)
            told.append(float(posted.decisions.feedback[posted.row, 0]))
    assert np.isnan(told[0])
    assert told[1:3] == [0.4, 0.4]
    assert np.isnan(told[3])


async def test_what_is_learnt_of_the_capacity_is_exported_and_survives_a_new_declaration() -> None:
    engine, source, clock = some_engine(
        lambda t_s: 500.0 + 200.0 * np.sin(2 * np.pi * t_s / 7200.0), running=Running(10, 10, 1, 100, 0.1)
    )
    async with loop_of(engine):
        key = engine.declare(declared("web", capacity="auto", step="60s"))
        await engine.first(key)
        for _ in range(180):
            source.feedback["web", Signal.CPU] = 0.1 + 0.01 * float(source.load(np.array([clock.now_s]))[0]) / 10.0
            await tick(engine, clock, step_s=60.0)
            await asyncio.sleep(0)
        fleet, row = engine.row_of(key)
        assert fleet.columns.capacity[row] == pytest.approx(70.0, rel=0.05)
        engine.redeclare([declared("web", capacity="auto", step="60s", slo="0.99")])
        assert fleet.columns.capacity[row] == pytest.approx(70.0, rel=0.05)
        (family,) = [f for f in EngineCollector(engine).collect() if f.name == "foresail_capacity_load"]
        told = {sample.labels["kind"]: sample.value for sample in family.samples}
        assert told["low"] < told["learnt"] < told["high"]
        engine.redeclare([declared("web", capacity="90", step="60s")])
        assert fleet.columns.capacity[row] == 90.0
        (fact,) = [f for f in Watchman(engine).look(key, Steering(), None) if f.reason == "CapacityDiffers"]
        assert fact.message.startswith("capacity is stated as 90, one replica was found to bear 7")


async def test_a_query_that_tells_nothing_is_named_once() -> None:
    engine, source, clock = some_engine()
    with structlog.testing.capture_logs() as logs:
        async with loop_of(engine):
            await engine.first(
                engine.asked("shop", "web", {**METADATA, "serverAddress": "http://x", "cpuQuery": "cpu"})
            )
            for step in range(5):
                if step == 3:
                    source.feedback["web", Signal.CPU] = 0.4
                await tick(engine, clock)
                await asyncio.sleep(0)
    told = [(entry["event"], entry["signal"]) for entry in logs if entry["event"].startswith("feedback")]
    assert told == [("feedback not read", "cpu"), ("feedback read again", "cpu")]
