"""What /metrics says of the loop and of where load comes from."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from scaler.core.signals import Signal
from scaler.core.trigger import parse_workload
from scaler.errors import SourceError
from scaler.prometheus import PrometheusSource
from scaler.push import PushedLoad, Sample
from scaler.servers import Server
from scaler.telemetry import EngineCollector, SourceCollector, registry_of
from tests.fake_prometheus import FakePrometheus, json_answer, serving, source_of
from tests.fakes import WEDNESDAY_S
from tests.service import declared, some_engine, tick


def values(families: Iterable[Metric], name: str) -> dict[str, float]:
    """Samples of one family by the value of their first label."""
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


async def test_each_server_of_the_settings_is_counted_by_its_url() -> None:
    async with serving(FakePrometheus()) as fake:
        used, idle = (Server(url=url, namespaces=("shop",)) for url in (fake.url, "http://idle:9090"))
        workload = parse_workload(
            {"serverAddress": f"{fake.url}/tenant", "query": "sum(x)", "threshold": "5"}, name="web", namespace="shop"
        )
        async with source_of(used, idle) as source:
            families = SourceCollector(source, PushedLoad(None))
            await source.read(workload, Signal.LOAD, WEDNESDAY_S, 1, 15.0)
            good = list(families.collect())

            async def failing(_: object) -> object:
                return json_answer({"status": "error", "error": "no"}, 500)

            fake.misbehave = failing  # type: ignore[assignment]
            with pytest.raises(SourceError):
                await source.read(workload, Signal.LOAD, WEDNESDAY_S, 1, 15.0)
            both = list(families.collect())
            source.replace_servers([idle])
            gone = list(families.collect())
    queries, failures = "foresail_source_queries_total", "foresail_source_query_failures_total"
    assert values(good, queries) == {fake.url: 1.0, "http://idle:9090": 0.0}
    assert values(good, failures) == {fake.url: 0.0, "http://idle:9090": 0.0}
    assert values(good, "foresail_source_query_bytes_total")[fake.url] > 50
    assert values(both, queries)[fake.url] == 2.0
    assert values(both, failures)[fake.url] == 1.0
    seconds = "foresail_source_query_seconds_total"
    assert values(both, seconds)[fake.url] > values(good, seconds)[fake.url] > 0.0
    assert values(gone, queries) == {"http://idle:9090": 0.0}


def test_pushed_load_that_stays_in_memory_is_seen(tmp_path: Path) -> None:
    pushed = PushedLoad(tmp_path / "pushed", lambda: WEDNESDAY_S)
    collector = SourceCollector(PrometheusSource(()), pushed)
    pushed.push("shop", "web", [Sample(WEDNESDAY_S, 5.0)])
    assert values(collector.collect(), "foresail_pushed_memory_only") == {"": 0.0}
    blocked = PushedLoad(tmp_path / "file", lambda: WEDNESDAY_S)
    (tmp_path / "file").write_text("not a folder")
    blocked.push("shop", "web", [Sample(WEDNESDAY_S, 5.0)])
    collector = SourceCollector(PrometheusSource(()), blocked)
    assert values(collector.collect(), "foresail_pushed_memory_only") == {"": 1.0}


async def test_modes_and_the_fits_that_wait_are_counted() -> None:
    engine, source, clock = some_engine()
    registry = registry_of(EngineCollector(engine))
    keys = [engine.declare(declared(name)) for name in ("a", "b", "c")]
    for key in keys:
        await engine.introduce(key)
    assert registry.get_sample_value("foresail_fit_queue_workloads", {"trigger": "start"}) == 3.0
    source.broken.add("a")
    await tick(engine, clock, 6)
    modes = values(EngineCollector(engine).collect(), "foresail_mode_workloads")
    assert modes["Holding"] == 1.0
    assert sum(modes.values()) == 3.0
