"""`foresail backtest` from its input to its files."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from scaler.backtest import Assumptions, Judged, chosen, judge_here, question_of, write
from scaler.cli import main
from scaler.core.domain import Kind, Workload
from scaler.core.simulator.score import cost_at
from scaler.files import replace_file
from scaler.result import ORDER
from scaler.scaledobject import read
from scaler.trace import Trace

ROW = {
    "frontier", "iso_1pct", "iso_2pct", "iso_5pct", "replica_hours", "latency_slo_pct", "scale_events_per_hour",
    "reversals", "modes",
}  # fmt: skip


def csv_of(trace: Trace, path: Path) -> Path:
    lines = [
        f"{trace.start_s + trace.spacing_s * n:.0f},{'' if np.isnan(v) else v}" for n, v in enumerate(trace.values)
    ]
    path.write_text("timestamp,value\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def rising(days: float) -> Trace:
    minute = np.arange(round(days * 1440))
    return Trace("rising", 0.0, 60.0, 100.0 + 80.0 * np.sin(minute / 1440.0 * 2 * np.pi) + minute % 7)


def test_the_result_has_the_stated_shape(judged: Judged) -> None:
    result = judged.result
    assert {"trace", "lead_s", "controllers", "verdict"} <= set(result)
    assert tuple(result["controllers"]) == ORDER
    for row in result["controllers"].values():
        assert set(row) >= ROW
        assert all(len(point) == 3 for point in row["frontier"])
    json.dumps(result, allow_nan=False)


def test_stated_costs_can_be_read_off_the_frontier(judged: Judged) -> None:
    for name, row in judged.result["controllers"].items():
        short, cost, _ = (np.array(column, dtype=float) for column in zip(*row["frontier"], strict=True))
        for target in (1.0, 2.0, 5.0):
            stated = row[f"iso_{target:g}pct"]
            read = cost_at(short, cost, target)
            assert (stated is None) == (read is None), name
            assert stated is None or stated == pytest.approx(read, rel=1e-3)


def test_nobody_beats_the_clairvoyant_at_equal_shortage(judged: Judged) -> None:
    table = judged.result["controllers"]
    limit = table["clairvoyant"]["shown"]["cost_ratio"]
    for row in table.values():
        assert row["iso_1pct"] is None or row["iso_1pct"] >= limit - 0.02


def test_the_verdict_speaks_and_says_what_would_change_it(judged: Judged) -> None:
    verdict = judged.result["verdict"]
    assert verdict["sentence"].endswith(".")
    assert any("capacity" in line for line in verdict["what_if"])
    assert verdict["pays"] in {True, False, None}


def test_modes_are_shares_of_time(judged: Judged) -> None:
    assert sum(judged.result["controllers"]["foresail"]["modes"].values()) == pytest.approx(100.0, abs=0.1)


def test_files_appear_whole_or_not_at_all(judged: Judged, tmp_path: Path) -> None:
    write(judged, tmp_path / "out", {"digest": "x"})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "result.json"]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert next(iter(result.items())) == ("digest", "x")
    with pytest.raises(TypeError):
        replace_file(tmp_path / "broken", None)  # type: ignore[arg-type]
    assert not (tmp_path / "broken").exists()


def test_controllers_can_be_chosen(judged: Judged) -> None:
    assert list(chosen(judged.result, ("hpa_70",))["controllers"]) == ["hpa_70", "clairvoyant"]


def test_a_capacity_follows_from_the_mean_fleet_unless_one_is_stated() -> None:
    trace = rising(3.0)
    mean = float(trace.values.mean())
    assert question_of(trace, None, Assumptions()).workload.capacity == pytest.approx(mean / 14.0)
    assert question_of(trace, None, Assumptions(mean_replicas=10.0)).workload.capacity == pytest.approx(mean / 7.0)
    declared = Workload("ns", "w", "0", threshold=5.0, lead_s=90.0, slo=0.995)
    asked = question_of(trace, declared, Assumptions())
    assert (asked.workload.capacity, asked.workload.lead_s, asked.limit_pct) == (5.0, 90.0, 0.5)


SCALED_OBJECT = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: shop, namespace: web}
spec:
  minReplicaCount: 2
  maxReplicaCount: 30
  triggers:
  - type: cron
    metadata: {timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: "3"}
  - type: prometheus
    metadata: {serverAddress: "http://prometheus:9090", query: "sum(rate(x[1m]))", threshold: "20", metricName: old}
"""


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["backtest", *arguments])
    assert result.exit_code == 2, result.output
    return result.output


