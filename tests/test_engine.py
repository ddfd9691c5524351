"""The loop: who is tracked, what a tick does, and what one workload's trouble leaves alone."""

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecasting.series import History
from scaler.core.agenda import Agenda
from scaler.core.domain import UNKNOWN, Mode, Running, Workload
from scaler.core.signals import Samples, Signal
from scaler.errors import NotDecidedYet, SourceError, StaleLoad, TooManyWorkloads, TriggerError
from scaler.fleet import Fleet
from scaler.journal import Journal
from tests.service import METADATA, daily, declared, loop_of, some_engine, tick


async def test_a_workload_is_tracked_decided_and_fitted_from_its_first_request() -> None:
    engine, source, clock = some_engine()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        assert engine.asked("shop", "web", METADATA) == key
        posted = await engine.first(key)
        assert posted.mode is Mode.RECOVERY
        assert [n for _, _, n in source.reads][:3] == [11520, 720, 1]
        async with asyncio.timeout(60):
            while engine.counters.fits == 0:
                await asyncio.sleep(0.05)
        await tick(engine, clock)
    posted = engine.board.answer(key)
    assert posted.mode is Mode.NORMAL
    assert posted.decisions.version[posted.row] > 0


async def test_an_unfitted_workload_without_history_learns_reactively() -> None:
    engine, _, clock = some_engine(lambda t_s: np.where(t_s >= clock_start, 500.0, np.nan))
    clock_start = clock()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        posted = await engine.first(key)
    assert posted.mode is Mode.LEARNING
    assert posted.decisions.predicted_replicas[posted.row] == 10  # 500 / 50: the reactive rule from nothing


async def test_a_workload_without_any_load_is_not_decided_yet() -> None:
    engine, _, _ = some_engine(lambda t_s: np.full(len(t_s), np.nan), first_answer_s=0.01)
    async with loop_of(engine):
        with pytest.raises(NotDecidedYet, match=r"no load sample within 0\.01 s"):
            await engine.first(engine.asked("shop", "web", METADATA))


async def test_stale_load_is_held_then_fails_and_recovers_at_once() -> None:
    engine, source, clock = some_engine(stale_s=60, failed_s=600)
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        before = (await engine.first(key)).decisions.predicted_replicas[engine.row_of(key)[1]]
        source.broken.add("web")
        await tick(engine, clock, 5)
        held = engine.board.answer(key)
        assert held.mode is Mode.HOLDING
        assert held.decisions.predicted_replicas[held.row] >= before
        await tick(engine, clock, 36)
        with pytest.raises(StaleLoad, match="shop/web"):
            engine.board.answer(key)
        source.broken.clear()
        await tick(engine, clock)
        assert engine.board.answer(key).mode in {Mode.RECOVERY, Mode.NORMAL}


async def test_samples_missed_by_the_loop_are_read_later() -> None:
    engine, source, clock = some_engine()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        clock.now_s += 135.0
        await tick(engine, clock)
        fleet, row = engine.row_of(key)
    assert source.reads[-1] == ("web", Signal.LOAD, 10)
    stamps_s = clock() - 15.0 * np.arange(9, -1, -1)
    np.testing.assert_allclose(fleet.ring.history(slice(row, row + 1)).fine[0, -10:], daily(stamps_s))


async def test_one_workloads_broken_source_leaves_the_others_alone() -> None:
    engine, source, clock = some_engine()
    async with loop_of(engine):
        keys = [engine.declare(declared(name)) for name in ("a", "b")]
        for key in keys:
            await engine.first(key)
        source.broken.add("a")
        await tick(engine, clock, 6)
        modes = [engine.board.answer(key).mode for key in keys]
    assert modes[0] is Mode.HOLDING
    assert modes[1] in {Mode.RECOVERY, Mode.NORMAL}


async def test_a_row_that_cannot_be_decided_keeps_its_answer_and_the_tile_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        keys = [engine.declare(declared(name)) for name in ("a", "b")]
        for key in keys:
            await engine.first(key)
        fleet, poisoned = engine.row_of(keys[0])
        decide = fleet.decide

        def failing(rows: slice, seen: object) -> object:
            if rows.start <= poisoned < rows.stop:
                raise RuntimeError("poisoned")
            return decide(rows, seen)  # type: ignore[arg-type]

        monkeypatch.setattr(fleet, "decide", failing)
        await tick(engine, clock)
        assert engine.board.answer(keys[0]).t_s == clock() - 15
        assert engine.board.answer(keys[1]).t_s == clock()
    assert engine.counters.decide_failures == 1


