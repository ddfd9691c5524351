"""The real process with TLS, a token and pushed load: killed, started again, nothing lost."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from scaler.proto import externalscaler_pb2 as pb
from tests.certificates import Authority
from tests.service import METADATA, free_port

pytestmark = pytest.mark.process
TOKEN = "a-secret-for-this-test"  # noqa: S105


class Service:
    """`foresail serve` over TLS."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority()
        certificate, key = self._authority.sign("localhost").write(folder, "server")
        (folder / "token").write_text(TOKEN)
        self._grpc_port, self._http_port = free_port(), free_port()
        self.log = folder / "log"
        self._command = [
            *(sys.executable, "-m", "scaler", "serve", "--var", str(folder / "var")),
            *("--grpc-listen", f"127.0.0.1:{self._grpc_port}", "--http-listen", f"127.0.0.1:{self._http_port}"),
            *("--tls-cert", str(certificate), "--tls-key", str(key), "--http-token-file", str(folder / "token")),
        ]
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self._command, stderr=log, stdout=log)
        deadline = time.monotonic() + 30.0
        while True:
            try:
                assert self.call("GET", "/healthz") == (200, {"status": "ok"})
            except OSError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
        content = None if body is None else json.dumps(body).encode()
        url = f"https://127.0.0.1:{self._http_port}{path}"
        request = urllib.request.Request(url, content, headers, method=method)
        context = ssl.create_default_context(cadata=self._authority.pem.decode())
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def metrics(self) -> float:
        """KEDA's GetMetrics, which has the workload tracked."""
        reference = pb.ScaledObjectRef(name="web", namespace="shop", scalerMetadata=METADATA | {"step": "1s"})
        credentials = grpc.ssl_channel_credentials(self._authority.pem)
        with grpc.secure_channel(f"127.0.0.1:{self._grpc_port}", credentials) as channel:
            ask = channel.unary_unary(
                "/externalscaler.ExternalScaler/GetMetrics",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=pb.GetMetricsResponse.FromString,
            )
            answer = ask(pb.GetMetricsRequest(scaledObjectRef=reference), timeout=20)
        return answer.metricValues[0].metricValueFloat


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path)
    yield started
    started.kill()


def test_pushed_load_is_served_and_outlives_a_kill(service: Service) -> None:
    route = "/v1/workloads/shop/web/observations"
    assert service.call("POST", route, {"t": time.time(), "load": 1.0}, TOKEN)[0] == 404, "nobody asked for it yet"
    with pytest.raises(grpc.RpcError) as early:
        service.metrics()
    assert early.value.code() is grpc.StatusCode.UNAVAILABLE
    now_s = time.time()
    past = {"observations": [{"t": now_s - k, "load": 700.0} for k in range(1000)]}
    assert service.call("POST", route, past)[0] == 401
    status, said = service.call("POST", route, past, TOKEN)
    assert (status, said) == (200, {"stored": 1000, "refused": [], "durable": True})
    service.kill()
    service.start()
    assert service.call("POST", route, {"t": time.time(), "load": 700.0}, TOKEN)[0] == 200, "known from before"
    assert service.metrics() == 14.0, "700 at a threshold of 50"
    assert "1000" in next(line for line in service.log.read_text().splitlines() if "pushed load read" in line)


def test_half_a_pair_of_certificates_is_refused_by_name_at_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scaler", "serve", "--tls-cert", "a.crt", "--var", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "tls_key" in done.stderr
    assert "set both or neither" in done.stderr


def test_a_second_process_on_the_same_folder_is_refused_by_name_and_a_killed_one_leaves_it(service: Service) -> None:
    ports = [flag for name in ("grpc", "http") for flag in (f"--{name}-listen", f"127.0.0.1:{free_port()}")]
    var = str(service.log.parent / "var")
    command = [sys.executable, "-m", "scaler", "serve", "--var", var, *ports]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 2
    assert f"{var}/pushed: another Foresail (process {service.process.pid}) keeps pushed load here" in second.stderr
    service.kill()
    service.start()
    assert service.process.poll() is None
