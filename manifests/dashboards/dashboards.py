"""The Grafana dashboards, as code: `python manifests/dashboards/dashboards.py` writes the JSON files beside it.

Workload and Fleet ask Foresail itself (a Prometheus data source at …:8080/prometheus), which knows what is to come;
Foresail asks the Prometheus that scrapes /metrics.
"""

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]
HERE = Path(__file__).parent
LEVELS = ("0.5", "0.9", "0.97", "0.99", "0.995")
FAN = ("#8ab8ff", "#6ea6ff", "#5794f2", "#3274d9", "#1f60c4")
MODES = {
    "Learning": "#8e8e8e", "Recovery": "#5794f2", "Normal": "#37872d", "Degraded": "#fa6400", "Retraining": "#a352cc",
    "Holding": "#e0b400", "Failed": "#c4162a",
}  # fmt: skip
ONE = '{namespace="$namespace", workload="$workload"}'
MANY = '{namespace=~"$namespace"}'
WIDTH = 24


def series(name: str, selector: str, **labels: str) -> str:
    """A selector of one name with more labels; a value that begins with ~ is a pattern."""
    more = [
        f', {label}=~"{value[1:]}"' if value[0] == "~" else f', {label}="{value}"' for label, value in labels.items()
    ]
    return f"{name}{selector[:-1]}{''.join(more)}}}"


def target(expr: str, legend: str, *, instant: bool = False) -> Json:
    """One query of a panel."""
    said: Json = {"expr": expr, "legendFormat": legend, "range": not instant, "instant": instant}
    return {**said, "format": "table"} if instant else said


def panel(kind: str, title: str, description: str, targets: list[Json], size: tuple[int, int], **more: Any) -> Json:
    """A panel without its place; `more` goes into fieldConfig.defaults but for overrides, options and the like."""
    outside = {key: more.pop(key) for key in ("options", "transformations", "links") if key in more}
    custom, overrides = more.pop("custom", {}), more.pop("overrides", [])
    for number, one in enumerate(targets):
        one["refId"] = chr(ord("A") + number)
        one["datasource"] = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": targets,
        "fieldConfig": {"defaults": {"custom": custom, **more}, "overrides": overrides},
        **outside,
    }


def override(name: str, **properties: Any) -> Json:
    """Properties of the series of one name; `__` stands for a dot."""
    found = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def colour(name: str, value: str, **properties: Any) -> Json:
    """A series in one colour."""
    return override(name, color={"mode": "fixed", "fixedColor": value}, **properties)


LEGEND = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
LINES = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": 120_000}
STEPS = {**LINES, "lineInterpolation": "stepAfter", "lineWidth": 2}


def load_panel() -> Json:
    """Load, its forecast as a fan into the future, and what the replicas can bear."""
    targets = [target(f"foresail_load{ONE}", "load"), target(f"foresail_arrivals{ONE}", "arrivals"),
               target(series("foresail_capacity_load", ONE, kind="serving"), "capacity")]  # fmt: skip
    targets += [target(f"foresail_day_peak_load{ONE}", "peak of the hour")]
    targets += [target(series("foresail_forecast_load", ONE, level=level), f"forecast {level}") for level in LEVELS]
    fan = [
        colour(f"forecast {upper}", shade, custom__fillBelowTo=f"forecast {lower}", custom__fillOpacity=18, custom__lineWidth=0)
        for lower, upper, shade in zip(LEVELS, LEVELS[1:], FAN[1:], strict=False)
    ]  # fmt: skip
    lines = [
        colour("load", "#ff9830", custom__lineWidth=2),
        colour("arrivals", "#ff9830", custom__lineWidth=2),
        colour("capacity", "#73bf69", custom__lineWidth=1, custom__lineStyle={"fill": "dash", "dash": [8, 6]}),
        colour("peak of the hour", "#b877d9", custom__lineWidth=1, custom__lineInterpolation="stepAfter"),
        colour("forecast 0.5", FAN[0], custom__lineWidth=1, custom__lineStyle={"fill": "dash", "dash": [4, 4]}),
    ]
    return panel(
        "timeseries",
        "Load and forecast",
        "The load, what the serving replicas can bear, and the forecast: left of now as it was made a lead window"
        " before, right of now as it stands. The band reaches from the median to the 99.5 % quantile; further ahead"
        " the largest load of each hour. A queue's forecast is of its arrivals.",
        targets,
        (24, 11),
        unit="short",
        custom=LINES,
        overrides=fan + lines,
        options=LEGEND,
    )


