"""The loop over a live cluster: bounds, replicas, lead window, shadow and pauses of the decisions are the cluster's."""

import asyncio
import math
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import aiohttp
import pytest

from scaler.core.guardrails import held_by
from scaler.core.steering import OVERRIDE, SHADOW, Override
from scaler.engine import Engine
from scaler.facts import Watchman
from scaler.push import PushedLoad
from scaler.settings import Settings
from scaler.sources import Replicas
from tests.fake_kubernetes import FakeKubernetes, deployment, hpa, scaled_object, serving
from tests.fakes import WEDNESDAY_S
from tests.service import Clock, FakeSource, daily, free_port, loop_of, tick
from tests.test_live_cluster import a_cluster, live, pod, settled
from tests.test_reflector import kubeconfig, until

METADATA = {"threshold": "50", "capacity": "70"}


def decision(engine: Engine, key: Any) -> tuple[Any, int]:
    posted = engine.board.answer(key)
    return posted.decisions, posted.row


async def test_the_horizon_follows_the_pods_and_the_bounds_the_hpa(tmp_path: Path) -> None:
    fake, clock = a_cluster(), Clock()
    spread, n = NormalDist(0.0, 0.3), 30
    for number in range(n):
        took_s = 200.0 * math.exp(spread.inv_cdf((number + 0.5) / n))
        fake.put("pods", pod(number, WEDNESDAY_S - 86_400 + 60 * number, took_s))
    async with serving(fake), live(fake, tmp_path) as cluster:
        await settled(cluster, n)
        engine = Engine(Settings(), FakeSource(daily), Replicas(cluster, PushedLoad(None)), clock)
        async with loop_of(engine):
            key = engine.asked("shop", "web", METADATA)
            stated = engine.asked("shop", "web", {**METADATA, "leadTime": "60s", "step": "30s"})
            await engine.first(key)
            await engine.first(stated)
            await tick(engine, clock, 2)
            fleet, row = engine.row_of(key)
            true_s = 200.0 * math.exp(0.3 * 1.645)
            assert fleet.columns.lead_s[row] - 15.0 == pytest.approx(true_s, rel=0.15)
            assert fleet.columns.h[row] == math.ceil(fleet.columns.lead_s[row] / 15.0)
            other, at = engine.row_of(stated)
            assert (other.columns.lead_s[at], other.columns.h[at]) == (75.0, 3)
            made, at = decision(engine, key)
            assert (made.replicas[at], made.ready[at]) == (5, 3)
            fake.put("horizontalpodautoscalers", hpa("web", spec={"maxReplicas": 6}))
            await until(lambda: cluster.hpas.seen["shop", "keda-hpa-web"].maximum == 6)
            await tick(engine, clock)
            made, at = decision(engine, key)
            assert (made.predicted_replicas[at], made.value[at], made.reached[at]) == (6, 12.0, 6)


async def test_a_shadow_by_annotation_serves_the_reactive_answer(tmp_path: Path) -> None:
    fake, clock = a_cluster(), Clock()
    async with serving(fake), live(fake, tmp_path) as cluster:
        engine = Engine(Settings(), FakeSource(daily), Replicas(cluster, PushedLoad(None)), clock)
        async with loop_of(engine):
            key = engine.asked("shop", "web", METADATA)
            await engine.first(key)
            fleet, row = engine.row_of(key)
            assert not fleet.columns.shadow[row]
            fake.put("scaledobjects", scaled_object("web", metadata={"annotations": {SHADOW: "true"}}))
            await until(lambda: bool(cluster.scaled.seen["shop", "web"].annotations))
            await tick(engine, clock)
            assert fleet.columns.shadow[row]
            made, at = decision(engine, key)
            assert made.proposal[at] == made.reactive[at]


