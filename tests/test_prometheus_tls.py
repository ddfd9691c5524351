"""Load from a Prometheus over TLS."""

import os
import ssl
import subprocess
from pathlib import Path

import pytest

from scaler.core.signals import Signal
from scaler.errors import SourceError
from tests.fake_prometheus import FakePrometheus, asking, read, server, serving, source_of
from tests.fakes import WEDNESDAY_S


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