async def test_two_triggers_of_one_scaled_object_never_mix() -> None:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        first = engine.asked("shop", "web", METADATA | {"query": "sum(a)"})
        second = engine.asked("shop", "web", METADATA | {"query": "sum(b)"})
        assert first != second
        assert engine.row_of(first) != engine.row_of(second)


async def test_bad_metadata_and_full_rosters_are_refused_by_name() -> None:
    engine, _, _ = some_engine(max_workloads=3, max_workloads_per_namespace=2)
    with pytest.raises(TriggerError, match="did you mean 'threshold'"):
        engine.asked("shop", "web", {"treshold": "5"})
    engine.asked("shop", "a", METADATA)
    engine.asked("shop", "b", METADATA)
    with pytest.raises(TooManyWorkloads, match="namespace shop"):
        engine.asked("shop", "c", METADATA)
    engine.asked("other", "c", METADATA)
    with pytest.raises(TooManyWorkloads, match="3 workloads"):
        engine.asked("third", "c", METADATA)


async def test_a_workload_that_nobody_asks_for_is_forgotten_and_returns_with_its_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scaler.engine.CHORES_S", 0.01)
    engine, _, clock = some_engine(forget_after_s=3600)
    async with loop_of(engine):
        asked, kept = engine.asked("shop", "web", METADATA), engine.declare(declared("kept"))
        await engine.first(asked)
        clock.now_s += 3601
        async with asyncio.timeout(5):
            while asked in engine.roster.entries:
                await asyncio.sleep(0.01)
        assert kept in engine.roster.entries
        assert engine.board.get(asked) is None
        again = engine.asked("shop", "web", METADATA)
        assert (await engine.first(again)).mode is Mode.RECOVERY


async def test_the_clusters_replicas_and_bounds_reach_the_decision() -> None:
    engine, _, clock = some_engine(running=Running(7, 6, 2, 9, 0.1))
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        await tick(engine, clock)
        posted = engine.board.answer(key)
    made, row = posted.decisions, posted.row
    assert (made.replicas[row], made.ready[row]) == (7, 6)
    assert made.predicted_replicas[row] <= 9


async def test_growing_past_the_first_rows_keeps_every_workload() -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        keys = [engine.declare(declared(f"w{number}")) for number in range(70)]
        for key in keys:
            await engine.first(key)
        await tick(engine, clock)
        answers = {
            int(engine.board.answer(key).decisions.predicted_replicas[engine.board.answer(key).row]) for key in keys
        }
    assert len(answers) == 1


async def test_a_workload_gets_the_same_decisions_alone_and_among_others() -> None:
    async def decided(names: list[str]) -> list[tuple[int, float]]:
        engine, _, clock = some_engine()
        async with loop_of(engine):
            keys = [engine.declare(declared(name)) for name in names]
            for key in keys:
                await engine.first(key)
            answers = []
            for _ in range(8):
                await tick(engine, clock)
                posted = engine.board.answer(keys[-1])
                answers.append((int(posted.decisions.predicted_replicas[posted.row]), posted.value))
            return answers

    assert await decided(["probe"]) == await decided([*(f"w{n}" for n in range(130)), "probe"])


async def test_changed_metadata_change_the_decision_and_keep_the_history() -> None:
    engine, source, clock = some_engine()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        reads = len(source.reads)
        assert engine.asked("shop", "web", METADATA | {"maxReplicas": "3"}) == key
        await tick(engine, clock)
        posted = engine.board.answer(key)
    assert posted.decisions.predicted_replicas[posted.row] == 3
    assert len(source.reads) == reads + 1


async def test_declarations_are_replaced_as_a_whole() -> None:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        a, b = (engine.declare(declared(name)) for name in ("a", "b"))
        await engine.first(b)
        engine.redeclare([declared("b", threshold="40"), declared("c")])
        assert {str(key) for key in engine.roster.entries} == {"shop/b", "shop/c"}
        assert a not in engine.roster.entries
        fleet, row = engine.row_of(b)
        assert fleet.columns.threshold[row] == 40.0


