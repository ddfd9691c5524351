"""The real process: `foresail serve --demo`, asked as KEDA asks, killed and started again."""

import contextlib
import json
import os
import re
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
import pytest

from scaler.proto import externalscaler_pb2 as pb
from tests.service import free_port

pytestmark = pytest.mark.process
READY_WITHIN_S = 30.0
"""Bound on a loaded machine; how soon it is on a quiet one is a benchmark's business."""


class Service:
    """A running `foresail serve --demo`."""

    def __init__(self, folder: Path) -> None:
        self.grpc_port, self.http_port = free_port(), free_port()
        self.log = folder / "log"
        arguments = ["--grpc-listen", f"127.0.0.1:{self.grpc_port}", "--http-listen", f"127.0.0.1:{self.http_port}"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scaler", "serve", "--demo", "--var", str(folder / "var"), *arguments],
                stderr=log,
                stdout=log,
            )

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            return json.load(answer)

    def until_forecasting(self) -> dict[str, Any]:
        """Wait until every demo workload is decided on a forecast; the list of workloads."""
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                listed: dict[str, Any] = self.get("/v1/workloads")
                if all(
                    w["mode"] in {"Recovery", "Normal"} and w["predictive"] is not None for w in listed["workloads"]
                ):
                    return listed
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path)
    yield started
    started.process.kill()
    started.process.wait()


def polled(port: int, workload: dict[str, Any]) -> tuple[float, bool]:
    """One poll as KEDA does it, over a connection of its own: spec, metrics, activity."""
    calls = {
        "GetMetricSpec": (pb.ScaledObjectRef, pb.GetMetricSpecResponse),
        "GetMetrics": (pb.GetMetricsRequest, pb.GetMetricsResponse),
        "IsActive": (pb.ScaledObjectRef, pb.IsActiveResponse),
    }
    ref = pb.ScaledObjectRef(
        name=workload["name"], namespace=workload["namespace"], scalerMetadata={"scalerAddress": f"127.0.0.1:{port}"}
    )
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = {
            name: channel.unary_unary(
                f"/externalscaler.ExternalScaler/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            for name, (_, answer) in calls.items()
        }
        spec = ask["GetMetricSpec"](ref, timeout=5).metricSpecs
        assert [(s.metricName, s.targetSize) for s in spec] == [("predicted-replicas", 1)]
        metrics = ask["GetMetrics"](pb.GetMetricsRequest(scaledObjectRef=ref, metricName=spec[0].metricName), timeout=5)
        assert len(metrics.metricValues) == 1
        return metrics.metricValues[0].metricValueFloat, ask["IsActive"](ref, timeout=5).result


def test_keda_gets_forecast_answers_and_the_same_after_a_kill(service: Service, tmp_path: Path) -> None:
    before = service.until_forecasting()["workloads"]
    for workload in before:
        value, active = polled(service.grpc_port, workload)
        assert active == (value > 0)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    again = Service(tmp_path)
    try:
        after = again.until_forecasting()["workloads"]
        assert [w["name"] for w in after] == [w["name"] for w in before]
        for workload in after:
            polled(again.grpc_port, workload)
    finally:
        again.process.kill()
        again.process.wait()


def test_a_terminated_service_drains_and_leaves_cleanly(service: Service) -> None:
    service.until_forecasting()
    service.process.terminate()
    assert service.process.wait(timeout=20) == 0
    log = service.log.read_text()
    assert "draining" in log
    assert "Traceback" not in log


def test_an_address_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scaler", "serve", "--grpc-listen", "nowhere", "--var", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert re.search(r"grpc_listen: .*must be address:port.*not 'nowhere'", done.stderr)


def test_check_says_what_keda_and_the_hpa_would_do(service: Service) -> None:
    service.until_forecasting()
    command = [sys.executable, "-m", "scaler", "check", f"127.0.0.1:{service.grpc_port}", "--namespace", "shop"]
    good = subprocess.run(
        [*command, "--name", "frontend", "--replicas", "1", "--max", "60"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert good.returncode == 0, good.stdout + good.stderr
    assert re.search(r"ok    HPA: 1 replicas now, the value asks for \d+", good.stdout)
    bad = subprocess.run(
        [*command, "--name", "frontend", "-m", "capasity=5"], capture_output=True, text=True, timeout=30, check=False
    )
    assert bad.returncode == 2
    assert "INVALID_ARGUMENT: unknown key 'capasity': did you mean 'capacity'?" in bad.stderr
