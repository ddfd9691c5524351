"""Load from a Prometheus: what is asked, what counts as missing, and what each misbehaviour is called."""

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from forecasting.forecast import FloatArray
from scaler.core.domain import Mode, Samples, Signal, Workload
from scaler.core.suitability import Problem
from scaler.engine import HISTORY_AGAIN_S, Engine
from scaler.errors import NotDecidedYet, SourceError, StaleLoad, TriggerError
from scaler.inspection import inspect
from scaler.prometheus import Limits
from scaler.servers import Server
from scaler.settings import Settings
from scaler.sources import NoCluster
from tests.fake_prometheus import FakePrometheus, json_answer, serving, source_of
from tests.fakes import WEDNESDAY_S
from tests.service import METADATA, Clock, daily, declared, loop_of, tick


@pytest.fixture
async def fake() -> AsyncIterator[FakePrometheus]:
    async with serving(FakePrometheus()) as server:
        yield server


def server(fake: FakePrometheus, **fields: object) -> Server:
    return Server.model_validate({"url": fake.url, "namespaces": ["shop"], **fields})


def asking(fake: FakePrometheus, **metadata: str) -> Workload:
    return declared("web", serverAddress=fake.url, query="sum(rate(http_requests_total[1m]))", **metadata)


async def read(fake: FakePrometheus, workload: Workload | None = None, **fields: object) -> Samples:
    """The newest sample."""
    async with source_of(server(fake, **fields), limits=Limits(most_bytes=100_000)) as source:
        return await source.read(workload or asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)


# What is asked --------------------------------------------------------------------------------------------------


async def test_the_newest_sample_is_the_querys_value_at_the_tick(fake: FakePrometheus) -> None:
    samples = await read(fake)
    np.testing.assert_allclose(samples.mean, daily(np.array([WEDNESDAY_S])))
    [request] = fake.asked
    assert request.path == "/api/v1/query"
    assert dict(request.query) == {"query": "sum(rate(http_requests_total[1m]))", "time": "1789516800.000"}


async def test_days_are_read_in_chunks_and_summed_up_to_means_and_maxima(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        samples = await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 11_520, 60.0)
    parts = daily(WEDNESDAY_S - 15.0 * np.arange(46_079, -1, -1.0)).reshape(11_520, 4)
    np.testing.assert_allclose(samples.mean, parts.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(samples.maximum, parts.max(axis=1), atol=1e-5)
    assert [request.path for request in fake.asked] == ["/api/v1/query_range"] * 5
    assert all(request.query["step"] == "15" for request in fake.asked)


async def test_a_step_wider_than_a_minute_is_asked_for_as_a_mean(fake: FakePrometheus) -> None:
    workload = asking(fake, step="5m", arrivalQuery="up # a comment")
    async with source_of(server(fake)) as source:
        await source.read(workload, Signal.LOAD, WEDNESDAY_S, 1, 300.0)
        await source.read(workload, Signal.ARRIVALS, WEDNESDAY_S, 3, 300.0)
    queries = [request.query["query"] for request in fake.asked]
    assert queries[0] == "avg_over_time((\nsum(rate(http_requests_total[1m]))\n)[299999ms:60s])"
    assert queries[1] == "avg_over_time((\nup # a comment\n)[299999ms:60s])"


async def test_gaps_in_the_history_are_missing(fake: FakePrometheus) -> None:
    fake.load = lambda t_s: np.where((t_s / 15) % 5 == 0, daily(t_s), np.nan)
    async with source_of(server(fake)) as source:
        samples = await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 10, 15.0)
    assert np.isnan(samples.mean).sum() == 8
    assert (samples.mean[~np.isnan(samples.mean)] > 0).all()


