"""The real Prometheus with two weeks of history and a target that goes on counting, for tests and benchmarks.

app_requests_total   a counter whose rate is `load`: back-filled, then scraped every second
"""

import contextlib
import json
import math
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.service import free_port

DAY_S = 86_400.0
MEAN, SWING = 400.0, 200.0
EPOCH_S = 1_700_000_000.0
"""The counter began here."""


def load(t_s: float) -> float:
    """Requests per second, 200 to 600, with one season."""
    return MEAN + SWING * math.sin(2 * math.pi * t_s / DAY_S)


def count(t_s: float) -> float:
    """Requests until `t_s`: the integral of the load."""
    wave = math.cos(2 * math.pi * EPOCH_S / DAY_S) - math.cos(2 * math.pi * t_s / DAY_S)
    return MEAN * (t_s - EPOCH_S) + SWING * DAY_S / (2 * math.pi) * wave


class _App(BaseHTTPRequestHandler):
    """Counts as `count` says at the moment of the scrape."""

    def do_GET(self) -> None:
        body = f"# TYPE app_requests_total counter\napp_requests_total {count(time.time()):.3f}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Nothing is logged."""


def backfill(folder: Path, lines: Iterator[str]) -> None:
    """Turn OpenMetrics lines into blocks under `folder`/data; long blocks, for one of two hours costs a disk sync."""
    with (folder / "history.om").open("w") as file:
        file.writelines(lines)
        file.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=64h", "-q", "openmetrics"]
    subprocess.run([*command, "history.om", "data"], cwd=folder, check=True, capture_output=True, timeout=100)


def history(days: float, every_s: float = 15.0) -> Iterator[str]:
    """The counter's past up to now."""
    yield "# TYPE app_requests counter\n"
    end_s = time.time() // every_s * every_s
    for n in range(round(days * DAY_S / every_s), -1, -1):
        t_s = end_s - n * every_s
        yield f'app_requests_total{{job="app",instance="app"}} {count(t_s):.3f} {t_s:.0f}\n'


class RealPrometheus:
    """A Prometheus on a port of its own, with its data in `folder`."""

    def __init__(self, folder: Path, scrape_s: float = 1.0) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._app = ThreadingHTTPServer(("127.0.0.1", 0), _App)
        threading.Thread(target=self._app.serve_forever, daemon=True).start()
        target = f"127.0.0.1:{self._app.server_port}"
        (folder / "prometheus.yml").write_text(
            f"global: {{scrape_interval: {scrape_s:g}s}}\n"
            "scrape_configs:\n"
            f"  - job_name: app\n    static_configs: [{{targets: ['{target}'], labels: {{instance: app}}}}]\n"
        )
        self.start()

    def start(self) -> None:
        """Start, or start again, and wait until it is ready."""
        options = ["--storage.tsdb.path=data", "--storage.tsdb.retention.time=60d"]
        with (self._folder / "prometheus.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    "--config.file=prometheus.yml",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    *options,
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError((self._folder / "prometheus.log").read_text())
            time.sleep(0.1)

    def _ready(self) -> bool:
        with contextlib.suppress(OSError):
            return "Ready" in self._get("/-/ready")
        return False

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - our own server
            return str(answer.read().decode())

    def until_it_answers(self, query: str) -> None:
        """Wait until `query` gives the load of this moment: a rate needs scrapes in its whole range."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            result = json.loads(self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"))["data"][
                "result"
            ]
            if result and abs(float(result[0]["value"][1]) / load(time.time()) - 1) < 0.03:
                return
            time.sleep(0.5)
        raise AssertionError((self._folder / "prometheus.log").read_text())

    def metric(self, name: str) -> float:
        """Sum of one of Prometheus's own metrics, by the beginning of its lines."""
        lines = self._get("/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def terminate(self) -> None:
        """Stop it as an operator would; its data stay."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def close(self) -> None:
        """Stop it and its target for good."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=30)
        self._app.shutdown()
        self._app.server_close()
