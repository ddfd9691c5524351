"""What is asked by hand is audited, and what an owner must know is told by the elected replica."""

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from click.testing import CliRunner

from scaler.chores import Chores
from scaler.cli import main
from scaler.core.domain import Running
from scaler.core.start_up import LeadTime
from scaler.core.steering import OVERRIDE, SHADOW, Override, Steering, override_of
from scaler.facts import STUCK_S, Watchman
from scaler.push import PushedLoad
from scaler.sources import NoCluster, Replicas
from scaler.steering_file import FILE, SteeringFile, annotate
from tests.fake_kubernetes import scaled_object, serving
from tests.fakes import WEDNESDAY_S
from tests.service import declared, loop_of, some_engine, tick
from tests.test_live_cluster import live
from tests.test_reflector import kubeconfig, until

CALM = Steering()


def override(replicas: int = 12, lasts_s: float = 3600.0) -> Override:
    return Override(replicas, WEDNESDAY_S, WEDNESDAY_S + lasts_s, "sale", "ann")


def reasons(found: list[Any]) -> list[str]:
    return [fact.reason for fact in found]


async def test_a_value_that_stays_in_the_band_is_told_and_one_that_passes_is_not() -> None:
    running = Running(100, 100, 1, 200, 0.3)
    engine, _, clock = some_engine(lambda t_s: np.full(len(t_s), 7000.0), running=running)
    async with loop_of(engine):
        key = engine.declare(declared("web", maxReplicas="90"))
        await engine.first(key)
        watchman, told = Watchman(engine), []
        for _ in range(round(STUCK_S / 15.0) + 3):
            await tick(engine, clock)
            told.append(watchman.look(key, CALM, None))
        made = engine.board.answer(key)
        assert made.decisions.reached[made.row] == 100
        assert made.decisions.predicted_replicas[made.row] != 100
        assert "HpaWillNotFollow" not in reasons(told[0])
        (fact,) = [fact for fact in told[-1] if fact.reason == "HpaWillNotFollow"]
        assert "inside its 30 % band" in fact.message


async def test_an_hpa_that_may_not_grow_is_told_by_its_pause() -> None:
    engine, _, clock = some_engine(
        lambda t_s: np.full(len(t_s), 7000.0), running=Running(20, 20, 1, 200, 0.1, grows=False)
    )
    async with loop_of(engine):
        key = engine.declare(declared("web"))
        await engine.first(key)
        watchman, told = Watchman(engine), []
        for _ in range(round(STUCK_S / 15.0) + 3):
            await tick(engine, clock)
            told = watchman.look(key, CALM, None)
        (fact,) = [fact for fact in told if fact.reason == "HpaWillNotFollow"]
        assert fact.message.startswith("the HPA stays at 20 replicas")
        assert fact.message.endswith("its scale-out is paused")


async def test_a_peak_above_the_maximum_is_told_with_its_time() -> None:
    engine, _, clock = some_engine(running=Running(5, 5, 1, 5, 0.1))
    async with loop_of(engine):
        key = engine.declare(declared("web"))
        await engine.first(key)
        await tick(engine, clock, 2)
        found = Watchman(engine).look(key, CALM, None)
        (fact,) = [fact for fact in found if fact.reason == "PeakAboveMaximum"]
        assert fact.message.endswith("maximum is 5")
        assert "until 00:0" in fact.message


async def test_a_peak_above_the_maximum_is_told_hours_ahead() -> None:
    # A day that peaks at 06:30; 70 are met by a replica, 140 may run, 10,500 will come.
    engine, _, clock = some_engine(
        lambda t_s: 6000.0 + 4500.0 * np.sin(2 * np.pi * (t_s - 1800.0) / 86_400.0),
        running=Running(90, 90, 1, 140, 0.1),
    )
    async with loop_of(engine):
        key = engine.declare(declared("web"))
        await engine.first(key)
        await tick(engine, clock, 2)
        watchman = Watchman(engine)
        (fact,) = [fact for fact in watchman.look(key, CALM, None) if fact.reason == "PeakAboveMaximum"]
        assert fact.message == "forecast peak at 06:00 UTC needs 150 replicas, maximum is 140"
        peak = watchman.day_peak(key)
        assert peak is not None
        assert (peak.at_s, peak.replicas) == (WEDNESDAY_S + 6 * 3600, 150)


async def test_an_override_is_told_when_it_begins_and_ends_and_where_bounds_stand_against_it() -> None:
    engine, _, clock = some_engine(running=Running(10, 10, 1, 50, 0.1))
    async with loop_of(engine):
        key = engine.declare(declared("web"))
        await engine.first(key)
        await tick(engine, clock)
        watchman = Watchman(engine)
        told = [reasons(watchman.look(key, steered, None)) for steered in
                (CALM, Steering(override()), Steering(override()), Steering(override(80)), CALM)]  # fmt: skip
        assert told == [
            [],
            ["OverrideInForce"],
            [],
            ["OverrideInForce", "OverrideOutsideBounds"],
            ["OverrideEnded"],
        ]


@pytest.mark.parametrize(("measured_s", "told"), [(74.0, False), (80.0, True), (40.0, True)])
async def test_a_stated_lead_time_that_misses_the_measured_one_is_told(measured_s: float, told: bool) -> None:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        key = engine.declare(declared("web", leadTime="60s"))
        lead = LeadTime(measured_s / 2, measured_s, 30, 0, 0.0, 0.0)
        assert ("LeadTimeDiffers" in reasons(Watchman(engine).look(key, CALM, lead))) == told


# --- by hand, in a file


def by_file(tmp_path: Path) -> Replicas:
    return Replicas(NoCluster(), PushedLoad(None), SteeringFile(tmp_path))