@pytest.mark.parametrize("shadow", ["true", "false"])
@pytest.mark.parametrize("span_s", [3 * 3600.0, 8 * 86_400.0])
async def test_a_start_in_a_gap_serves_nothing_until_it_knows_a_load(shadow: str, span_s: float) -> None:
    engine, source, clock = some_engine(first_answer_s=0.05)
    start_s, whole = clock(), source.load
    source.load = lambda t_s: np.where((t_s > start_s - 30.0) | (t_s < start_s - span_s), np.nan, whole(t_s) * 8.0)
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA | {"shadow": shadow})
        for _ in range(6):
            with pytest.raises(NotDecidedYet):
                await engine.first(key)
            await tick(engine, clock)
        source.load = lambda t_s: whole(t_s) * 8.0
        await tick(engine, clock)
        posted = await engine.first(key)
        needed = whole(np.array([clock()]))[0] * 8.0 / 70.0
        assert posted.decisions.predicted_replicas[posted.row] >= needed
        source.load = lambda t_s: np.full(len(t_s), np.nan)
        await tick(engine, clock, 8)
        held = await engine.first(key)
    assert held.mode is Mode.HOLDING
    assert held.decisions.predicted_replicas[held.row] >= needed


async def test_metadata_changed_and_changed_back_mean_what_they_say() -> None:
    engine, _, _ = some_engine()
    thresholds = []
    for threshold in ("10", "20", "10"):
        key = engine.asked("shop", "web", METADATA | {"threshold": threshold})
        fleet, row = engine.row_of(key)
        thresholds.append(float(fleet.columns.threshold[row]))
    assert thresholds == [10.0, 20.0, 10.0]


async def test_a_source_with_a_defect_touches_its_own_workload_alone() -> None:
    engine, source, clock = some_engine(first_answer_s=0.2)
    read = source.read

    async def defective(workload: Workload, *asked: Any) -> Any:
        if workload.name == "bad":
            raise RuntimeError("a defect")
        return await read(workload, *asked)

    source.read = defective  # type: ignore[method-assign]
    async with loop_of(engine):
        good, bad = engine.declare(declared("good")), engine.declare(declared("bad"))
        await engine.first(good)
        await tick(engine, clock, 2)
        assert engine.board.answer(good).t_s == clock()
        with pytest.raises(NotDecidedYet, match="a defect"):
            await engine.first(bad)


async def test_a_clock_that_is_set_back_starts_again_from_the_history() -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        clock.now_s -= 3600.0
        assert engine.late_s() > 3000.0
        await tick(engine, clock)
        await asyncio.sleep(0.2)
        await tick(engine, clock)
        assert engine.board.answer(key).t_s == clock()
    assert engine.late_s() <= 0.0


async def test_a_declaration_with_another_query_takes_the_others_place_at_once() -> None:
    engine, _, _ = some_engine()
    engine.declare(declared("a", step="15s"))
    engine.redeclare([declared("a", step="30s")])
    assert [str(key) for key in engine.roster.entries] == ["shop/a"]
    assert engine.roster.find("a").fingerprint == declared("a", step="30s").fingerprint


async def test_too_many_declarations_change_nothing() -> None:
    engine, _, _ = some_engine(max_workloads=2)
    engine.redeclare([declared("a"), declared("b")])
    with pytest.raises(TooManyWorkloads, match="at most 2"):
        engine.redeclare([declared("a"), declared("b"), declared("c")])
    assert all(entry.declared for entry in engine.roster.entries.values())
    engine.redeclare([declared("a"), declared("c")])


async def test_a_fit_that_fails_is_tried_again_only_when_the_next_is_due() -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        await engine.first(key)
        fleet, row = engine.row_of(key)
        assert np.isfinite(fleet.due_cutoff_s(row, clock()))
        fleet.refuse(row, fleet.ring.end_s)
        assert not np.isfinite(fleet.due_cutoff_s(row, clock()))
        assert np.isfinite(fleet.due_cutoff_s(row, clock() + 7 * 3600.0))