def replicas_panel() -> Json:
    """What serves, what was needed, what the HPA would have."""
    kinds = {"served": "decided by Foresail", "observed": "running", "ready": "ready", "required": "needed by the load",
             "reactive_alone": "the HPA alone", "forecast": "by the forecast alone"}  # fmt: skip
    targets = [target(series("foresail_replicas", ONE, kind=kind), legend) for kind, legend in kinds.items()]
    return panel(
        "timeseries",
        "Replicas",
        "Decided, running and ready; what the load that came needed; what the HPA's rule would have run alone; and what"
        " the forecast alone wants, into the future.",
        targets,
        (24, 9),
        unit="short",
        decimals=0,
        custom=STEPS,
        overrides=[
            colour("decided by Foresail", "#5794f2"),
            colour("needed by the load", "#ff9830"),
            colour("the HPA alone", "#8e8e8e", custom__lineStyle={"fill": "dash", "dash": [8, 6]}),
            colour("by the forecast alone", "#8ab8ff", custom__lineStyle={"fill": "dash", "dash": [4, 4]}),
        ],
        options=LEGEND,
    )


def mode_panel(expr: str, size: tuple[int, int]) -> Json:
    """A lane per mode that occurred."""
    return panel(
        "state-timeline",
        "Mode",
        "Which mode was served when: Normal follows the forecast, Recovery earns it, the others serve the reactive rule"
        " or hold.",
        [target(expr, "{{mode}}")],
        size,
        custom={"fillOpacity": 80, "lineWidth": 0},
        mappings=[{"type": "value", "options": {"1": {"text": " "}}}],
        overrides=[colour(mode, shade) for mode, shade in MODES.items()],
        options={"showValue": "never", "rowHeight": 0.8, "legend": {"showLegend": False}},
    )


def guardrail_panel() -> Json:
    """Replicas that guardrails added or took."""
    return panel(
        "timeseries",
        "Guardrails",
        "Replicas that each guardrail added (up) or took away (down); nothing while none moved the number.",
        [target(f"foresail_guardrail_replicas{ONE} != 0", "{{guardrail}}")],
        (24, 6),
        unit="short",
        decimals=0,
        custom={"drawStyle": "bars", "fillOpacity": 70, "lineWidth": 0, "stacking": {"mode": "normal"}},
        options=LEGEND,
    )


