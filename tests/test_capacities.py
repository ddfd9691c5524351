"""What was learnt of a capacity outlives a restart, with a cluster and without."""

from pathlib import Path

import numpy as np
import pytest

from scaler.capacities import FILE, PREFIX, Capacities
from scaler.core import capacity
from scaler.core.domain import Running, put
from scaler.engine import Engine
from scaler.roster import Key
from tests.fakes import some_fleet
from tests.service import declared, loop_of, some_engine

SUMS = {
    "w": 150.0, "x": 150.0 * 60.0, "y": 150.0 * 0.7, "xx": 150.0 * 3800.0, "xy": 150.0 * (42.0 + 2.0),
    "yy": 150.0 * 0.51, "above": 10.0, "idle": 0.0, "idle_w": 0.0, "reach": 0.0,
}  # fmt: skip
"""A line of CPU through (60, 0.7) that rises by 0.01 per unit of load: 80 % is reached at 70."""


def line() -> capacity.CapacityState:
    state = capacity.initial_state(1)
    for name, value in SUMS.items():
        getattr(state.sums, name)[0, capacity.CPU] = value
    return capacity.recalled(capacity.as_text(state, 0) or "", some_fleet())


def engine_with(name: str = "web") -> tuple[Engine, Key]:
    engine, _, _ = some_engine(running=Running(10, 10, 1, 100, 0.1))
    return engine, engine.declare(declared(name, capacity="auto"))


def bears(engine: Engine, key: Key) -> float:
    fleet, row = engine.row_of(key)
    return float(fleet.columns.capacity[row])


def test_what_is_kept_means_the_same_when_it_is_recalled() -> None:
    assert line().load.tolist() == [pytest.approx(70.0)]
    assert capacity.as_text(line(), 0) == capacity.as_text(
        capacity.recalled(str(capacity.as_text(line(), 0)), some_fleet()), 0
    )
    assert capacity.as_text(capacity.initial_state(1), 0) is None


async def test_a_file_keeps_it_where_there_is_no_cluster(tmp_path: Path) -> None:
    engine, key = engine_with()
    async with loop_of(engine):
        fleet, row = engine.row_of(key)
        put(fleet.capacity, slice(row, row + 1), line())
        await Capacities(engine, tmp_path).save()
    again, key = engine_with()
    async with loop_of(again):
        assert bears(again, key) == 50.0
        Capacities(again, tmp_path).hand_over()
        assert bears(again, key) == pytest.approx(70.0)


async def test_what_is_kept_waits_for_its_workload_and_does_not_replace_what_was_learnt_since() -> None:
    text = {f"{PREFIX}shop.web.{declared('web').fingerprint}": str(capacity.as_text(line(), 0)), "other": "1"}
    engine, other = engine_with("api")
    async with loop_of(engine):
        capacities = Capacities(engine)
        capacities.remember(text)
        capacities.hand_over()
        assert list(capacities.kept()) == [name for name in text if name != "other"]
        key = engine.declare(declared("web", capacity="auto"))
        capacities.hand_over()
        assert bears(engine, key) == pytest.approx(70.0)
        assert bears(engine, other) == 50.0
        fleet, row = engine.row_of(key)
        fleet.capacity.sums.w[row] = 7.0
        capacities.remember(text)
        capacities.hand_over()
        assert fleet.capacity.sums.w[row].tolist() == [7.0, 7.0]


async def test_a_workload_that_is_forgotten_has_it_back_when_it_returns() -> None:
    engine, key = engine_with()
    async with loop_of(engine):
        capacities = Capacities(engine)
        fleet, row = engine.row_of(key)
        put(fleet.capacity, slice(row, row + 1), line())
        assert list(capacities.kept()) == [f"{PREFIX}{'.'.join(key)}"]
        engine.redeclare([])
        assert len(capacities.kept()) == 1
        engine.declare(declared("web", capacity="auto"))
        capacities.hand_over()
        assert bears(engine, key) == pytest.approx(70.0)


@pytest.mark.parametrize("text", ["{", "[]", '{"w": [1, 2]}', None, '{"sums": 1}'])
async def test_what_cannot_be_understood_is_dropped(text: str | None) -> None:
    engine, key = engine_with()
    damaged = str(capacity.as_text(line(), 0)).replace("150.0", "NaN") if text is None else text
    async with loop_of(engine):
        capacities = Capacities(engine)
        capacities.remember({f"{PREFIX}{'.'.join(key)}": damaged})
        capacities.hand_over()
        assert bears(engine, key) == 50.0
        assert capacities.kept() == {}


async def test_a_file_that_is_damaged_or_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[1", encoding="utf-8")
    engine, key = engine_with()
    async with loop_of(engine):
        Capacities(engine, tmp_path).hand_over()
        assert bears(engine, key) == 50.0
        fleet, row = engine.row_of(key)
        put(fleet.capacity, slice(row, row + 1), line())
        await Capacities(engine, tmp_path / FILE / "below").save()
        assert not np.isnan(fleet.capacity.load[row])