async def test_a_query_tells_the_replicas_where_no_cluster_does_and_its_failure_costs_no_load() -> None:
    engine, source, clock = some_engine()
    read, replicas = source.read, {"now": 20.0}

    async def with_replicas(workload: Workload, signal: Signal, *asked: Any) -> Any:
        if signal is Signal.REPLICAS:
            if math.isnan(replicas["now"]):
                raise SourceError("no replicas")
            return Samples(np.array([replicas["now"]]), np.array([replicas["now"]]))
        return await read(workload, signal, *asked)

    source.read = with_replicas  # type: ignore[method-assign]
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA | {"replicasQuery": "sum(replicas)"})
        await engine.first(key)
        await tick(engine, clock)
        known = engine.board.answer(key)
        replicas["now"] = math.nan
        await tick(engine, clock)
        unknown = engine.board.answer(key)
    assert known.decisions.replicas[known.row] == 20
    assert unknown.decisions.replicas[unknown.row] == UNKNOWN
    assert not np.isnan(unknown.decisions.load[unknown.row])


async def test_a_sample_of_a_workload_that_is_introduced_during_a_tick_stays() -> None:
    engine, source, clock = some_engine()
    async with loop_of(engine):
        await engine.first(engine.declare(declared("a")))
        read, reading, go_on = source.read, asyncio.Event(), asyncio.Event()

        async def slow(workload: Workload, *asked: Any) -> Any:
            if workload.name == "a":
                reading.set()
                await go_on.wait()
            return await read(workload, *asked)

        source.read = slow  # type: ignore[method-assign]
        under_way = asyncio.create_task(tick(engine, clock))
        await reading.wait()
        newcomer = engine.declare(declared("b"))
        before = await engine.first(newcomer)
        go_on.set()
        await under_way
        fleet, row = engine.row_of(newcomer)
        assert fleet.ring.end_s == clock() == before.t_s
        assert fleet.ring.history(slice(row, row + 1)).fine[0, -1] == daily(np.array([clock()]))[0]
        assert engine.board.answer(newcomer) == before
        await tick(engine, clock)
        assert engine.board.answer(newcomer).t_s == clock()


async def test_a_queue_in_a_tile_that_fails_is_decided_by_the_same_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    async def arrivals(*, failing: bool) -> list[float]:
        engine, _, clock = some_engine(lambda t_s: 1000.0 + (t_s - clock_start) * 2.0, Running(10, 10, 1, 99, 0.1))
        clock_start = clock()
        async with loop_of(engine):
            key = engine.declare(declared("q", kind="queue", latencyTarget="60s"))
            await engine.first(key)
            fleet, _ = engine.row_of(key)
            decide = fleet.decide

            def fails_by_tile(rows: slice, seen: object) -> object:
                if rows.stop - rows.start > 1:
                    raise RuntimeError("the tile")
                return decide(rows, seen)  # type: ignore[arg-type]

            if failing:
                monkeypatch.setattr(fleet, "decide", fails_by_tile)
            found = []
            for _ in range(4):
                await tick(engine, clock)
                found.append(float(engine.board.answer(key).decisions.load[0]))
                row = engine.row_of(key)[1]
                found.append(float(fleet.ring.history(slice(row, row + 1)).fine[0, -1]))
            return found

    whole, one_by_one = await arrivals(failing=False), await arrivals(failing=True)
    assert not np.isnan(whole).any()
    assert one_by_one[1::2] == whole[1::2]


async def test_who_waits_for_a_workload_that_is_forgotten_is_woken_and_nothing_is_left_of_it() -> None:
    engine, _, _ = some_engine()
    key = engine.declare(declared("web"))
    waiting = asyncio.create_task(engine.first(key))
    await asyncio.sleep(0)
    engine.redeclare([])
    with pytest.raises(NotDecidedYet):
        await asyncio.wait_for(waiting, 1.0)
    assert engine.board._changed == {}


