"""A thousand ScaledObjects: what they cost, how few requests they take, and how soon an API restart is over."""

import asyncio
import os
import resource
import time
from pathlib import Path

import pytest

from scaler.roster import Key
from tests.fake_kubernetes import FakeKubernetes, deployment, hpa, scaled_object, serving
from tests.fakes import WEDNESDAY_S
from tests.test_live_cluster import pod
from tests.test_reflector import connected, until

N = 1000
PODS_EACH = 5
PADDING = [{"name": f"volume-{number}", "emptyDir": {"sizeLimit": "1Gi"}} for number in range(120)]
"""What makes a pod's JSON as long as that of a real one: 8 kB."""


def resident_mb() -> float:
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def a_large_cluster() -> FakeKubernetes:
    fake = FakeKubernetes()
    for number in range(N):
        name = f"w{number}"
        fake.put("scaledobjects", scaled_object(name))
        fake.put("horizontalpodautoscalers", hpa(name))
        fake.put("deployments", deployment(name))
        for each in range(PODS_EACH):
            item = pod(each, WEDNESDAY_S - 3600 + 60 * each, 30.0 + each)
            owners = [{"controller": True, "kind": "ReplicaSet", "name": f"{name}-1"}]
            item["spec"]["volumes"] = PADDING
            item["metadata"] |= {"name": f"{name}-{each}", "ownerReferences": owners}
            fake.put("pods", item)
    return fake


@pytest.mark.timeout(300)
async def test_a_thousand_scaled_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from scaler.live_cluster import LiveCluster  # noqa: PLC0415 - its memory is not what is measured

    said: dict[str, float] = {}
    keys = [Key("shop", f"w{number}", "0") for number in range(N)]
    async with serving(a_large_cluster()) as fake, connected(fake, tmp_path) as api:
        before_mb, before_s, begun = resident_mb(), cpu_s(), time.monotonic()
        cluster = LiveCluster(api, clock=lambda: WEDNESDAY_S)
        task = asyncio.create_task(cluster.run())
        await until(lambda: len(cluster.pod_objects.seen) == N * PODS_EACH, 120.0)
        await until(lambda: len(cluster.scaled.seen) == len(cluster.deployments.seen) == N, 120.0)
        await until(lambda: sum(map(len, fake.watches.values())) == len(cluster.reflectors), 60.0)
        cluster.pods.settle(WEDNESDAY_S)
        said["known after s"], said["MB"] = time.monotonic() - begun, resident_mb() - before_mb
        said["CPU s to list, server included"] = cpu_s() - before_s
        lists = sum(fake.asked.values())

        for what, t_s in (("first", WEDNESDAY_S), ("then", WEDNESDAY_S + 15)):
            begun_s = cpu_s()
            assert all(cluster.running(key, t_s) is not None for key in keys)
            said[f"ms for all per tick, {what}"] = 1e3 * (cpu_s() - begun_s)

        await asyncio.sleep(3.0)
        assert sum(fake.asked.values()) == lists  # in steady state nothing is asked at all

        await fake.stop()
        for number in range(0, N, 10):
            fake.put("deployments", deployment(f"w{number}", replicas=9))
            fake.put("horizontalpodautoscalers", hpa(f"w{number}", spec={"maxReplicas": 77}))
        fake.delete("scaledobjects", "shop", "w1")
        for plural in ("deployments", "scaledobjects"):
            fake.compact(plural)
        await asyncio.sleep(3.0)
        await fake.start()
        begun = time.monotonic()

        def consistent() -> bool:
            found = [cluster.running(key, WEDNESDAY_S) for key in keys[::10]]
            return all(one is not None and (one.replicas, one.hpa_maximum) == (9, 77) for one in found)

        await until(lambda: consistent() and ("shop", "w1") not in cluster.scaled.seen, 60.0)
        said["consistent after a restart s"] = time.monotonic() - begun
        said["requests for it"] = sum(fake.asked.values()) - lists
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {value:.3g}" for name, value in said.items()))  # noqa: T201 - figures
    assert said["consistent after a restart s"] < 10.0
    assert said["MB"] < 60.0
