"""TLS and mutual TLS on both doors, with certificates made on the fly."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scaler.access import Access
from scaler.engine import Engine
from scaler.errors import SettingsError
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto import prediction_pb2 as ours
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerStub
from scaler.proto.prediction_pb2_grpc import PredictionStub
from scaler.push import PushedLoad
from scaler.servicer import GrpcDoor
from scaler.settings import load_settings
from scaler.telemetry import EngineCollector, registry_of
from scaler.tls import TlsFiles
from scaler.web import application
from tests.certificates import Authority, Signed, replace
from tests.service import declared, loop_of, some_engine

KEDA, OTHER = "keda-operator.keda", "prometheus.monitoring"
FOREIGN = Authority("somebody else")
OURS = Authority()
CLIENT = OURS.sign(KEDA, uri="spiffe://cluster.local/ns/keda/sa/keda-operator")


@pytest.fixture(autouse=True)
async def _servers_are_gone_before_their_loop() -> AsyncIterator[None]:
    yield
    gc.collect()
    await asyncio.sleep(0)


@dataclass
class Doors:
    """Both doors, listening."""

    engine: Engine
    grpc_port: int
    http_port: int

    @contextlib.asynccontextmanager
    async def channel(self, authority: Authority, shown: Signed | None) -> AsyncIterator[grpc.aio.Channel]:
        pair = (None, None) if shown is None else (shown.key, shown.chain)
        credentials = grpc.ssl_channel_credentials(authority.pem, *pair)
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials, options) as channel:
            yield channel

    async def grpc(self, authority: Authority, shown: Signed | None) -> str:
        """ "ok" or the status of a call on a connection of its own."""
        async with self.channel(authority, shown) as channel:
            try:
                await PredictionStub(channel).Predict(ours.PredictRequest(service="web"), timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "ok"

    def context(self, authority: Authority, shown: Signed | None, folder: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=authority.pem.decode())
        if shown is not None:
            context.load_cert_chain(*shown.write(folder, "shown"))
        return context

    async def http(self, authority: Authority, shown: Signed | None, folder: Path, path: str = "/predict") -> str:
        """The status of a request on a connection of its own, or the error's name."""
        context = self.context(authority, shown, folder)
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
                session.get(f"https://127.0.0.1:{self.http_port}{path}", params={"service": "web"}) as answer,
            ):
                return str(answer.status)
        except aiohttp.ClientError as error:
            return type(error).__name__


@contextlib.asynccontextmanager
async def doors(files: TlsFiles, names: frozenset[str] = frozenset()) -> AsyncIterator[Doors]:
    engine, _, _ = some_engine()
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        door = GrpcDoor(engine, files, names)
        grpc_port = await door.open("127.0.0.1:0")
        app = application(
            engine, registry_of(EngineCollector(engine)), PushedLoad(None), Access(None, loopback=True), names
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=files.http_context())
        await site.start()
        try:
            yield Doors(engine, grpc_port, runner.addresses[0][1])
        finally:
            await runner.cleanup()
            await door.close(0.1)


def files_in(folder: Path, *, mutual: bool = True) -> TlsFiles:
    certificate, key = OURS.sign("localhost").write(folder, "server")
    return TlsFiles(certificate, key, replace(folder / "ca.crt", OURS.pem) if mutual else None)


async def test_without_an_authority_any_client_is_served_over_tls_only(tmp_path: Path) -> None:
    async with doors(files_in(tmp_path, mutual=False)) as both:
        assert await both.grpc(OURS, None) == "ok"
        assert await both.http(OURS, None, tmp_path) == "200"
        assert await both.grpc(FOREIGN, None) == "UNAVAILABLE"
        assert await both.http(FOREIGN, None, tmp_path) == "ClientConnectorCertificateError"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{both.grpc_port}") as plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await PredictionStub(plain).Predict(ours.PredictRequest(service="web"), timeout=5)


@pytest.mark.parametrize(
    ("shown", "served"),
    [
        (CLIENT, True),
        (None, False),
        (FOREIGN.sign(KEDA), False),
        (OURS.sign(KEDA, expired=True), False),
    ],
    ids=["ours", "none", "wrong authority", "expired"],
)
async def test_under_mutual_tls_only_a_valid_certificate_of_the_authority_is_served(
    tmp_path: Path, shown: Signed | None, served: bool
) -> None:
    async with doors(files_in(tmp_path)) as both:
        assert (await both.grpc(OURS, shown) == "ok") is served
        assert (await both.http(OURS, shown, tmp_path) == "200") is served
        assert (await both.http(OURS, shown, tmp_path, "/healthz") == "200") is served