async def test_the_weeks_before_the_days_come_after_the_first_answer_and_before_the_fit() -> None:
    engine, source, _ = some_engine()
    read, go_on = source.read, asyncio.Event()

    async def slow(workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Any:
        if spacing_s == 300.0:
            await go_on.wait()
        return await read(workload, signal, end_s, n, spacing_s)

    source.read = slow  # type: ignore[method-assign]
    async with loop_of(engine):
        key = engine.asked("shop", "web", METADATA)
        assert (await engine.first(key)).mode is Mode.RECOVERY
        await asyncio.sleep(0.05)
        assert engine.lessons.waiting == engine.counters.fits == 0
        go_on.set()
        fleet, row = engine.row_of(key)
        async with asyncio.timeout(60):
            while engine.counters.fits == 0:
                await asyncio.sleep(0.05)
    assert [n for _, _, n in source.reads] == [11520, 720, 1, 20 * 288 + 1]
    assert not np.isnan(ring_of(fleet, row).coarse_mean).any()


async def test_weeks_that_are_refused_leave_the_days_working() -> None:
    engine, source, _ = some_engine()
    read = source.read

    async def limited(workload: Workload, signal: Signal, end_s: float, n: int, spacing_s: float) -> Any:
        if spacing_s == 300.0:
            raise SourceError("the query time range exceeds the limit")
        return await read(workload, signal, end_s, n, spacing_s)

    source.read = limited  # type: ignore[method-assign]
    key = engine.declare(declared("web"))
    await engine.introduce(key)
    fleet, row = engine.row_of(key)
    assert engine.board.answer(key).mode is Mode.RECOVERY
    assert key not in engine.lookout.troubles
    assert engine.lessons.waiting == 1
    assert 0 < np.isnan(ring_of(fleet, row).coarse_mean).sum() <= 20 * 288 + 1


def ring_of(fleet: Fleet, row: int) -> History:
    return fleet.ring.history(slice(row, row + 1))


async def test_each_move_of_a_mode_is_logged_once_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    engine, source, clock = some_engine()
    key = engine.declare(declared("web"))
    await tick(engine, clock, 2)
    source.load = lambda t_s: np.full_like(t_s, np.nan)
    await tick(engine, clock, 50)
    told = [line for line in capsys.readouterr().out.splitlines() if " mode " in line or "mode  " in line]
    moves = [line for line in told if "Holding" in line or "Failed" in line]
    assert len(moves) == 2, told
    assert "no fresh sample of the load" in moves[0]
    assert "no sample of the load for too long" in moves[1]
    assert engine.board.get(key) is not None


async def test_a_calendar_that_the_settings_do_not_hold_is_refused_by_name() -> None:
    engine, _, _ = some_engine()
    with pytest.raises(TriggerError, match=r"calendar must be one of the settings' calendars \(none\), not 'sales'"):
        engine.asked("shop", "web", METADATA | {"calendar": "sales"})
    engine.schedule({"sales": Agenda(), "idle": Agenda()})
    fleet, row = engine.row_of(engine.asked("shop", "web", METADATA | {"calendar": "sales"}))
    assert fleet.history(slice(row, row + 1)).places is not None
    with pytest.raises(TriggerError, match=r"\(idle, sales\), not 'sale'"):
        engine.asked("shop", "other", METADATA | {"calendar": "sale"})


async def test_every_decision_that_is_posted_is_kept_with_what_was_read() -> None:
    engine, source, clock = some_engine(running=Running(9, 8, 2, 30, 0.2))
    async with loop_of(engine):
        key, other = engine.declare(declared("web")), engine.declare(declared("api"))
        await engine.first(key)
        source.load = lambda t_s: np.full(len(t_s), 7_000.0)
        await tick(engine, clock, 4)
    kept = engine.journal.read(key, 0.0, clock())
    posted = engine.board.recent(key, 100)[::-1]
    times = [p.t_s for p in posted]
    assert kept.t_s.tolist() == sorted(set(times))
    assert kept.predicted_replicas[1:].tolist() == [p.decisions.predicted_replicas[p.row] for p in posted][1:]
    assert kept.raw_load[1:].tolist() == [7_000.0] * 4, "what was read, though it is too much to believe"
    assert (kept.load[1:] < 7_000.0).all()
    assert kept.maximum.tolist() == [30] * 5
    assert kept.tolerance.tolist() == [0.2] * 5
    assert len(engine.journal.read(other, 0.0, clock()).t_s) == 5


async def test_a_full_disk_stops_no_decision(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("no folder")
    engine, _, clock = some_engine()
    engine.journal = Journal(tmp_path / "var" / "journal.sqlite")
    async with loop_of(engine), loop_of(engine.journal):
        key = engine.declare(declared("web"))
        await engine.first(key)
        async with asyncio.timeout(10):
            while engine.journal.trouble is None:
                await asyncio.sleep(0.01)
        await tick(engine, clock, 3)
    assert engine.board.answer(key).t_s == clock()
    assert len(engine.journal.read(key, 0.0, clock()).t_s) == 4