async def test_headers_parameters_and_tokens_go_along_and_a_rotated_token_is_used_at_once(
    fake: FakePrometheus, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    mine = server(
        fake, bearer_token_file=token, headers={"X-Scope-OrgID": "shop"}, parameters={"dedup": "true", "query": "1"}
    )
    async with source_of(mine) as source:
        for text in ("one\n", "two\n"):
            token.write_text(text)
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
    assert [request.headers["Authorization"] for request in fake.asked] == ["Bearer one", "Bearer two"]
    assert fake.asked[0].headers["X-Scope-OrgID"] == "shop"
    assert fake.asked[0].query.getall("query") == ["sum(rate(http_requests_total[1m]))"]
    assert fake.asked[0].query["dedup"] == "true"


async def test_basic_authentication_reads_the_password_from_its_file(fake: FakePrometheus, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("pässwort")
    await read(fake, username="u", password_file=tmp_path / "password")
    assert fake.asked[0].headers["Authorization"] == "Basic dTpww6Rzc3dvcnQ="


async def test_a_path_in_the_address_is_kept(fake: FakePrometheus) -> None:
    await read(fake, declared("web", serverAddress=f"{fake.url}/select/0/prometheus/", query="up"))
    assert fake.asked[0].path == "/select/0/prometheus/api/v1/query"


async def test_no_more_than_the_stated_number_of_queries_run_at_once(fake: FakePrometheus) -> None:
    running, most = 0, 0

    async def slowly(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        del request
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return json_answer({"status": "success", "data": {"resultType": "scalar", "result": [WEDNESDAY_S, "1"]}})

    fake.misbehave = slowly
    async with source_of(server(fake), limits=Limits(newest=3)) as source, asyncio.TaskGroup() as reads:
        for _ in range(12):
            reads.create_task(source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0))
    assert most == 3


# What misbehaviour is called ------------------------------------------------------------------------------------


async def html(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(text="<html>Sign in</html>", content_type="text/html")


async def unprocessable(request: web.Request) -> web.StreamResponse:
    del request
    return json_answer({"status": "error", "errorType": "execution", "error": "query timed out in expression"}, 422)


async def too_much(request: web.Request) -> web.StreamResponse:
    """Ten million points, or as many as are read."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(10_000):
            await answer.write(b'[1789516800,"1"],' * 1_000)
    return answer


async def bomb(request: web.Request) -> web.StreamResponse:
    """Little on the wire, much of it unpacked."""
    answer = web.Response(body=b" " * 5_000_000)
    answer.enable_compression(web.ContentCoding.gzip)
    del request
    return answer


async def half(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"status": "success", "data": {"resultTy')
    assert request.transport is not None
    request.transport.close()
    return answer


async def elsewhere(request: web.Request) -> web.StreamResponse:
    assert "secret" not in request.path
    raise web.HTTPFound("http://169.254.169.254/secret")


def status(code: int, text: str) -> web.Response:
    return web.Response(status=code, text=text)


async def unauthorized(request: web.Request) -> web.StreamResponse:
    del request
    return status(401, "no org id")


async def no_tenant(request: web.Request) -> web.StreamResponse:
    del request
    return status(404, "404 page not found")


async def slow(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(5)
    return await html(request)


async def trickling(request: web.Request) -> web.StreamResponse:
    """A byte now and then: each read is quick, the answer is not."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            await answer.write(b" ")
            await asyncio.sleep(0.05)
    return answer


@pytest.mark.parametrize(
    ("misbehave", "reason"),
    [
        (html, "answer is not JSON: <html>Sign in"),
        (unprocessable, r"status 422: query timed out in expression$"),
        (too_much, "larger than 0.0953674 MiB"),
        (bomb, "larger than 0.0953674 MiB"),
        (half, "the answer broke off"),
        (elsewhere, "redirects to http://169.254.169.254/secret, which is not followed"),
        (unauthorized, r"refuses the credentials of the settings \(401\): no org id"),
        (no_tenant, r"no such tenant \(404\): 404 page not found"),
        (slow, r"no answer within 0\.3 s"),
        (trickling, r"no answer within 0\.3 s"),
    ],
)
async def test_misbehaviour_is_an_error_that_names_the_address_and_the_reason(
    fake: FakePrometheus, misbehave: object, reason: str
) -> None:
    fake.misbehave = misbehave  # type: ignore[assignment]
    with pytest.raises(SourceError, match=f"^{fake.url}: .*{reason}"):
        await read(fake, timeout_s=0.3)


async def test_the_triggers_own_timeout_may_only_shorten(fake: FakePrometheus) -> None:
    fake.misbehave = slow
    with pytest.raises(SourceError, match=r"within 0\.2 s"):
        await read(fake, asking(fake, timeout="200"))
    with pytest.raises(SourceError, match=r"within 0\.3 s"):
        await read(fake, asking(fake, timeout="60s"), timeout_s=0.3)


async def test_a_server_that_is_down_is_named() -> None:
    with pytest.raises(SourceError, match=r"cannot be asked: .*127\.0\.0\.1"):
        await read(FakePrometheus())


async def test_a_server_that_hangs_up_is_named(fake: FakePrometheus) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    fake.misbehave = hang_up
    with pytest.raises(SourceError, match="cannot be asked"):
        await read(fake)


@pytest.mark.parametrize("extra", [{"warnings": ["store gateway unavailable"]}, {"isPartial": True}])
async def test_partial_answers_count_as_missing(fake: FakePrometheus, extra: dict[str, object]) -> None:
    fake.extra = extra
    with pytest.raises(SourceError, match="incomplete"):
        await read(fake)


async def test_several_series_are_refused_and_none_is_missing(fake: FakePrometheus) -> None:
    fake.n_series = 2
    with pytest.raises(SourceError, match=r"2 series; a total is needed"):
        await read(fake)
    fake.n_series = 0
    assert np.isnan((await read(fake)).mean).all()


async def test_one_bad_chunk_is_the_answer_of_the_whole_history(fake: FakePrometheus) -> None:
    async def sometimes(request: web.Request) -> web.StreamResponse:
        fake.misbehave = None
        return await unprocessable(request)

    fake.misbehave = sometimes
    async with source_of(server(fake)) as source:
        with pytest.raises(SourceError, match="422"):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 11_520, 60.0)


@pytest.mark.parametrize("text", ["", "two\nlines"])
async def test_a_token_file_that_holds_no_token_is_named(fake: FakePrometheus, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(SourceError, match="token must hold one line"):
        await read(fake, bearer_token_file=tmp_path / "token")
    with pytest.raises(SourceError, match=r"No such file.*absent"):
        await read(fake, bearer_token_file=tmp_path / "absent")
    assert fake.asked == []


async def test_what_the_settings_do_not_allow_is_never_asked(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        with pytest.raises(SourceError, match="is not allowed"):
            await source.read(declared("web", serverAddress="http://127.0.0.1:1", query="up"), Signal.LOAD, 0, 1, 15.0)
        source.replace_servers([])
        with pytest.raises(SourceError, match=r"is not allowed.*no server"):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        with pytest.raises(TriggerError, match="is not allowed"):
            source.admit(asking(fake))
        source.replace_servers([server(fake)])
        source.admit(asking(fake))
        await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
    assert len(fake.asked) == 1


async def test_what_was_asked_is_counted_by_server(fake: FakePrometheus) -> None:
    async with source_of(server(fake)) as source:
        await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        fake.misbehave = html
        with pytest.raises(SourceError):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        [(url, exchange)] = source.exchanges.items()
    assert (url, exchange.queries, exchange.failures) == (fake.url, 2, 1)
    assert exchange.seconds > 0
    assert exchange.read_bytes > 50


# Whether it can be scaled on -------------------------------------------------------------------------------------


async def test_an_inspection_names_what_is_wrong_with_each_query(fake: FakePrometheus) -> None:
    workload = asking(fake, kind="queue", arrivalQuery="avg(x)")
    async with source_of(server(fake)) as source:
        assert await inspect(source, workload, WEDNESDAY_S) == {workload.query: [], "avg(x)": [Problem.NO_TOTAL]}
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


# TLS ------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str, issuer: str | None = None) -> None:
    """A key and a certificate for localhost, by `issuer` or by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "2", "-subj", f"/CN={name}"]
    if issuer is not None:
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-CA", f"{issuer}.crt", "-CAkey", f"{issuer}.key"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=20)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    certificate(folder, "other")
    for name in ("server", "client"):
        certificate(folder, name, "ca")
    return folder


async def test_tls_checks_the_server_and_shows_the_client(certificates: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    fake = FakePrometheus()
    fake.url = f"https://127.0.0.1:{fake.port}"
    client = {"cert_file": certificates / "client.crt", "key_file": certificates / "client.key"}
    async with serving(fake, context):
        await read(fake, ca_file=certificates / "ca.crt", **client)
        await read(fake, insecure_skip_verify=True, **client)
        for wrong in (
            {"ca_file": certificates / "ca.crt"},
            {"ca_file": certificates / "other.crt", **client},
            {"ca_file": certificates / "absent.crt", **client},
            client,
        ):
            with pytest.raises(SourceError, match="cannot be asked"):
                await read(fake, **wrong)
    assert len(fake.asked) == 2


async def test_a_rotated_client_certificate_is_shown_at_once(certificates: Path, tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates / "ca.crt")
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    fake = FakePrometheus()
    fake.url = f"https://127.0.0.1:{fake.port}"

    def rotate(name: str, stamp: int) -> None:
        for kind in ("crt", "key"):
            target = tmp_path / f"client.{kind}"
            target.write_bytes((certificates / f"{name}.{kind}").read_bytes())
            os.utime(target, ns=(stamp, stamp))

    files = {name: tmp_path / f"client.{kind}" for name, kind in (("cert_file", "crt"), ("key_file", "key"))}
    mine = server(fake, ca_file=certificates / "ca.crt", **files)
    async with serving(fake, context), source_of(mine) as source:
        rotate("other", 1)
        with pytest.raises(SourceError, match="cannot be asked"):
            await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)
        rotate("client", 2)
        await source.read(asking(fake), Signal.LOAD, WEDNESDAY_S, 1, 15.0)


# The loop over it -----------------------------------------------------------------------------------------------

QUEUE = {"kind": "queue", "latencyTarget": "60s", "arrivalQuery": "sum(rate(arrived_total[1m]))"}


@contextlib.asynccontextmanager
async def an_engine(fake: FakePrometheus, **settings: object) -> AsyncIterator[tuple[Engine, Clock]]:
    clock = Clock()
    async with source_of(server(fake)) as source:
        engine = Engine(Settings.model_validate({"first_answer_s": 20, **settings}), source, NoCluster(), clock)
        async with loop_of(engine):
            yield engine, clock


def metadata(fake: FakePrometheus, **more: str) -> dict[str, str]:
    return {**METADATA, "serverAddress": fake.url, "query": "sum(rate(http_requests_total[1m]))", **more}


async def test_each_declared_query_is_asked_once_per_tick(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        keys = [engine.asked("shop", f"web{n}", metadata(fake)) for n in range(5)]
        keys.append(engine.asked("shop", "queue", metadata(fake, **QUEUE)))
        for key in keys:
            await engine.first(key)
        fake.asked.clear()
        await tick(engine, clock, 4)
    assert len(fake.asked) == 4 * (5 + 2)
    assert all(request.path == "/api/v1/query" for request in fake.asked)


async def test_after_missed_ticks_one_range_query_catches_up(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        await engine.first(key)
        fake.misbehave = html
        await tick(engine, clock, 8)
        fake.misbehave = None
        fake.asked.clear()
        await tick(engine, clock)
        fleet, row = engine.row_of(key)
        fine = fleet.ring.history(slice(row, row + 1)).fine[0, -20:]
    assert [request.path for request in fake.asked] == ["/api/v1/query_range"]
    np.testing.assert_allclose(fine, daily(clock() - 15.0 * np.arange(19, -1, -1.0)), atol=1e-5)


async def test_an_address_outside_of_the_settings_takes_no_place(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, _):
        for namespace, changes in (("shop", {"serverAddress": "http://127.0.0.1:1"}), ("web", {})):
            with pytest.raises(TriggerError, match=f"is not allowed.*namespace '{namespace}'"):
                engine.asked(namespace, "web", {**metadata(fake), **changes})
        assert not engine.roster.entries
    assert fake.asked == []


async def test_a_first_request_is_told_why_there_is_no_answer(fake: FakePrometheus) -> None:
    fake.misbehave = unprocessable
    async with an_engine(fake, first_answer_s=0.2) as (engine, _):
        with pytest.raises(NotDecidedYet, match="422: query timed out"):
            await engine.first(engine.asked("shop", "web", metadata(fake)))


async def test_an_outage_is_held_then_fails_with_its_reason_and_recovers(fake: FakePrometheus) -> None:
    async with an_engine(fake, stale_s=60, failed_s=300) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        posted = await engine.first(key)
        before = posted.decisions.predicted_replicas[posted.row]
        fake.misbehave = html
        await tick(engine, clock, 19)
        held = engine.board.answer(key)
        assert held.mode is Mode.HOLDING
        assert held.decisions.predicted_replicas[held.row] >= before
        await tick(engine, clock, 5)
        with pytest.raises(StaleLoad, match="not JSON: <html>Sign in"):
            await engine.first(key)
        fake.misbehave = None
        await tick(engine, clock)
        assert (await engine.first(key)).mode in {Mode.RECOVERY, Mode.NORMAL}
        assert key not in engine.troubles


async def test_a_history_that_could_not_be_read_is_read_once_the_server_is_back(fake: FakePrometheus) -> None:
    fake.misbehave = html
    async with an_engine(fake, first_answer_s=0.2) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        with pytest.raises(NotDecidedYet):
            await engine.first(key)
        fake.misbehave = None
        await tick(engine, clock, round(HISTORY_AGAIN_S / 15) + 1)
        async with asyncio.timeout(20):
            while engine.board.answer(key).mode is Mode.LEARNING:
                await asyncio.sleep(0.02)


async def test_after_an_outage_longer_than_the_fine_history_all_of_it_is_read_again(fake: FakePrometheus) -> None:
    async with an_engine(fake) as (engine, clock):
        key = engine.asked("shop", "web", metadata(fake))
        await engine.first(key)
        clock.now_s += 5 * 3600.0
        fake.asked.clear()
        await tick(engine, clock)
        async with asyncio.timeout(20):
            while len(fake.asked) < 1 + 5 + 1 + 1:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        fleet, row = engine.row_of(key)
        assert not np.isnan(fleet.ring.history(slice(row, row + 1)).mean[0, 1:]).any()


async def test_one_hanging_server_leaves_the_workloads_of_another_alone(fake: FakePrometheus) -> None:
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        clock, settings = Clock(), Settings(read_timeout_s=0.3, first_answer_s=2)
        other = Server(url=url, namespaces=("shop",), timeout_s=0.2)
        async with (
            source_of(server(fake), other) as source,
            loop_of(Engine(settings, source, NoCluster(), clock)) as engine,
        ):
            stuck = engine.asked("shop", "stuck", metadata(fake, serverAddress=url))
            fine = engine.asked("shop", "fine", metadata(fake))
            await engine.first(fine)
            await tick(engine, clock, 5)
            assert engine.board.answer(fine).mode in {Mode.RECOVERY, Mode.NORMAL}
            with pytest.raises(NotDecidedYet, match=r"no answer within 0\.2 s"):
                await engine.first(stuck)
