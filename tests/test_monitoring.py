"""Dashboards, rules and runbooks: current, complete, and every query in them answered."""

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from manifests.alerts import rules
from manifests.dashboards import dashboards
from scaler.access import Access
from scaler.chores import Chores
from scaler.core.domain import Running
from scaler.curves import Curves
from scaler.grafana import PREFIX, Door
from scaler.prometheus import PrometheusSource
from scaler.push import PushedLoad
from scaler.sources import NoCluster
from scaler.telemetry import ClusterCollector, EngineCollector, SourceCollector, registry_of
from scaler.web import application
from tests.service import declared, free_port, loop_of, some_engine, tick
from tests.test_manifests import build

ROOT = Path(__file__).parents[1]
CHOSEN = {"$namespace": "shop", "$workload": "web", "$job": "foresail", "$__rate_interval": "1m"}
EIGHT = Running(8, 7, 1, 100, 0.1)


def panels(name: str) -> list[dict[str, Any]]:
    return list(json.loads(dashboards.files()[f"{name}.json"])["panels"])


def queries(name: str) -> list[tuple[str, bool]]:
    """Queries of a dashboard with its variables chosen, and whether each is an instant one."""
    found = []
    for panel in panels(name):
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in CHOSEN.items():
                text = text.replace(variable, value)
            assert "$" not in text
            found.append((text, target["instant"]))
    return found


@pytest.mark.parametrize(("folder", "made"), [("dashboards", dashboards.files()), ("alerts", rules.files())])
def test_what_is_checked_in_is_what_the_code_makes(folder: str, made: dict[str, str]) -> None:
    for name, text in made.items():
        assert (ROOT / "manifests" / folder / name).read_text() == text, "make monitoring"


@pytest.mark.parametrize("name", ["workload", "fleet", "itself"])
def test_every_panel_says_what_it_shows_in_which_unit(name: str) -> None:
    places = set()
    for panel in panels(name):
        assert len(panel["description"]) > 20, panel["title"]
        fields = panel["fieldConfig"]
        units = [fields["defaults"].get("unit"), *(p["value"] for o in fields["overrides"] for p in o["properties"]
                                                   if p["id"] == "unit")]  # fmt: skip
        assert panel["type"] == "state-timeline" or any(units), panel["title"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & cells
        assert max(x for x, _ in cells) < 24
        places |= cells


def test_the_dashboards_lead_to_each_other_and_to_the_status_page() -> None:
    made = {name: json.loads(text) for name, text in dashboards.files().items()}
    uids = {one["uid"] for one in made.values()}
    told = {"${page}/#/$namespace/$workload", "${page}/v1/workloads/$namespace/$workload/explain"}
    for one in made.values():
        for link in one["links"]:
            leads = re.match(r"/d/([\w-]+)$", link["url"])
            assert (leads and leads[1] in uids) or link["url"] in told


async def test_every_query_about_workloads_is_answered_by_foresail() -> None:
    engine, _, clock = some_engine(running=EIGHT)
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web")))
        await tick(engine, clock, 300)
        app = web.Application()
        app.add_routes(Door(engine, Curves(engine)).routes())
        async with TestClient(TestServer(app)) as client:
            for name in ("workload", "fleet"):
                for text, instant in queries(name):
                    grid = {"time": clock.now_s} if instant else {
                        "start": clock.now_s - 3600.0, "end": clock.now_s + 3600.0, "step": 30
                    }  # fmt: skip
                    path = "query" if instant else "query_range"
                    answer = await client.post(f"{PREFIX}/api/v1/{path}", data={"query": text, **grid})
                    body = await answer.json()
                    assert answer.status == 200, (text, body)
                    may_be_empty = ("arrivals", "guardrail", "model_age")
                    assert body["data"]["result"] or any(word in text for word in may_be_empty), text


def test_the_rules_pass_promtool() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    for command in (
        ["promtool", "check", "rules", "--lint-fatal", "manifests/alerts/rules.yaml"],
        ["promtool", "test", "rules", "tests/rules/foresail.test.yaml"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_and_every_recorded_name_is_tried_by_promtool_and_has_its_runbook() -> None:
    tried = (ROOT / "tests/rules/foresail.test.yaml").read_text()
    listed = (ROOT / "docs/runbooks/README.md").read_text()
    for name in rules.RECORDED:
        assert f"- expr: {name}\n" in tried
    for alert in rules.ALERTS:
        name = alert["alert"]
        assert tried.count(f"alertname: {name}\n") == 2, f"{name}: when it fires and when it does not"
        page = (ROOT / f"docs/runbooks/{name}.md").read_text()
        assert page.startswith(f"# {name}\n")
        assert "**Look**" in page
        assert f"| [{name}]({name}.md) | {alert['labels']['severity']} |" in listed
        assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


def test_the_operators_rules_are_the_plain_ones() -> None:
    made = rules.files()
    assert yaml.safe_load(made["prometheusrule.yaml"])["spec"] == yaml.safe_load(made["rules.yaml"])
    (built,) = build("alerts")
    assert (built["kind"], built["metadata"]["namespace"]) == ("PrometheusRule", "foresail")


def test_grafanas_sidecar_finds_dashboards_and_data_source_by_their_labels() -> None:
    found = {item["metadata"]["name"]: item for item in build("dashboards")}
    shown, source = found["foresail-dashboards"], found["foresail-datasource"]
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text)["uid"] for name, text in shown["data"].items()} == {
        f"{name}.json": f"foresail-{name}" for name in ("workload", "fleet", "itself")
    }
    assert source["metadata"]["labels"]["grafana_datasource"] == "1"
    (one,) = yaml.safe_load(source["data"]["datasource.yaml"])["datasources"]
    assert one["url"] == f"http://foresail-http.foresail:8080{PREFIX}"


@contextlib.contextmanager
def prometheus_of(folder: Path, target: str) -> Iterator[str]:
    """A real Prometheus with our rules that scrapes `target` every second."""
    shutil.copy(ROOT / "manifests/alerts/rules.yaml", folder / "rules.yaml")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n"
        f"scrape_configs:\n  - job_name: foresail\n    static_configs: [{{targets: ['{target}']}}]\n"
    )
    port = free_port()
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1/"
        finally:
            process.terminate()