def test_what_cannot_be_judged_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    short = csv_of(rising(1.0), tmp_path / "short.csv")
    assert "1.0 days of history" in refused(str(short), "--out", str(out))
    long = csv_of(rising(3.0), tmp_path / "long.csv")
    assert "one replica of capacity 1000" in refused(str(long), "--capacity", "1000", "--out", str(out))
    assert "--lead must be a duration" in refused(str(long), "--lead", "soon", "--out", str(out))
    assert "--net must be cpu" in refused(str(long), "--net", "memory:1", "--out", str(out))
    assert "'hpa' is unknown" in refused(str(long), "--controllers", "hpa", "--out", str(out))
    assert "give one of them" in refused(str(long), "--capacity", "9", "--mean-replicas", "9")
    assert "a history is needed" in refused()
    assert "belong together" in refused("--query", "up")
    (tmp_path / "empty").mkdir()
    assert "no CSV file in it" in refused("--suite", str(tmp_path / "empty"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda minute, _: (minute, "0"), "the load is zero throughout"),
        (lambda minute, _: (minute, "7"), "the load is 7 throughout"),
        (lambda minute, line: (minute, "-3" if line == 99 else "3"), "a load must not be negative, not -3"),
        (lambda minute, line: (minute - (line == 99), str(line)), "the same stamp as the line before it"),
        (lambda minute, line: (minute + 0.4 * (line == 99), str(line)), "irregular stamps"),
        (lambda minute, line: (minute, "" if line % 3 else str(line)), "67 % of the samples are missing"),
        (lambda minute, line: (minute, str(line) if line < 2000 else "0"), "no load in its last 40 %"),
    ],
)
def test_a_series_that_cannot_be_judged_is_refused_by_the_command(
    tmp_path: Path, changed: Callable[[int, int], tuple[float, str]], words: str
) -> None:
    rows = (changed(line, line) for line in range(3 * 1440))
    path, out = tmp_path / "odd.csv", tmp_path / "out"
    path.write_text("".join(f"{60 * minute},{value}\n" for minute, value in rows), encoding="utf-8")
    assert words in refused(str(path), "--out", str(out))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["odd.csv"]


def test_a_saturated_workload_and_a_dead_server_are_refused_by_the_command(tmp_path: Path) -> None:
    load = csv_of(rising(3.0), tmp_path / "rising.csv")
    shop, out = tmp_path / "shop.yaml", str(tmp_path / "out")
    shop.write_text(SCALED_OBJECT.replace("maxReplicaCount: 30", "maxReplicaCount: 2"), encoding="utf-8")
    assert "every step is saturated" in refused(str(shop), "--load", str(load), "--capacity", "5", "--out", out)
    assert "cannot be asked" in refused("--server", "http://127.0.0.1:9", "--query", "up", "--out", out)
    assert "--out" in refused(str(load), "--out", str(load / "below"))
    assert "finite" in refused(str(load), "--capacity", "nan", "--out", out)
    for bound in ("many", "2.5", "-1"):
        shop.write_text(SCALED_OBJECT.replace("minReplicaCount: 2", f"minReplicaCount: {bound}"), encoding="utf-8")
        assert "minReplicaCount must be a whole number of replicas" in refused(str(shop), "--out", out)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["rising.csv", "shop.yaml"]


def test_a_query_that_matches_nothing_is_refused_by_the_command(tmp_path: Path) -> None:
    with nothing_there() as server:
        said = refused("--server", server, "--query", "up{job='none'}", "--out", str(tmp_path / "out"))
    assert "matches nothing on" in said
    assert not list(tmp_path.iterdir())


