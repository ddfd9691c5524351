"""What runs and within which bounds, read from a server that speaks the API's JSON."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from scaler.cluster import API_USE
from scaler.core.domain import UNKNOWN, Running
from scaler.core.steering import OVERRIDE, SHADOW, Override, stamp_of
from scaler.kinds import quantity
from scaler.live_cluster import KEPT_IN, SILENT_S, LiveCluster
from scaler.roster import Key
from tests.fake_kubernetes import FakeKubernetes, Object, deployment, hpa, scaled_object, serving
from tests.fakes import WEDNESDAY_S
from tests.test_reflector import QUICK, connected, until

WEB = Key("shop", "web", "0")


@asynccontextmanager
async def live(fake: FakeKubernetes, folder: Path, now_s: float = WEDNESDAY_S) -> AsyncIterator[LiveCluster]:
    async with connected(fake, folder) as api:
        cluster = LiveCluster(api, QUICK, lambda: now_s)
        task = asyncio.create_task(cluster.run())
        try:
            await until(lambda: all(one.trouble != "not read yet" for one in cluster.reflectors))
            await until(lambda: cluster.features()[-1].trouble != "not read yet")
            await asyncio.sleep(0)
            yield cluster
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def a_cluster(**changes: Any) -> FakeKubernetes:
    fake = FakeKubernetes()
    fake.put("scaledobjects", scaled_object("web", **changes))
    fake.put("horizontalpodautoscalers", hpa("web"))
    fake.put("deployments", deployment("web", replicas=5, ready=3))
    return fake


def running(cluster: LiveCluster, t_s: float = WEDNESDAY_S) -> Running:
    found = cluster.running(WEB, t_s)
    assert found is not None
    return found


async def test_bounds_come_from_the_hpa_and_replicas_from_the_deployment(tmp_path: Path) -> None:
    async with serving(a_cluster()) as fake, live(fake, tmp_path) as cluster:
        found = running(cluster)
        assert (found.replicas, found.ready, found.hpa_minimum, found.hpa_maximum) == (5, 3, 2, 50)
        assert math.isnan(found.tolerance)
        fake.put("horizontalpodautoscalers", hpa("web", spec={"maxReplicas": 9}))
        fake.put("deployments", deployment("web", replicas=6, ready=6))
        await until(lambda: running(cluster).hpa_maximum == 9 and running(cluster).replicas == 6)
        assert cluster.running(Key("shop", "other", "0"), WEDNESDAY_S) is None
        assert [feature.trouble for feature in cluster.features()] == [None] * 5


async def test_tolerances_are_those_that_the_api_server_kept(tmp_path: Path) -> None:
    fake = a_cluster()
    behavior = {"scaleUp": {"tolerance": "0"}, "scaleDown": {"tolerance": "50m"}}
    fake.put("horizontalpodautoscalers", hpa("web", spec={"behavior": behavior}))
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert (running(cluster).tolerance, running(cluster).tolerance_down) == (0.0, 0.05)


async def test_what_keda_pauses_one_way_stands_in_the_hpa(tmp_path: Path) -> None:
    fake = a_cluster()
    fake.put("horizontalpodautoscalers", hpa("web", spec={"behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}))
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert (running(cluster).grows, running(cluster).shrinks) == (True, False)


async def test_behind_a_formula_no_band_is_assumed(tmp_path: Path) -> None:
    fake = a_cluster(spec={"advanced": {"scalingModifiers": {"formula": "max(a, b)", "target": "1"}}})
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert (running(cluster).tolerance, running(cluster).tolerance_down) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("annotations", "paused"),
    [({"paused": "true"}, True), ({"paused": "false"}, False), ({"paused-replicas": "3"}, True), ({}, False)],
)
async def test_a_pause_by_keda_is_seen(tmp_path: Path, annotations: dict[str, str], paused: bool) -> None:
    stated = {f"autoscaling.keda.sh/{key}": value for key, value in annotations.items()}
    async with serving(a_cluster(metadata={"annotations": stated})) as fake, live(fake, tmp_path) as cluster:
        assert running(cluster).paused == paused


async def test_an_override_holds_until_it_ends_and_changes_at_once(tmp_path: Path) -> None:
    wanted = Override(12, WEDNESDAY_S - 60, WEDNESDAY_S + 60, "sale", "ann").as_annotation()
    async with serving(a_cluster()) as fake, live(fake, tmp_path) as cluster:
        assert running(cluster).override == UNKNOWN
        stated = {OVERRIDE: wanted, SHADOW: "true"}
        fake.put("scaledobjects", scaled_object("web", metadata={"annotations": stated}))
        await until(lambda: running(cluster).override == 12)
        assert running(cluster).shadow is True
        assert running(cluster, WEDNESDAY_S + 60).override == UNKNOWN


async def test_counts_that_nobody_confirmed_for_long_are_not_believed(tmp_path: Path) -> None:
    async with serving(a_cluster()) as fake, live(fake, tmp_path) as cluster:
        cluster.deployments.heard_s -= SILENT_S
        assert (running(cluster).replicas, running(cluster).ready) == (4, UNKNOWN)
        cluster.hpas.heard_s -= SILENT_S
        assert running(cluster).replicas == UNKNOWN
        assert running(cluster).hpa_maximum == 50


# --- parts of the rights


@pytest.mark.parametrize(
    ("forbidden", "off", "wanted"),
    [
        ("scaledobjects", "annotations", (5, 3, 2, 50)),
        ("horizontalpodautoscalers", "bounds", (5, 3, 2, 50)),
        ("deployments", "replicas", (4, UNKNOWN, 2, 50)),
        ("pods", "lead_time", (5, 3, 2, 50)),
        ("configmaps", "kept_start_ups", (5, 3, 2, 50)),
    ],
)
async def test_a_missing_right_takes_away_its_feature_only_and_names_it(
    tmp_path: Path, forbidden: str, off: str, wanted: tuple[int, int, int, int]
) -> None:
    fake = a_cluster()
    fake.put("horizontalpodautoscalers", hpa("web", spec={"scaleTargetRef": {"kind": "Deployment", "name": "web"}}))
    fake.forbidden.add(forbidden)
    async with serving(fake), live(fake, tmp_path) as cluster:
        found = running(cluster)
        assert (found.replicas, found.ready, found.hpa_minimum, found.hpa_maximum) == wanted
        troubles = {feature.name: feature.trouble for feature in cluster.features() if feature.trouble}
        assert list(troubles) == [off]
        assert "403" in troubles[off]
        assert forbidden in troubles[off]


async def test_without_any_right_nothing_is_known_and_nothing_breaks(tmp_path: Path) -> None:
    fake = a_cluster()
    fake.forbidden |= set(fake.objects)
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert cluster.running(WEB, WEDNESDAY_S) is None
        assert all(feature.trouble for feature in cluster.features())


# --- other kinds


def rollout(replicas: int) -> Object:
    return {"metadata": {"namespace": "shop", "name": "web"}, "status": {"replicas": replicas}}


async def test_other_kinds_are_read_by_their_scale_where_the_hpa_does_not_tell(tmp_path: Path) -> None:
    found = {"group": "argoproj.io", "version": "v1alpha1", "resource": "rollouts"}
    reference = {"scaleTargetRef": {"kind": "Rollout", "name": "web", "apiVersion": "argoproj.io/v1alpha1"}}
    fake = a_cluster(spec=reference, status={"scaleTargetGVKR": found})
    fake.put("rollouts", rollout(7))
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert running(cluster).replicas == 4
        assert fake.asked["rollouts/scale", "get"] == 0
    fake.delete("horizontalpodautoscalers", "shop", "keda-hpa-web")
    fake.port = 0
    async with serving(fake), live(fake, tmp_path) as cluster:
        await until(lambda: running(cluster).replicas == 7)
        assert (running(cluster).hpa_minimum, running(cluster).hpa_maximum) == (2, 50)


# --- pods


def pod(number: int, created_s: float, start_s: float = math.nan, **options: Any) -> Object:
    version, node_s, phase = options.get("version", "1"), options.get("node_s", 1.0), options.get("phase", "Running")
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp_of(created_s + node_s)}]
    if not math.isnan(start_s):
        at_s = created_s + node_s + start_s
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": stamp_of(at_s)})
    return {
        "metadata": {
            "namespace": "shop",
            "name": f"web-{version}-{number}",
            "creationTimestamp": stamp_of(created_s),
            "labels": {"pod-template-hash": version},
            "ownerReferences": [{"controller": True, "kind": "ReplicaSet", "name": f"web-{version}"}],
        },
        "spec": {"containers": [{"image": f"web:{version}"}]},
        "status": {"phase": phase, "conditions": conditions},
    }


async def settled(cluster: LiveCluster, pods: int, now_s: float = WEDNESDAY_S, never: int = 0) -> Any:
    """What was learnt once all events of so many pods are through: a pod's first may come long before its last."""
    known = cluster.pods
    await until(lambda: len(known._served) >= pods - never and len(known._starting) + len(known._served) >= pods)
    known.settle(now_s)
    return cluster.lead_time(WEB)