def stat(title: str, description: str, expr: str, size: tuple[int, int], **more: Any) -> Json:
    """One number."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    return panel("stat", title, description, [target(expr, title)], size, options=options, **more)


def saving(selector: str) -> str:
    """Replica-hours of the last day beside those of the HPA alone, −0.1: a tenth less."""
    day = [
        f"sum by (namespace, workload) (avg_over_time({series('foresail_replicas', selector, kind=kind)}[1d]))"
        for kind in ("served", "reactive_alone")
    ]
    return f"{day[0]} / {day[1]} - 1"


GOOD_BELOW = {"mode": "absolute", "steps": [{"color": "green", "value": None}, {"color": "orange", "value": 0.1},
                                            {"color": "red", "value": 0.3}]}  # fmt: skip
GOOD_ABOVE = {"mode": "absolute", "steps": [{"color": "red", "value": None}, {"color": "orange", "value": 0.93},
                                            {"color": "green", "value": 0.955}]}  # fmt: skip


def workload() -> Json:
    """One workload: the whole picture."""
    small = (4, 4)
    return dashboard(
        "workload",
        "Foresail / Workload",
        "Load, forecast, capacity and replicas of one workload, with the future in it.",
        [
            stat("Lead window", "How far ahead a replica that is asked for now will serve.",
                 f"foresail_lead_seconds{ONE}", small, unit="s"),
            stat("Coverage of the 97 % bound", "Share of the last day's lead windows whose peak stayed below its"
                 " 97 % bound: 97 % is honest.", series("foresail_coverage", ONE, level="0.97"), small, unit="percentunit", decimals=1,
                 thresholds=GOOD_ABOVE),
            stat("Drift", "How far load and errors have drifted; above 0.3 the forecast is not trusted.",
                 f"foresail_drift_score{ONE}", small, unit="percentunit", decimals=0, thresholds=GOOD_BELOW),
            stat("Earned", "Share of a scale-down that the forecast has earned.", f"foresail_earned_ratio{ONE}", small,
                 unit="percentunit", decimals=0),
            stat("Replica-hours in a day", "Average of the last day times 24, decided by Foresail.", f"24 * avg_over_time({series('foresail_replicas', ONE, kind='served')}[1d])",
                 small, unit="short", decimals=0),
            stat("Against the HPA alone", "Replica-hours of the last day beside those of the reactive rule alone:"
                 " below zero is saved.", saving(ONE), small, unit="percentunit", decimals=1,
                 thresholds=GOOD_BELOW),
            load_panel(),
            replicas_panel(),
            mode_panel(f"foresail_mode{ONE} > 0", (24, 6)),
            guardrail_panel(),
            panel("timeseries", "Coverage", "Share of the last day's lead windows whose largest load stayed below what"
                  " was forecast of it, by level: each should run at its own height.",
                  [target(f"foresail_coverage{ONE}", "{{level}}")], (12, 7), unit="percentunit", custom=LINES,
                  options=LEGEND),
            panel("timeseries", "Lead window and model age", "Seconds that are forecast over, and the age of what the"
                  " model has learnt from.", [target(f"foresail_lead_seconds{ONE}", "lead window"),
                                              target(f"foresail_model_age_seconds{ONE}", "model age")], (12, 7),
                  unit="s", custom=LINES, options=LEGEND),
        ],
        variables=[
            variable("namespace", "label_values(foresail_load, namespace)"),
            variable("workload", 'label_values(foresail_load{namespace="$namespace"}, workload)'),
            address(),
        ],
        span=("now-3h", "now+2h"),
        links=[link("Why this number? (status page)", "${page}/#/$namespace/$workload"),
               link("Explain", "${page}/v1/workloads/$namespace/$workload/explain"),
               link("Fleet", "/d/foresail-fleet")],
    )  # fmt: skip


def table_panel() -> Json:
    """All workloads with what tells which to look at first."""
    columns = {
        "Drift": f"foresail_drift_score{MANY}",
        "Coverage of 97 %": f"sum by (namespace, workload) ({series('foresail_coverage', MANY, level='0.97')})",
        "Cost against the HPA alone": saving(MANY),
        "Replicas": f"sum by (namespace, workload) ({series('foresail_replicas', MANY, kind='served')})",
        "Model age": f"foresail_model_age_seconds{MANY}",
        "Lead window": f"foresail_lead_seconds{MANY}",
    }
    named = {f"Value #{chr(ord('A') + n)}": name for n, name in enumerate(columns)}
    seen = "/d/foresail-workload?var-namespace=${__data.fields.namespace}&var-workload=${__data.fields.workload}"
    return panel(
        "table",
        "Workloads, the most drifted first",
        "One line per workload; its name leads to its own dashboard.",
        [target(expr, name, instant=True) for name, expr in columns.items()],
        (24, 12),
        overrides=[
            override("Drift", unit="percentunit", thresholds=GOOD_BELOW, custom__cellOptions={"type": "color-text"}),
            override("Coverage of 97 %", unit="percentunit", decimals=1, thresholds=GOOD_ABOVE,
                     custom__cellOptions={"type": "color-text"}),
            override("Cost against the HPA alone", unit="percentunit", decimals=1),
            override("Model age", unit="s"),
            override("Lead window", unit="s"),
            override("workload", links=[{"title": "Workload", "url": seen}]),
        ],
        transformations=[
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True}, "renameByName": named}},
        ],
        options={"sortBy": [{"displayName": "Drift", "desc": True}]},
    )  # fmt: skip


def fleet() -> Json:
    """All workloads."""
    return dashboard(
        "fleet",
        "Foresail / Fleet",
        "Which workloads to look at: drift, coverage, cost, modes and the age of models.",
        [
            panel("timeseries", "Modes", "Workloads by the mode that is served.",
                  [target(f"sum by (mode) (foresail_mode{MANY})", "{{mode}}")], (12, 8), unit="short", decimals=0,
                  custom={**STEPS, "fillOpacity": 40, "stacking": {"mode": "normal"}},
                  overrides=[colour(mode, shade) for mode, shade in MODES.items()], options=LEGEND),
            panel("timeseries", "Replicas of all workloads", "Decided by Foresail, as the HPA alone would run, and as the"
                  " load that came needed.",
                  [target(f"sum by (kind) ({series('foresail_replicas', MANY, kind='~served|reactive_alone|required')})",
                          "{{kind}}")], (12, 8), unit="short", decimals=0, custom=STEPS, options=LEGEND),
            table_panel(),
            panel("bargauge", "Oldest models", "Age of the newest sample that a workload's model has learnt from; after"
                  " three days it expires.",
                  [target(f"foresail_model_age_seconds{MANY}", "{{namespace}}/{{workload}}")], (12, 9), unit="s",
                  max=259_200, options={"orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}}),
            panel("timeseries", "Drift", "Above 0.3 a forecast is not trusted.",
                  [target(f"foresail_drift_score{MANY}", "{{namespace}}/{{workload}}")], (12, 9), unit="percentunit",
                  custom=LINES, options=LEGEND),
        ],
        variables=[variable("namespace", "label_values(foresail_load, namespace)", many=True)],
        span=("now-6h", "now"),
        refresh="5m",  # coverage and cost read a day of every workload
        links=[link("Workload", "/d/foresail-workload"), link("Foresail itself", "/d/foresail-itself")],
    )  # fmt: skip


def rate(metric: str, by: str = "") -> str:
    """Per second, all replicas of the service together."""
    grouped = f"sum by ({by}) " if by else "sum "
    return f"{grouped}(rate({metric}[$__rate_interval]))"


def itself() -> Json:
    """The service."""
    quantile = "histogram_quantile({}, sum by (le, method) (rate(foresail_rpc_seconds_bucket[$__rate_interval])))"
    half = (12, 8)

    def lines(title: str, description: str, queries: dict[str, str], unit: str) -> Json:
        targets = [target(expr, legend) for legend, expr in queries.items()]
        return panel("timeseries", title, description, targets, half, unit=unit, custom=LINES, options=LEGEND)

    return dashboard(
        "itself",
        "Foresail / Foresail itself",
        "Whether the service keeps up: calls, ticks, errors, fits.",
        [
            lines("Latency of calls", "Time that gRPC calls took: half and 99 % of them. KEDA gives up after three"
                  " seconds.", {"P50 {{method}}": quantile.format("0.5"), "P99 {{method}}": quantile.format("0.99")}, "s"),
            lines("Calls", "gRPC calls per second.", {"{{method}}": rate("foresail_rpc_seconds_count", "method")}, "reqps"),
            lines("Tick", "Duration of the newest tick: all samples read, all workloads decided.",
                  {"{{instance}}": "foresail_tick_seconds"}, "s"),
            lines("Errors", "Loads that could not be read, workloads that could not be decided, fits and queries that"
                  " failed, per second.",
                  {"read": rate("foresail_read_failures_total"), "decide": rate("foresail_decide_failures_total"),
                   "fit": rate("foresail_fit_failures_total"), "query": rate("foresail_source_query_failures_total")},
                  "ops"),
            lines("Fits", "Workloads that wait for a fit, and the duration of the newest fits.",
                  {"waiting {{instance}}": "sum by (instance) (foresail_fit_queue_workloads)", "seconds {{instance}}": "foresail_fit_seconds"},
                  "short"),
            lines("Queries to Prometheus", "Mean time that a server's answers took.",
                  {"{{server}}": "rate(foresail_source_query_seconds_total[$__rate_interval])"
                                 " / rate(foresail_source_queries_total[$__rate_interval])"}, "s"),
            lines("Processor", "Cores that each replica of the service uses.", {"{{instance}}": 'rate(process_cpu_seconds_total{job="$job"}[$__rate_interval])'},
                  "short"),
            lines("Memory", "Resident memory of each replica of the service.", {"{{instance}}": 'process_resident_memory_bytes{job="$job"}'}, "bytes"),
            lines("Workloads", "Tracked workloads, by replica of the service.", {"{{instance}}": "foresail_workloads"}, "short"),
            lines("Kubernetes", "Requests to the API server per second; Events written.",
                  {"{{verb}} {{resource}}": rate("foresail_cluster_requests_total", "verb, resource"),
                   "events": rate("foresail_events_total")}, "ops"),
        ],
        variables=[variable("job", "label_values(foresail_build_info, job)")],
        span=("now-6h", "now"),
        links=[link("Fleet", "/d/foresail-fleet")],
    )  # fmt: skip


def variable(name: str, query: str, *, many: bool = False) -> Json:
    """A choice that is read from the data source."""
    chosen = {"includeAll": True, "multi": True, "current": {"text": "All", "value": "$__all"}} if many else {}
    return {"type": "query", "name": name, "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
            "datasource": {"type": "prometheus", "uid": "${source}"}, **chosen}  # fmt: skip


def address() -> Json:
    """Where a browser finds the status page."""
    return {"type": "textbox", "name": "page", "label": "Status page", "query": "http://localhost:8080",
            "current": {"text": "http://localhost:8080", "value": "http://localhost:8080"}}  # fmt: skip


def link(title: str, url: str) -> Json:
    """A link at the top."""
    return {"type": "link", "title": title, "url": url, "keepTime": True, "targetBlank": False}


def dashboard(name: str, title: str, description: str, panels: list[Json], variables: list[Json], **more: Any) -> Json:
    """A dashboard with its panels laid out from left to right, line by line."""
    x = y = tallest = 0
    for number, one in enumerate(panels, 1):
        place = one["gridPos"]
        if x + place["w"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        one["id"] = number
        one["gridPos"] = {"x": x, "y": y, **place}
        x, tallest = x + place["w"], max(tallest, place["h"])
    start, end = more.pop("span")
    wanted = "Foresail" if name != "itself" else "Prometheus"
    source = {"type": "datasource", "name": "source", "label": f"Data source ({wanted})", "query": "prometheus"}
    return {
        "uid": f"foresail-{name}",
        "title": title,
        "description": description,
        "tags": ["foresail"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": more.pop("refresh", "15s"),
        "time": {"from": start, "to": end},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "panels": panels,
        **more,
    }


def files() -> dict[str, str]:
    """Content of each file by its name."""
    made = {"workload": workload(), "fleet": fleet(), "itself": itself()}
    return {f"{name}.json": json.dumps(content, indent=1, ensure_ascii=False) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