async def test_without_a_cluster_a_file_asks_and_its_end_is_honoured(tmp_path: Path) -> None:
    engine, _, clock = some_engine()
    replicas = by_file(tmp_path)
    async with loop_of(engine):
        key = engine.declare(declared("web"))
        assert replicas.running(key, clock()) == replicas.running(key, clock())
        annotate(tmp_path, "shop/web", {OVERRIDE: override(12, 60.0).as_annotation(), SHADOW: "true"})
        asked = replicas.running(key, clock() + 15.0)
        assert asked is not None
        assert (asked.override, asked.shadow) == (12, True)
        later = replicas.running(key, clock() + 60.0)
        assert later is not None
        assert (later.override, later.shadow) == (-1, True)


async def test_a_file_that_breaks_leaves_what_was_in_force(tmp_path: Path) -> None:
    by_hand, key = SteeringFile(tmp_path), some_key()
    annotate(tmp_path, "shop/web", {OVERRIDE: override().as_annotation()})
    assert by_hand.steering(key, WEDNESDAY_S).replicas == 12
    (tmp_path / FILE).write_text('{"shop/web": ')
    assert by_hand.steering(key, WEDNESDAY_S + 15).replicas == 12
    (tmp_path / FILE).unlink()
    assert by_hand.steering(key, WEDNESDAY_S + 30).replicas == -1


def some_key() -> Any:
    engine, _, _ = some_engine()
    return engine.declare(declared("web"))


async def test_what_is_asked_and_what_becomes_of_it_is_logged_once(tmp_path: Path) -> None:
    engine, _, clock = some_engine()
    async with loop_of(engine):
        engine.declare(declared("web"))
        by_hand = SteeringFile(tmp_path)
        chores = Chores(engine, by_hand, None)
        annotate(tmp_path, "shop/web", {OVERRIDE: override(12, 60.0).as_annotation(), "foresail.dev/shadw": "true"})
        with structlog.testing.capture_logs() as logs:
            for _ in range(6):
                await chores.look()
                clock.now_s += 15.0
    said = [(line["log_level"], line["reason"]) for line in logs if "reason" in line]
    assert said == [
        ("warning", "AnnotationRefused"),
        ("info", "OverrideInForce"),
        ("warning", "AnnotationRefused"),
        ("info", "OverrideEnded"),
    ]


# --- with a cluster


async def test_the_elected_replica_writes_events_and_the_other_does_not(tmp_path: Path) -> None:
    engine, _, _ = some_engine()
    async with serving() as fake, loop_of(engine):
        asked = {OVERRIDE: override().as_annotation()}
        fake.put("scaledobjects", scaled_object("web", metadata={"annotations": asked}))
        async with live(fake, tmp_path) as cluster:
            engine.declare(declared("web"))
            first, second = Chores(engine, cluster, cluster), Chores(engine, cluster, cluster)
            assert first.election is not None
            assert second.election is not None
            second.election.identity = "other"
            await first.election.step()
            await second.election.step()
            for chores in (first, second):
                await chores.look()
                await chores.keep()
            assert [event["reason"] for event in fake.objects["events"].values()] == ["OverrideInForce"]
            assert fake.asked["configmaps", "create"] == 1
            assert [chores.counts()[0] for chores in (first, second)] == [True, False]


async def test_the_command_annotates_what_the_service_then_sees(tmp_path: Path) -> None:
    async with serving() as fake:
        fake.put("scaledobjects", scaled_object("web"))
        there = str(kubeconfig(fake, tmp_path))

        async def command(*words: str) -> Any:
            return await asyncio.to_thread(CliRunner().invoke, main, ["override", *words, "--kubeconfig", there])

        asked = ("shop/web", "--replicas", "80", "--for", "2h", "--reason", "a sale", "--by", "ann")
        done = await command(*asked)
        assert done.exit_code == 0, done.output
        assert "its HPA keeps within 2 to 50 replicas" in done.output
        async with live(fake, tmp_path) as cluster:
            key = some_key()
            now_s = fake_now(fake)
            steered = cluster.steering(key, now_s)
            assert steered.override is not None
            assert (steered.replicas, steered.override.reason, steered.override.by) == (80, "a sale", "ann")
            assert math.isclose(steered.override.until_s - steered.override.from_s, 7200.0)
            assert (await command("shop/web", "--end")).exit_code == 0
            await until(lambda: cluster.steering(key, now_s).override is None)
        refused = await command("shop/none", *asked[1:])
        assert refused.exit_code == 2
        assert "404" in refused.output


def fake_now(fake: Any) -> float:
    return override_of(fake.objects["scaledobjects"]["shop", "web"]["metadata"]["annotations"][OVERRIDE]).from_s


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["web", "--end"], "namespace/name"),
        (["shop/web", "--for", "1h", "--reason", "x"], "either --replicas or --mode must be given"),
        (["shop/web", "--replicas", "3", "--mode", "normal", "--for", "1h", "--reason", "x"], "either --replicas or"),
        (["shop/web", "--replicas", "3"], "--for, --reason must be given"),
        (["shop/web", "--replicas", "3", "--for", "2 days", "--reason", "x"], "2 days"),
        (["shop/web", "--replicas", "3", "--for", "900h", "--reason", "x"], "within 30 days"),
        (["shop/web", "--replicas", "3", "--for", "1h", "--reason", " "], "the reason must be given"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(tmp_path: Path, words: list[str], named: str) -> None:
    done = CliRunner().invoke(main, ["override", *words, "--var", str(tmp_path)], env={"KUBECONFIG": ""})
    assert done.exit_code == 2
    assert named in done.output
    assert not (tmp_path / FILE).exists()
