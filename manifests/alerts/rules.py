"""Recording and alerting rules, as code: `python manifests/alerts/rules.py` writes rules.yaml and prometheusrule.yaml.

All of them are about scraped metrics. The recorded names are those that dashboards and rules of others expect.
"""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LONG = "# yamllint disable rule:line-length\n"
RUNBOOKS = "https://github.com/foresail/foresail/blob/main/docs/runbooks/"
ONE = "on (namespace, workload)"


def service(expr: str, **labels: str) -> str:
    """The same series under the label `service`, each workload once, whichever replica of Foresail says so."""
    found = f'label_replace({expr}, "service", "$1", "workload", "(.*)")'
    for name, value in labels.items():
        found = f'label_replace({found}, "{name}", "{value}", "", "")'
    return f"max by ({', '.join(('namespace', 'service', *labels))}) ({found})"


MEDIAN_PEAK = 'foresail_forecast_peak_load{level="0.5"}'
SERVING_CAPACITY = 'foresail_capacity_load{kind="serving"}'
RECORDED = {
    "ml_predict_load": service(MEDIAN_PEAK, window="lead"),
    "ml_current_capacity": service(SERVING_CAPACITY),
    "ml_predict_replicas": service('foresail_replicas{kind="forecast"}'),
    "ml_prediction_confidence": service("foresail_confidence_ratio"),
    "model_data_drift_score": service("foresail_drift_score"),
    "model_prediction_latency_seconds": "histogram_quantile(0.99, sum by (le, method)"
    ' (rate(foresail_rpc_seconds_bucket{method=~"GetMetrics|Predict"}[5m])))',
}
"""Name of each recorded series and what it is; `window="lead"` is each workload's own lead window."""


def worst(expr: str) -> str:
    """Of each workload once."""
    return f"max by (namespace, workload) ({expr})"


NEEDED, ALLOWED = worst('foresail_replicas{kind="forecast"}'), worst("foresail_maximum_replicas")
DECIDED, RUNNING = worst('foresail_replicas{kind="served"}'), worst('foresail_replicas{kind="observed"}')
NAMED = "{{ $labels.namespace }}/{{ $labels.workload }}"
MINE = 'namespace="{{ $labels.namespace }}",workload="{{ $labels.workload }}"'


def looked_up(expr: str, shown: str) -> str:
    """A number of another query, in the text of an alert."""
    quoted = expr.replace("{{ $labels.namespace }}", "%s").replace("{{ $labels.workload }}", "%s").replace('"', '\\"')
    ask = f'printf "{quoted}" $labels.namespace $labels.workload | query'
    return f"{{{{ with {ask} }}}}{{{{ . | first | value | {shown} }}}}{{{{ end }}}}"


def alert(name: str, expr: str, lasts: str, severity: str, summary: str, description: str) -> dict[str, Any]:
    """An alerting rule with its runbook."""
    page = RUNBOOKS + name + ".md"
    return {
        "alert": name,
        "expr": expr,
        "for": lasts,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description, "runbook_url": page},
    }


ALERTS = [
    alert(
        "PredictiveScaling",
        f"{worst(MEDIAN_PEAK)} > {ONE} {worst(SERVING_CAPACITY)}",
        "5m",
        "warning",
        f"{NAMED}: the forecast load is more than what serves can bear, and has been for five minutes",
        "A load of {{ $value | humanize }} is expected within the lead window, more than the ready replicas bear, and"
        " they do not become more: look whether the HPA follows and whether pods start.",
    ),
    alert(
        "AnomalousTrafficPattern",
        f"{worst('foresail_drift_score')} > 0.3",
        "5m",
        "info",
        f"{NAMED}: the load is not what it used to be",
        'The drift score is {{ $value | printf "%.2f" }}; from 0.3 on the forecast is not trusted and a fit is asked'
        " for.",
    ),
    alert(
        "ForecastDegraded",
        worst('foresail_mode{mode="Degraded"}') + " == 1",
        "30m",
        "warning",
        f"{NAMED}: served by the reactive rule for half an hour, since its forecast is not trusted",
        "The workload is safe, as it would be under the HPA alone, and loses what prediction would win.",
    ),
    alert(
        "ForecastStale",
        worst('foresail_mode{mode=~"Holding|Failed"}') + " == 1",
        "2m",
        "critical",
        f"{NAMED}: no load sample for minutes",
        "The answer is held; after ten minutes without a sample KEDA's fallback takes over.",
    ),
    alert(
        "PeakAboveMaxReplicas",
        f"({NEEDED} > {ONE} {ALLOWED}) or ({worst('foresail_day_peak_replicas')} > {ONE} {ALLOWED})",
        "2m",
        "warning",
        f"{NAMED}: the forecast peak needs {{{{ $value }}}} replicas, the maximum is "
        + looked_up(f"max(foresail_maximum_replicas{{{MINE}}})", "humanize"),
        "The forecast peak "
        + looked_up(f"max(foresail_day_peak_timestamp_seconds{{{MINE}}})", 'humanizeTimestamp | printf "at %.16s "')
        + "needs {{ $value }} replicas, the maximum is "
        + looked_up(f"max(foresail_maximum_replicas{{{MINE}}})", "humanize")
        + ": raise maxReplicaCount, or expect a shortage.",
    ),
    alert(
        "HPANotFollowing",
        f"abs({DECIDED} - {ONE} {RUNNING}) > {ONE} 0.15 * {RUNNING} + 1",
        "10m",
        "warning",
        f"{NAMED}: {{{{ $value }}}} replicas away from what was decided for ten minutes",
        "The HPA has not done what it was sent: another trigger, its own limits, its behavior, a pause, or pods that"
        " cannot be scheduled.",
    ),
    alert(
        "ScalerDown",
        "absent(foresail_build_info) == 1",
        "2m",
        "critical",
        "No replica of Foresail is scraped",
        "KEDA's fallback acts for all workloads. Also fires where Prometheus does not find Foresail: see its targets.",
    ),
]


def groups() -> dict[str, Any]:
    """The content of a rule file."""
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    return {
        "groups": [
            {"name": "foresail.recorded", "interval": "15s", "rules": recorded},
            {"name": "foresail.alerts", "interval": "15s", "rules": ALERTS},
        ]
    }


def operated() -> dict[str, Any]:
    """The same for the Prometheus operator."""
    metadata = {"name": "foresail", "labels": {"app.kubernetes.io/part-of": "foresail"}}
    return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata, "spec": groups()}


def files() -> dict[str, str]:
    """Content of each file by its name."""
    first = {
        "rules.yaml": "# Made by rules.py: for rule_files of a Prometheus without operator.\n" + LONG,
        "prometheusrule.yaml": "# Made by rules.py: for the Prometheus operator. Where its ruleSelector wants a label"
        " (kube-prometheus-stack:\n# release), add it.\n" + LONG,
    }
    made = {"rules.yaml": groups(), "prometheusrule.yaml": operated()}
    return {
        name: first[name] + yaml.dump(content, Dumper=Indented, sort_keys=False, width=110)
        for name, content in made.items()
    }


class Indented(yaml.SafeDumper):
    """Lists stand deeper than their keys, as everywhere in this folder."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """As PyYAML, but never without indent."""
        super().increase_indent(flow, False)  # noqa: FBT003


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text)