async def test_an_override_by_annotation_is_decided_within_the_bounds_until_it_ends(tmp_path: Path) -> None:
    fake, clock = a_cluster(), Clock()
    async with serving(fake), live(fake, tmp_path) as cluster:
        engine = Engine(Settings(), FakeSource(daily), Replicas(cluster, PushedLoad(None)), clock)
        async with loop_of(engine):
            key = engine.asked("shop", "web", METADATA)
            await engine.first(key)
            found = []
            for replicas in (33, 80):
                asked = Override(replicas, clock(), clock() + 40.0, "sale", "ann").as_annotation()
                fake.put("scaledobjects", scaled_object("web", metadata={"annotations": {OVERRIDE: asked}}))
                await until(lambda asked=asked: asked in cluster.scaled.seen["shop", "web"].annotations.values())
                await tick(engine, clock)
                made, at = decision(engine, key)
                found.append(int(made.predicted_replicas[at]))
                assert "override" in held_by(int(made.proposal[at]), made.guarded[at])
            assert found == [33, 50]
            await tick(engine, clock, 8)
            made, at = decision(engine, key)
            assert "override" not in held_by(int(made.proposal[at]), made.guarded[at])


async def test_what_keda_has_paused_stays_as_it_is_and_an_override_waits(tmp_path: Path) -> None:
    fake, clock = a_cluster(), Clock()
    asked = Override(33, clock(), clock() + 600.0, "sale", "ann").as_annotation()
    stated = {OVERRIDE: asked, "autoscaling.keda.sh/paused": "true"}
    fake.put("scaledobjects", scaled_object("web", metadata={"annotations": stated}))
    async with serving(fake), live(fake, tmp_path) as cluster:
        engine = Engine(Settings(), FakeSource(daily), Replicas(cluster, PushedLoad(None)), clock)
        async with loop_of(engine):
            key = engine.asked("shop", "web", METADATA)
            await engine.first(key)
            await tick(engine, clock)
            made, at = decision(engine, key)
            assert made.predicted_replicas[at] == made.replicas[at] == 5
            told = Watchman(engine).look(key, cluster.steering(key, clock()), None)
            assert [fact.reason for fact in told[:2]] == ["OverrideInForce", "OverrideWhilePaused"]


async def test_an_api_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    fake, clock = a_cluster(), Clock()
    async with serving(fake), live(fake, tmp_path) as cluster:
        engine = Engine(Settings(), FakeSource(daily), Replicas(cluster, PushedLoad(None)), clock)
        async with loop_of(engine):
            key = engine.asked("shop", "web", METADATA)
            await engine.first(key)
            await fake.stop()
            await until(lambda: all(one.trouble for one in cluster.reflectors))
            await tick(engine, clock)
            made, at = decision(engine, key)
            assert (made.replicas[at], made.ready[at]) == (5, 3)
            assert all(feature.trouble for feature in cluster.features()[:4])


@pytest.mark.process
async def test_the_service_follows_a_cluster_and_gives_its_lease_back(tmp_path: Path) -> None:
    fake = FakeKubernetes()
    fake.put("scaledobjects", scaled_object("web"))
    fake.put("horizontalpodautoscalers", hpa("web"))
    fake.put("deployments", deployment("web"))
    http = free_port()
    async with serving(fake):
        listen = ["--http-listen", f"127.0.0.1:{http}", "--grpc-listen", f"127.0.0.1:{free_port()}"]
        there = ["--kubeconfig", str(kubeconfig(fake, tmp_path)), "--var", str(tmp_path / "var")]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scaler", "serve", *listen, *there, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with aiohttp.ClientSession() as session:
                text = ""

                async def scraped() -> str:
                    try:
                        async with session.get(f"http://127.0.0.1:{http}/metrics") as answer:
                            return await answer.text()
                    except aiohttp.ClientError:
                        return ""

                async with asyncio.timeout(60):
                    while (
                        'foresail_cluster_feature{feature="bounds"} 1.0' not in text or "foresail_elected 1" not in text
                    ):
                        await asyncio.sleep(0.1)
                        text = await scraped()
            assert 'foresail_cluster_requests_total{resource="scaledobjects",verb="watch"} 1.0' in text
            holder = fake.objects["leases"]["foresail", "foresail"]["spec"]["holderIdentity"]
            assert holder.endswith(f"_{process.pid}")
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0
        assert fake.objects["leases"]["foresail", "foresail"]["spec"]["holderIdentity"] == ""
