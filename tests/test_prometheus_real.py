"""The real Prometheus with fourteen days of history, and the service as a process that KEDA asks."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from scaler.core.signals import Signal
from scaler.proto import externalscaler_pb2 as pb
from scaler.servers import Server
from tests.fake_prometheus import source_of
from tests.real_prometheus import RealPrometheus, backfill, history, load
from tests.service import declared, free_port

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not (shutil.which("prometheus") and shutil.which("promtool")),
        reason="prometheus and promtool are not installed",
    ),
]
log = logging.getLogger(__name__)
"""Figures, seen with `--log-cli-level=info`."""
QUERY = "sum(rate(app_requests_total[30s]))"
STALE_S, FAILED_S = 3.0, 9.0
CONFIG = f"""
settings: {{{{stale_s: {STALE_S}, failed_s: {FAILED_S}, read_timeout_s: 0.5}}}}
servers:
  - url: {{url}}
    namespaces: [shop]
"""
FIRST_PREDICTION_S = 10.0
"""From first sight to an answer that rests on a forecast."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    backfill(folder, history(14.0))
    server = RealPrometheus(folder)
    server.until_it_answers(QUERY)
    yield server
    server.close()


class Service:
    """The service as a process, asked as KEDA asks."""

    def __init__(self, prometheus: RealPrometheus, folder: Path) -> None:
        self.port, self.http_port, self.log = free_port(), free_port(), folder / "log"
        (folder / "foresail.yaml").write_text(CONFIG.format(url=prometheus.url))
        self.ref = pb.ScaledObjectRef(
            name="web",
            namespace="shop",
            scalerMetadata={
                "scalerAddress": f"127.0.0.1:{self.port}",
                "serverAddress": prometheus.url,
                "query": QUERY,
                "threshold": "20",
                "step": "1s",
                "leadTime": "60s",
            },
        )
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "scaler", "serve", "--var", str(folder / "var")]
            listen = ["--grpc-listen", f"127.0.0.1:{self.port}", "--http-listen", f"127.0.0.1:{self.http_port}"]
            environ = {**os.environ, "FORESAIL_CONFIG": str(folder / "foresail.yaml")}
            self.process = subprocess.Popen([*command, *listen], stdout=log, stderr=log, env=environ)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        grpc.channel_ready_future(self._channel).result(timeout=30)

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            f"/externalscaler.ExternalScaler/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=5)

    def replicas(self) -> float:
        """Value of GetMetrics."""
        request = pb.GetMetricsRequest(scaledObjectRef=self.ref, metricName="predicted-replicas")
        return float(self._ask("GetMetrics", request, pb.GetMetricsResponse).metricValues[0].metricValueFloat)

    def refusal(self) -> str:
        """Status and text of GetMetrics, empty while it answers."""
        try:
            self.replicas()
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
        return ""

    def has_a_spec(self) -> bool:
        return len(self._ask("GetMetricSpec", self.ref, pb.GetMetricSpecResponse).metricSpecs) == 1

    def mode(self) -> str:
        """Mode in which the workload is served, "Learning" also where it does not rest on a forecast."""
        url = f"http://127.0.0.1:{self.http_port}/v1/workloads/shop/web"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                view = json.load(answer)
        except urllib.error.HTTPError:
            return "unknown"
        return str(view["mode"]) if view["predictive"] is not None else "Learning"

    def until(self, *modes: str, within_s: float) -> float:
        """Seconds until it is served in one of the modes, while KEDA goes on asking."""
        started = time.monotonic()
        while time.monotonic() - started < within_s:
            self.refusal()
            if self.mode() in modes:
                return time.monotonic() - started
            time.sleep(0.1)
        raise AssertionError(f"{self.mode()} after {within_s} s: {self.log.read_text()}")

    def kill(self) -> None:
        self._channel.close()
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(prometheus: RealPrometheus, folder: Path) -> Iterator[Service]:
    service = Service(prometheus, folder)
    try:
        yield service
    finally:
        service.kill()


async def test_the_history_read_is_the_load_that_was(prometheus: RealPrometheus) -> None:
    server = Server(url=prometheus.url, namespaces=("shop",))
    workload = declared("web", serverAddress=prometheus.url, query=QUERY)
    end_s = time.time() // 60 * 60 - 120
    async with source_of(server) as source:
        samples = await source.read(workload, Signal.LOAD, end_s, 11_520, 60.0)
        seldom = await source.read(
            declared("w", serverAddress=prometheus.url, query=QUERY, step="1h"), Signal.LOAD, end_s, 100, 3600.0
        )
    stamps_s = end_s - 60.0 * np.arange(11_519, -1, -1.0)
    expected = np.array([load(t_s - 45.0) for t_s in stamps_s])  # centre of the rates over the minute
    assert np.isnan(samples.mean).mean() < 0.001
    np.testing.assert_allclose(samples.mean, expected, rtol=0.02)
    assert (samples.maximum >= samples.mean * (1 - 1e-6))[~np.isnan(samples.mean)].all()
    hours = np.array([load(t_s - 1800.0) for t_s in end_s - 3600.0 * np.arange(99, -1, -1.0)])
    np.testing.assert_allclose(seldom.mean, hours, rtol=0.02)


def test_first_sight_is_answered_by_a_forecast_and_so_is_the_first_after_a_kill(
    prometheus: RealPrometheus, tmp_path: Path
) -> None:
    for _ in range(2):
        with serving(prometheus, tmp_path) as service:
            took_s = service.until("Recovery", "Normal", within_s=FIRST_PREDICTION_S)
            assert service.replicas() >= load(time.time()) / 20 * 0.95
            log.info("a forecast %.1f s after first sight", took_s)
            os.kill(service.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def hanging(prometheus: RealPrometheus) -> Iterator[None]:
    """It takes connections and answers nothing."""
    prometheus.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        prometheus.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def gone(prometheus: RealPrometheus) -> Iterator[None]:
    """It refuses connections."""
    prometheus.terminate()
    try:
        yield
    finally:
        prometheus.start()


@pytest.mark.parametrize(("outage", "reason"), [(hanging, "no answer within"), (gone, "cannot be asked")])
def test_an_outage_is_held_without_a_fall_then_unavailable_then_over(
    prometheus: RealPrometheus, tmp_path: Path, outage: Any, reason: str
) -> None:
    with serving(prometheus, tmp_path) as service:
        service.until("Recovery", "Normal", within_s=FIRST_PREDICTION_S)
        with outage(prometheus):
            before = service.replicas()
            service.until("Holding", within_s=STALE_S + 3)
            held, started = [], time.monotonic()
            while time.monotonic() - started < FAILED_S - STALE_S - 3:
                held.append(service.replicas())
                time.sleep(0.2)
            assert min(held) >= before
            service.until("Failed", within_s=FAILED_S)
            refusal = service.refusal()
            assert refusal.startswith("UNAVAILABLE")
            assert reason in refusal
            assert service.has_a_spec()
        took_s = service.until("Recovery", "Normal", within_s=10)
        assert service.refusal() == ""
        log.info("served again %.1f s after Prometheus is back", took_s)
        assert "Traceback" not in service.log.read_text()


def test_a_service_that_starts_during_an_outage_forecasts_once_it_is_over(
    prometheus: RealPrometheus, tmp_path: Path
) -> None:
    with serving(prometheus, tmp_path) as service:
        with hanging(prometheus):
            assert service.refusal().startswith("UNAVAILABLE")
            time.sleep(2)
            assert "no answer within" in service.refusal()
        service.until("Recovery", "Normal", within_s=60)