async def test_a_lead_time_is_learnt_from_pods_of_two_versions_with_a_slow_node_and_failures(tmp_path: Path) -> None:
    spread, rng, fake = NormalDist(0.0, 0.3), np.random.default_rng(7), a_cluster()
    first, second = (rng.permutation((np.arange(n) + 0.5) / n).tolist() for n in (30, 60))
    for number, share in enumerate(first):
        took_s = 40.0 * math.exp(spread.inv_cdf(share))
        fake.put("pods", pod(number, WEDNESDAY_S - 86_400 + 60 * number, took_s))
    async with serving(fake), live(fake, tmp_path) as cluster:
        said = await settled(cluster, 30)
        assert said.p95_s == pytest.approx(40.0 * math.exp(0.3 * 1.645), rel=0.15)
        for number, share in enumerate(second):
            took_s = 80.0 * math.exp(spread.inv_cdf(share))
            created_s = WEDNESDAY_S - 7200 + 30 * number
            never, slow = number % 20 == 3, number % 15 == 5
            fake.put("pods", pod(number, created_s, version="2", node_s=150.0 if slow else 1.0))
            if not never:
                fake.put("pods", pod(number, created_s, took_s, version="2", node_s=150.0 if slow else 1.0))
        said = await settled(cluster, 90, never=3)
        assert said.p95_s == pytest.approx(80.0 * math.exp(0.3 * 1.645), rel=0.15)
        assert said.never == 3
        assert (said.node_p50_s, said.node_share < 0.1) == (150.0, True)
        lead_s = running(cluster).lead_s
        assert lead_s == pytest.approx(said.p95_s, rel=0.15)