def asked(url: str, **parameters: str) -> Any:
    """The data of an answer of Prometheus."""
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=5) as answer:  # noqa: S310
        return json.load(answer)["data"]


def until(api: str, query: str) -> None:
    """Wait until Prometheus has something to say."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if asked(api + "query", query=query)["result"]:
                return
        time.sleep(0.2)
    raise AssertionError(f"no answer to {query}")


@pytest.mark.process
async def test_every_query_about_scraped_metrics_is_answered_by_a_real_prometheus(tmp_path: Path) -> None:
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    engine, _, clock = some_engine(running=EIGHT)
    async with loop_of(engine):
        await engine.first(engine.declare(declared("web", maxReplicas="20")))
        await tick(engine, clock, 3)
        engine.latency.observe("GetMetrics", 0.0004)
        collectors = (
            EngineCollector(engine),
            ClusterCollector(engine, None, Chores(engine, NoCluster(), None)),  # type: ignore[arg-type]
            SourceCollector(PrometheusSource(()), PushedLoad(None)),
        )
        app = application(engine, registry_of(*collectors), PushedLoad(None), Access(None, loopback=True))
        async with TestServer(app) as server:
            await asyncio.to_thread(examine, tmp_path, f"127.0.0.1:{server.port}")


def examine(folder: Path, target: str) -> None:
    silent = ("foresail_source_quer", "foresail_cluster_requests", "rpc_seconds")  # no server, no cluster, one call
    with prometheus_of(folder, target) as api:
        until(api, "rate(foresail_ticks_total[1m])")
        for text, _ in queries("itself"):
            assert asked(api + "query", query=text)["result"] or any(word in text for word in silent), text
        for name, expr in rules.RECORDED.items():
            assert asked(api + "query", query=expr)["result"], name
        for alert in rules.ALERTS:
            assert asked(api + "query", query=alert["expr"])["resultType"] == "vector"
        (drift,) = asked(api + "query", query=rules.RECORDED["model_data_drift_score"])["result"]
        assert drift["metric"] == {"namespace": "shop", "service": "web"}
        loaded = [rule for group in asked(api + "rules")["groups"] for rule in group["rules"]]
        assert len(loaded) == len(rules.RECORDED) + len(rules.ALERTS)
        assert not [rule["lastError"] for rule in loaded if rule.get("lastError")]
