"""The commands that ask a running service: `foresail explain` and `foresail status`."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scaler.inquiry import Service, path_of, service_at
from scaler.printing import as_json, console, table
from scaler.reasons import number

STYLES = {"Normal": "green", "Recovery": "cyan", "Learning": "blue", "Retraining": "yellow", "Degraded": "yellow"}
"""Colours of modes; those that are not here are red."""
NOTHING = "–"


def service_of(options: Mapping[str, Any]) -> Service:
    """The service that the options name. Raises RequestError where they cannot be used."""
    return service_at(options["url"], options["tls_ca"], options["tls_cert"], options["tls_key"])


def explain(workload: str, options: Mapping[str, Any]) -> None:
    """Print why a workload got its number."""
    query = {} if options["at"] is None else {"at": options["at"]}
    said = service_of(options).get(path_of(workload, "/explain"), **query)
    out = console()
    if options["as_json"]:
        print(as_json(said))
        return
    out.print(Text(said["headline"], style="bold"))
    for sentence in said["sentences"]:
        out.print(Text(sentence))
    parts = (said["forecast"] or {}).get("parts")
    if parts and out.is_terminal:
        out.print(_parts(parts, said["forecast"]["load"]))


def _parts(parts: Mapping[str, float], total: float) -> Table:
    out, largest = console(), max(*map(abs, parts.values()), 1e-300)
    rows = [[name, number(value), "█" * round(20 * abs(value) / largest)] for name, value in parts.items()]
    return table(out, ["part", "load", ""], [*rows, ["all", number(total), ""]])


def status(options: Mapping[str, Any]) -> None:
    """Print all workloads, once or again and again until interrupted."""
    service, every_s = service_of(options), options["watch"]
    out = console()
    if every_s is None or options["as_json"] or not out.is_terminal:
        for said in _answers(service, every_s):
            if options["as_json"]:
                print(as_json(_chosen(said, options["namespace"])), flush=True)
            else:
                out.print(_shown(_chosen(said, options["namespace"])))
        return
    with Live(console=out, screen=True, auto_refresh=False) as live:
        for said in _answers(service, every_s):
            live.update(_shown(_chosen(said, options["namespace"])), refresh=True)


def _answers(service: Service, every_s: float | None) -> Iterator[dict[str, Any]]:
    yield service.get("/v1/workloads")
    while every_s is not None:
        time.sleep(every_s)
        yield service.get("/v1/workloads")


def _chosen(said: dict[str, Any], namespace: str | None) -> dict[str, Any]:
    """The answer with the workloads of one namespace, or with all."""
    listed = [w for w in said["workloads"] if namespace is None or w["namespace"] == namespace]
    return {**said, "workloads": listed}


def _shown(said: Mapping[str, Any]) -> Group:
    out, listed = console(), said["workloads"]
    if not listed:
        return Group(Text("No workload is tracked: none is declared in the settings, and KEDA has asked for none."))
    columns = ["workload", "mode", "load", "replicas", "decided", "HPA rule", "forecast", "remark"]
    lines: list[RenderableType] = [table(out, columns, [_row(one) for one in listed], words=2), Text(_summary(listed))]
    if said["journal"] is not None:
        lines.append(Text(f"Decisions are kept in memory only: {said['journal']}", style="red"))
    return Group(*lines)


def _row(one: Mapping[str, Any]) -> list[str]:
    mode = f"[{STYLES.get(one['mode'], 'red')}]{one['mode']}[/]"
    counts = [one[name] for name in ("replicas", "predicted_replicas", "reactive", "predictive")]
    load = NOTHING if one["load"] is None else number(one["load"])
    unused = f"not used yet: {', '.join(one['inactive_keys'])}" if one["inactive_keys"] else ""
    remark = escape("; ".join(filter(None, [one["trouble"], unused])))
    return [
        escape(f"{one['namespace']}/{one['name']}"),
        mode,
        load,
        *(NOTHING if count is None else f"{count:,}" for count in counts),
        remark,
    ]


def _summary(listed: list[dict[str, Any]]) -> str:
    modes = sorted({one["mode"] for one in listed})
    told = ", ".join(f"{sum(one['mode'] == mode for one in listed)} {mode}" for mode in modes)
    troubled = sum(one["trouble"] is not None for one in listed)
    trouble = f"; the load of {troubled} cannot be read" if troubled else ""
    return f"{len(listed):,} workload{'' if len(listed) == 1 else 's'}: {told}{trouble}."