async def test_pods_of_other_owners_are_not_looked_at(tmp_path: Path) -> None:
    fake = a_cluster()
    item = pod(1, WEDNESDAY_S - 60, 20.0)
    fake.put("pods", {**item, "metadata": {**item["metadata"], "ownerReferences": []}})
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert cluster.pod_objects.seen == {}


async def test_a_pod_that_loses_and_regains_readiness_counts_once(tmp_path: Path) -> None:
    fake = a_cluster()
    async with serving(fake), live(fake, tmp_path) as cluster:
        for start_s in (math.nan, 20.0, math.nan, 900.0):
            fake.put("pods", pod(1, WEDNESDAY_S - 1000, start_s))
        await until(lambda: any(known.start_s for known in cluster.pods.known.values()))
        await asyncio.sleep(0.05)
        assert [known.start_s for known in cluster.pods.known.values()] == [(20.0,)]


async def test_what_was_learnt_comes_back_after_a_restart(tmp_path: Path) -> None:
    fake = a_cluster()
    for number in range(10):
        fake.put("pods", pod(number, WEDNESDAY_S - 6000 + 60 * number, 30.0 + number))
    async with serving(fake), live(fake, tmp_path) as cluster:
        before = await settled(cluster, 10)
        await cluster.keep([WEB], {"capacity.shop.web.0": "{}"})
        await cluster.keep([WEB], {"capacity.shop.web.0": "{}"})
        assert fake.asked["configmaps", "create"] == 1
        assert fake.asked["configmaps", "update"] == 0
        for number in range(8):
            fake.delete("pods", "shop", f"web-1-{number}")
        fake.put("pods", pod(11, WEDNESDAY_S - 60, 33.0))
        await until(lambda: len(cluster.pod_objects.seen) == 3)
    fake.port = 0
    async with serving(fake), live(fake, tmp_path) as cluster:
        after = await settled(cluster, 3)
        assert after.pods == before.pods + 1
        assert cluster.remembered is not None
        assert cluster.remembered["capacity.shop.web.0"] == "{}"


async def test_targets_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    fake = a_cluster()
    for number in range(6):
        fake.put("pods", pod(number, WEDNESDAY_S - 6000 + 60 * number, 30.0))
    fake.delete("scaledobjects", "shop", "web")
    async with serving(fake), live(fake, tmp_path) as cluster:
        await settled(cluster, 6)
        assert len(cluster.pods.known) == 1
        cluster.pods.forget_but(set())
        assert cluster.pods.known == {}


async def test_what_cannot_be_understood_of_the_kept_is_left(tmp_path: Path) -> None:
    fake = a_cluster()
    kept = {"shop.Deployment.web": "{", "x": "1", "shop.Deployment.api": json.dumps({"start_s": [-1], "node_s": [1]})}
    fake.put("configmaps", {"metadata": {"namespace": "foresail", "name": KEPT_IN}, "data": kept})
    async with serving(fake), live(fake, tmp_path) as cluster:
        assert cluster.pods.known == {}
        assert cluster.features()[-1].trouble is None


# --- what is asked of the server


async def test_nothing_is_asked_that_the_manifests_do_not_grant(tmp_path: Path) -> None:
    async with serving(a_cluster()) as fake, live(fake, tmp_path) as cluster:
        await cluster.keep([WEB], {})
        await cluster.keep([WEB], {})
        granted = {(plural, verb) for _, plural, verb in API_USE}
        assert set(fake.asked) <= granted


def test_quantities() -> None:
    assert [quantity(text) for text in ("0", "50m", 0.05, "0.1")] == [0.0, 0.05, 0.05, 0.1]
    for text in ("1", "-50m", "many", "NaN"):
        with pytest.raises((ValueError, KeyError)):
            quantity(text)


async def test_what_is_asked_by_hand_is_written_to_the_scaled_object_and_comes_back_by_the_watch(
    tmp_path: Path,
) -> None:
    override = Override(12, WEDNESDAY_S, WEDNESDAY_S + 3600.0, "sale", "ann")
    async with serving(a_cluster()) as fake, live(fake, tmp_path) as cluster:
        await cluster.annotate(WEB, {OVERRIDE: override.as_annotation(), SHADOW: "true"})
        await until(lambda: running(cluster).override == 12)
        assert running(cluster).shadow is True
        await cluster.annotate(WEB, {OVERRIDE: None})
        await until(lambda: running(cluster).override == UNKNOWN)
        assert running(cluster).shadow is True
