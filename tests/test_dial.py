"""`foresail check` over TLS and mutual TLS, and what it says where no connection comes about."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from scaler.cli import main
from scaler.servicer import GrpcDoor
from scaler.tls import TlsFiles
from tests.certificates import Authority, Signed, replace
from tests.service import declared, free_port, loop_of, some_engine

OURS, FOREIGN = Authority(), Authority("somebody else")
KEDA = OURS.sign("keda-operator.keda")


@pytest.fixture(autouse=True)
async def _servers_are_gone_before_their_loop() -> AsyncIterator[None]:
    yield
    gc.collect()
    await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def listening(files: TlsFiles | None, names: frozenset[str] = frozenset()) -> AsyncIterator[int]:
    """A scaler's gRPC port."""
    engine, _, _ = some_engine()
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        door = GrpcDoor(engine, files, names)
        try:
            yield await door.open("127.0.0.1:0")
        finally:
            await door.close(0.1)


def server_in(folder: Path, signed: Signed | None = None, *, mutual: bool = True) -> TlsFiles:
    certificate, key = (signed or OURS.sign("foresail.foresail.svc")).write(folder, "server")
    return TlsFiles(certificate, key, replace(folder / "clients.crt", OURS.pem) if mutual else None)


def ca_in(folder: Path, authority: Authority = OURS) -> list[str]:
    return ["--tls-ca", str(replace(folder / "ca.crt", authority.pem))]


def shown_in(folder: Path, signed: Signed = KEDA) -> list[str]:
    certificate, key = signed.write(folder, "shown")
    return ["--tls-cert", str(certificate), "--tls-key", str(key)]


async def checked(port: int, *flags: str) -> tuple[int, str]:
    """Exit status and output of the command, which blocks, beside the server."""
    command = ["check", f"127.0.0.1:{port}", "--namespace", "shop", "--name", "web", *flags]
    done = await asyncio.to_thread(CliRunner().invoke, main, command)
    return done.exit_code, done.output


async def test_a_scaler_under_tls_is_checked_by_its_authority(tmp_path: Path) -> None:
    async with listening(server_in(tmp_path, mutual=False)) as port:
        status, said = await checked(port, *ca_in(tmp_path))
    assert status == 0, said
    assert "ok    GetMetrics" in said


async def test_a_scaler_under_mutual_tls_is_shown_a_certificate_and_may_go_by_another_name(tmp_path: Path) -> None:
    names = frozenset({"keda-operator.keda"})
    async with listening(server_in(tmp_path), names) as port:
        flags = [*ca_in(tmp_path), *shown_in(tmp_path)]
        assert (await checked(port, *flags))[0] == 0
        assert (await checked(port, *flags, "--tls-server-name", "foresail.foresail.svc"))[0] == 0
        status, said = await checked(port, *ca_in(tmp_path), *shown_in(tmp_path, OURS.sign("someone.else")))
    assert status == 2
    assert "UNAUTHENTICATED: the client certificate's names (someone.else) are not in tls_client_names" in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (lambda _: [], "it speaks TLS: give --tls-ca"),
        (ca_in, "it asks for a client certificate: give --tls-cert and --tls-key"),
        (lambda folder: ca_in(folder, FOREIGN), "--tls-ca must hold the authority that signed it"),
        (
            lambda folder: [*ca_in(folder), *shown_in(folder, FOREIGN.sign("keda-operator.keda"))],
            "it refuses the client certificate",
        ),
        (
            lambda folder: [*ca_in(folder), *shown_in(folder, OURS.sign("keda-operator.keda", expired=True))],
            "it refuses the client certificate",
        ),
        (
            lambda folder: [*ca_in(folder), *shown_in(folder), "--tls-server-name", "elsewhere.svc"],
            "give --tls-server-name with a name that is in the certificate",
        ),
    ],
    ids=["plain", "no certificate", "wrong authority", "foreign client", "expired client", "other name"],
)
async def test_what_is_in_the_way_is_told_with_what_to_do(tmp_path: Path, flags: object, says: str) -> None:
    async with listening(server_in(tmp_path)) as port:
        status, said = await checked(port, *flags(tmp_path))  # type: ignore[operator]
    assert status == 2
    assert says in said


async def test_an_expired_server_and_one_without_tls_are_told_apart(tmp_path: Path) -> None:
    async with listening(server_in(tmp_path, OURS.sign("localhost", expired=True), mutual=False)) as port:
        assert "certificate has expired; renew it" in (await checked(port, *ca_in(tmp_path)))[1]
    async with listening(None) as port:
        assert "it speaks plain text: leave out --tls-ca" in (await checked(port, *ca_in(tmp_path)))[1]
    assert "cannot be reached: Connection refused" in (await checked(free_port()))[1]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (shown_in, "need --tls-ca"),
        (lambda folder: [*ca_in(folder), *shown_in(folder)[:2]], "belong together: give both or neither"),
        (lambda _: ["--tls-server-name", "x"], "need --tls-ca"),
        (lambda folder: ["--tls-ca", str(replace(folder / "ca.crt", b"nothing"))], "--tls-ca, --tls-cert, --tls-key: "),
        (
            lambda folder: [*ca_in(folder), *shown_in(folder)[:3], *ca_in(folder)[1:]],
            "--tls-ca, --tls-cert, --tls-key: ",
        ),
    ],
    ids=["no authority", "no key", "name alone", "no PEM", "not its key"],
)
async def test_files_that_cannot_be_used_are_refused_before_any_call(tmp_path: Path, flags: object, says: str) -> None:
    status, said = await checked(free_port(), *flags(tmp_path))  # type: ignore[operator]
    assert status == 2
    assert says in said