@pytest.mark.parametrize("pinned", [KEDA, "spiffe://cluster.local/ns/keda/sa/keda-operator"])
async def test_a_pinned_name_lets_its_holder_in_and_no_other_certificate_of_the_authority(
    tmp_path: Path, pinned: str
) -> None:
    async with doors(files_in(tmp_path), frozenset({pinned})) as both:
        assert await both.grpc(OURS, CLIENT) == "ok"
        assert await both.http(OURS, CLIENT, tmp_path) == "200"
        other = OURS.sign(OTHER)
        assert await both.grpc(OURS, other) == "UNAUTHENTICATED"
        assert await both.http(OURS, other, tmp_path) == "401"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert await both.http(OURS, other, tmp_path, path) == "200"
        for path in ("/openapi.json", "/v1/workloads", "/nothing", "//metrics", "/healthz/"):
            assert await both.http(OURS, other, tmp_path, path) == "401"


async def test_a_pin_guards_streams_health_and_reflection_too(tmp_path: Path) -> None:
    async with doors(files_in(tmp_path), frozenset({KEDA})) as both, both.channel(OURS, OURS.sign(OTHER)) as channel:
        stream = ExternalScalerStub(channel).StreamIsActive(pb.ScaledObjectRef(name="web", namespace="shop"))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stream.read()
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_rotated_certificates_are_in_force_and_fifty_open_streams_go_on(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    async with doors(files) as both, both.channel(OURS, CLIENT) as channel:
        stub = ExternalScalerStub(channel)
        streams = [stub.StreamMetricSpec(pb.ScaledObjectRef(name=f"w{n}", namespace="shop")) for n in range(50)]
        assert all(await asyncio.gather(*(stream.read() for stream in streams)))
        ends = [asyncio.ensure_future(stream.read()) for stream in streams]
        context = both.context(OURS, CLIENT, tmp_path)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=1)) as session:
            url = f"https://127.0.0.1:{both.http_port}/predict?service=web"
            async with session.get(url) as answer:
                assert answer.status == 200
            renewed, their_new = Authority("renewed"), None
            renewed.sign("localhost").write(tmp_path, "server")
            replace(tmp_path / "ca.crt", renewed.pem)
            their_new = renewed.sign(KEDA)
            assert await both.grpc(renewed, their_new) == "ok"
            assert await both.http(renewed, their_new, tmp_path) == "200"
            assert await both.grpc(renewed, CLIENT) != "ok", "the old authority is out"
            assert await both.http(renewed, CLIENT, tmp_path) != "200"
            async with session.get(url) as answer:
                assert answer.status == 200, "the open connection goes on"
        assert (await stub.GetMetricSpec(pb.ScaledObjectRef(name="web", namespace="shop"))).metricSpecs
        await asyncio.sleep(0.05)
        assert not any(end.done() for end in ends)
        for stream in streams:
            stream.cancel()


async def test_a_broken_new_certificate_keeps_the_old_one_and_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with doors(files_in(tmp_path)) as both:
        for broken in (b"not a certificate", b"", OURS.sign("localhost").chain):
            replace(tmp_path / "server.crt", broken)
            for _ in range(2):
                assert await both.grpc(OURS, CLIENT) == "ok"
                assert await both.http(OURS, CLIENT, tmp_path) == "200"
        (tmp_path / "server.key").unlink()
        assert await both.grpc(OURS, CLIENT) == "ok"
        OURS.sign("localhost").write(tmp_path, "server")
        assert await both.http(OURS, CLIENT, tmp_path) == "200"
    said = capsys.readouterr().out
    assert 2 <= said.count("cannot be used; the old ones stay") <= 5
    assert said.count("new certificates in force") == 1


def test_files_that_cannot_be_used_at_start_are_refused_by_name(tmp_path: Path) -> None:
    certificate, key = OURS.sign("localhost").write(tmp_path, "server")
    _, other = OURS.sign("localhost").write(tmp_path, "other")
    with pytest.raises(SettingsError, match=r"tls_cert, tls_key: .*MISMATCH"):
        TlsFiles(certificate, other, None)
    with pytest.raises(SettingsError, match="tls_cert, tls_key: No such file"):
        TlsFiles(certificate, tmp_path / "nothing", None)
    with pytest.raises(SettingsError, match="tls_client_ca"):
        TlsFiles(certificate, key, replace(tmp_path / "ca.crt", b"nothing"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tls_cert": "a"}, "tls_key: .*set both or neither"),
        ({"tls_key": "a"}, "tls_key: .*set both or neither"),
        ({"tls_client_ca": "a"}, "tls_client_ca: .*needs tls_cert"),
        ({"tls_cert": "a", "tls_key": "b", "tls_client_names": "x"}, "tls_client_names: .*needs tls_client_ca"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused_by_name(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(given)


def test_names_come_as_a_list_or_separated_by_commas() -> None:
    files = {"tls_cert": "a", "tls_key": "b", "tls_client_ca": "c"}
    for names in ("x, spiffe://y,", ["x", "spiffe://y"], ("x", "spiffe://y")):
        assert load_settings(files | {"tls_client_names": names}).tls_client_names == ("x", "spiffe://y")