@contextmanager
def nothing_there() -> Iterator[str]:
    """A Prometheus API that has no series."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_is_not_asked_for_is_not_computed_and_changes_nothing_else(judged: Judged) -> None:
    few = judge_here(replace(judged.scene.question, controllers=("hpa_70",)))
    assert "calibration" not in few.heats
    assert {"max_reactive_forecast", "last_value", "hpa_80"}.isdisjoint(few.result["controllers"])
    for name, row in few.result["controllers"].items():
        assert row == judged.result["controllers"][name]
    everything = {key: value for key, value in judged.result["verdict"].items() if key != "saved_per_month"}
    assert few.result["verdict"] == everything


def test_short_load_at_equal_cost_is_the_second_headline(judged: Judged) -> None:
    result = judged.result
    reactive = result["controllers"]["hpa_hindsight"]
    assert result["equal_cost"] == pytest.approx(reactive["iso_1pct"] or reactive["shown"]["cost_ratio"])
    if reactive["iso_1pct"] is not None:
        assert reactive["short_at_equal_cost_pct"] == pytest.approx(1.0, rel=0.05)
    assert result["controllers"]["clairvoyant"]["short_at_equal_cost_pct"] < 0.1
    assert result["controllers"]["hpa_70"]["short_at_equal_cost_pct"] is None
    assert result["verdict"]["at_equal_cost"].startswith("At equal cost, ")


def test_a_scaledobject_states_workload_and_bounds(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(SCALED_OBJECT, encoding="utf-8")
    workload = read(path)
    assert (workload.namespace, workload.name, workload.threshold) == ("web", "shop", 20.0)
    assert (workload.min_replicas, workload.max_replicas) == (2, 30)
    assert workload.server_address == "http://prometheus:9090"
    path.write_text("kind: Deployment\n", encoding="utf-8")
    assert "no ScaledObject in it" in refused(str(path))
    path.write_text(SCALED_OBJECT.replace("threshold", "treshold"), encoding="utf-8")
    assert "with a threshold" in refused(str(path))


def test_the_command_judges_a_file_in_processes(tmp_path: Path) -> None:
    path = csv_of(rising(2.1), tmp_path / "rising.csv")
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["backtest", str(path), "--lead", "1m", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((out / "result.json").read_text())
    assert (out / "report.html").stat().st_size > 1_000_000


def test_a_suite_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    folder, out = tmp_path / "traces", tmp_path / "out"
    folder.mkdir()
    csv_of(rising(2.1), folder / "rising.csv")
    csv_of(rising(0.5), folder / "short.csv")
    arguments = ["backtest", "--suite", str(folder), "--leads", "60", "--out", str(out), "--json"]
    arguments += ["--controllers", "hpa_70"]
    first = CliRunner().invoke(main, arguments)
    assert first.exit_code == 0, first.output
    stamp = (out / "rising-60s" / "result.json").stat().st_mtime_ns
    second = CliRunner().invoke(main, arguments)
    assert (out / "rising-60s" / "result.json").stat().st_mtime_ns == stamp
    assert sorted(path.name for path in (out / "rising-60s").iterdir()) == ["blocks.npz", "report.html", "result.json"]
    assert json.loads(first.stdout) == json.loads(second.stdout) == json.loads((out / "summary.json").read_text())
    assert "left out" in first.stderr
    summed = json.loads(first.stdout)
    assert summed["verdicts"][0]["case"] == "rising-60s"
    assert list(summed["controllers"]) == ["hpa_70", "hpa_hindsight", "foresail", "foresail_shipped", "clairvoyant"]
    assert summed["controllers"]["hpa_hindsight"]["iso_1pct"]["geometric_mean"] in {1.0, None}


def test_a_queue_is_judged_by_the_age_of_its_oldest_message() -> None:
    trace = rising(2.1)
    workload = Workload(
        "shop", "mail", "0", threshold=300.0, capacity=10.0, kind=Kind.QUEUE, lead_s=60.0, latency_target_s=60.0
    )
    table = judge_here(question_of(trace, workload, Assumptions())).result["controllers"]
    assert table["clairvoyant"]["frontier"][0][0] < 0.5
    assert table["foresail_shipped"]["shown"]["short_pct"] < table["hpa_80"]["shown"]["short_pct"] + 1.0
    assert table["foresail_shipped"]["shown"]["cost_ratio"] < 3.0


@pytest.mark.process
def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    pipe, out = tmp_path / "rising.csv", tmp_path / "out"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "scaler", "backtest", str(pipe), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    # Its history is read to the end, and three weeks take far longer to judge than the signal takes to arrive.
    pipe.write_bytes(csv_of(rising(21.0), tmp_path / "source.csv").read_bytes())
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert b"nothing was written" in said
    assert not out.exists()
