"""The command `foresail backtest`: options in, question asked, answer printed and written."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from scaler import backtest, suite, summary
from scaler.core.domain import Workload
from scaler.core.simulator.load import Noise
from scaler.core.trigger import MAX_DURATION_S, duration_s
from scaler.errors import HistoryError, RequestError
from scaler.files import replace_file
from scaler.printing import console
from scaler.rangequery import fetch
from scaler.result import ORDER
from scaler.scaledobject import read as read_scaledobject
from scaler.trace import Trace, first_days, judgeable, read_csv, scalable

DEFAULT_DAYS = 14.0
"""Of a Prometheus server: two weeks, so that each hour of the week is seen twice."""
YAML = frozenset({".yaml", ".yml"})


def answer(options: Mapping[str, Any]) -> None:
    """Judge one history, or a suite.

    Raises:
        ForesailError: the options contradict each other or the history cannot be judged; nothing was written.
    """
    assumed = _assumptions(options)
    backtest.writable(options["out"])
    if options["suite"] is not None:
        _answer_suite(options, assumed)
        return
    trace, stated = _history(options)
    judgeable(trace)
    question = backtest.question_of(trace, stated, assumed)
    scalable(trace, question.workload)
    judged = backtest.judge(question, assumed.price_per_hour, Console(stderr=True))
    backtest.write(judged, options["out"])
    result = backtest.chosen(judged.result, question.controllers)
    if options["as_json"]:
        print(json.dumps(result, indent=1, allow_nan=False))
        return
    out = console()
    out.print(backtest.table_of(result))
    verdict = result["verdict"]
    for line in (verdict["sentence"], verdict["at_equal_cost"], verdict["reason"], *verdict["what_if"]):
        out.print(line, highlight=False)
    out.print(f"{options['out']}/report.html shows the rest.", highlight=False)


def _answer_suite(options: Mapping[str, Any], assumed: backtest.Assumptions) -> None:
    errors = Console(stderr=True)
    leads_s = [_duration("--leads", text) for text in options["suite_leads"].split(",")]
    found = suite.cases(options["suite"], leads_s, assumed, options["days"], errors)
    answered = suite.run(found, options["out"], errors)
    summed = summary.summary(answered)
    text = json.dumps(summed, indent=1, allow_nan=False)
    replace_file(options["out"] / "summary.json", f"{text}\n".encode())
    if options["as_json"]:
        print(text)
        return
    out = console()
    for table in summary.tables_of(summed, answered):
        out.print(table)


def _assumptions(options: Mapping[str, Any]) -> backtest.Assumptions:
    if options["capacity"] is not None and options["mean_replicas"] is not None:
        raise RequestError("--capacity states what --mean-replicas would guess: give one of them")
    for option in ("capacity", "mean_replicas", "tolerance", "slo", "price_per_replica_hour", "days"):
        if options[option] is not None and not math.isfinite(options[option]):
            raise RequestError(f"--{option.replace('_', '-')} must be a finite number, not {options[option]}")
    return backtest.Assumptions(
        lead_s=None if options["lead"] is None else _duration("--lead", options["lead"]),
        capacity=options["capacity"],
        mean_replicas=options["mean_replicas"],
        tolerance=options["tolerance"],
        slo=options["slo"],
        net=_net(options["net"]),
        controllers=_controllers(options["controllers"]),
        price_per_hour=options["price_per_replica_hour"],
        noise=Noise(options["noise"]),
        seed=options["seed"],
    )


def _duration(option: str, text: str) -> float:
    try:
        value = duration_s(text.strip())
    except ValueError as error:
        raise RequestError(f"{option} must be a duration such as 300s or 5m, not {text!r}") from error
    if not 0 < value <= MAX_DURATION_S:
        raise RequestError(f"{option} must be more than 0 and at most 6h, not {text!r}")
    return value


def _net(text: str | None) -> float | None:
    if text is None:
        return None
    kind, _, share = text.partition(":")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if kind != "cpu" or not 0 < value <= 1:
        raise RequestError(f"--net must be cpu and a utilisation of at most 1, such as cpu:0.9, not {text!r}")
    return value


def _controllers(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in ORDER:
            raise RequestError(f"--controllers: {name!r} is unknown: there are {', '.join(ORDER)}")
    return names


def _history(options: Mapping[str, Any]) -> tuple[Trace, Workload | None]:
    path: Path | None = options["history"]
    if (options["server"] is None) != (options["query"] is None):
        raise RequestError("--server and --query belong together")
    if path is None and options["server"] is None:
        raise RequestError("a history is needed: a CSV file, a ScaledObject YAML, --server and --query, or --suite DIR")
    if path is not None and options["server"] is not None:
        raise RequestError("give either a file or --server and --query, not both")
    if path is None:
        return _fetched(options["server"], options["query"], options["days"], "query"), None
    if path.suffix not in YAML:
        return _read(path, options["days"]), None
    stated = read_scaledobject(path)
    if options["load_file"] is not None:
        return _read(options["load_file"], options["days"]), stated
    query = stated.query if stated.arrival_query is None else stated.arrival_query
    if stated.server_address is None or query is None:
        raise HistoryError(f"{path}: its trigger names no serverAddress and query: give the load with --load FILE")
    return _fetched(stated.server_address, query, options["days"], stated.name), stated


def _read(path: Path, days: float | None) -> Trace:
    trace = read_csv(path)
    return trace if days is None else first_days(trace, days)


def _fetched(server: str, query: str, days: float | None, name: str) -> Trace:
    return fetch(server, query, DEFAULT_DAYS if days is None else days, time.time(), name)
