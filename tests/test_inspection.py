"""Whether a query can be scaled on."""

import numpy as np
from aiohttp import web

from forecasting.forecast import FloatArray
from scaler.core.suitability import Problem
from scaler.inspection import inspect
from scaler.prometheus import Limits
from tests.fake_prometheus import FakePrometheus, asking, server, source_of
from tests.fakes import WEDNESDAY_S
from tests.service import daily


async def test_an_inspection_names_what_is_wrong_with_each_query(fake: FakePrometheus) -> None:
    workload = asking(fake, kind="queue", arrivalQuery="avg(x)")
    async with source_of(server(fake)) as source:
        assert await inspect(source, workload, WEDNESDAY_S) == {workload.query: [], "avg(x)": [Problem.NO_TOTAL]}
        latency = asking(fake, latencyQuery="p95", cpuQuery="cpu")
        found = await inspect(source, latency, WEDNESDAY_S)
        assert found == {latency.query: [], "cpu": [Problem.NO_SHARE], "p95": [Problem.NO_SECONDS]}
        fake.n_series = 2
        assert await inspect(source, asking(fake), WEDNESDAY_S) == {workload.query: [Problem.SEVERAL]}
        fake.n_series = 0
        assert await inspect(source, asking(fake), WEDNESDAY_S) == {workload.query: [Problem.NONE]}


async def test_an_inspection_finds_a_query_that_the_replica_count_drives(fake: FakePrometheus) -> None:
    def replicas(t_s: FloatArray) -> FloatArray:
        return np.ceil(daily(t_s // 1800 * 1800) / 50)

    async def answer(request: web.Request) -> web.StreamResponse:
        fake.misbehave = None
        fake.load = replicas if request.query["query"] == "replicas" else lambda t_s: daily(t_s) / replicas(t_s)
        try:
            return await fake.answer(request)
        finally:
            fake.misbehave = answer

    fake.misbehave = answer
    limits = Limits(histories=1)
    async with source_of(server(fake), limits=limits) as source:
        found = await inspect(source, asking(fake), WEDNESDAY_S, "replicas")
    assert list(found.values()) == [[Problem.FALLS_WITH_REPLICAS]]
