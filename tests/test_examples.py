"""The ScaledObject examples: valid, understood by Foresail, and safe to copy."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
import yaml

from scaler.core.trigger import parse_workload
from tests.schemas import Object, check

MANIFESTS = Path(__file__).parents[1] / "manifests"
EXAMPLES = MANIFESTS / "examples"
SETTINGS = yaml.safe_load((MANIFESTS / "base/foresail.yaml").read_text())
SERVICES = {
    f"{service['metadata']['name']}.foresail.svc.cluster.local:{service['spec']['ports'][0]['port']}": service
    for service in yaml.safe_load_all((MANIFESTS / "base/services.yaml").read_text())
}
"""Services by the address under which the cluster knows them."""


def load(name: str) -> Object:
    """The first object of an example."""
    return next(iter(yaml.safe_load_all((EXAMPLES / name).read_text())))


def examples() -> Iterator[Any]:
    """Every Kubernetes object of the examples, by file."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            if "kind" in item:
                yield pytest.param(item, id=f"{path.stem}-{item['kind']}")


def scaled_objects() -> Iterator[Any]:
    return (param for param in examples() if param.values[0]["kind"] == "ScaledObject")


@pytest.mark.parametrize("item", list(examples()))
def test_an_example_is_valid(item: Object) -> None:
    check(item)


def test_the_schema_check_catches_a_misspelt_field() -> None:
    item = load("external.yaml")
    item["spec"]["fallback"]["behaviour"] = item["spec"]["fallback"].pop("behavior")
    with pytest.raises(jsonschema.ValidationError, match="behaviour"):
        check(item)


def forecast_trigger(scaled: Object) -> Object:
    """The trigger that is not the safety net."""
    return next(trigger for trigger in scaled["spec"]["triggers"] if trigger["type"] != "cpu")


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_the_trigger_states_an_absolute_number_of_replicas(scaled: Object) -> None:
    trigger = forecast_trigger(scaled)
    assert trigger["metricType"] == "AverageValue"
    assert trigger["name"]
    if trigger["type"] == "metrics-api":
        assert (trigger["metadata"]["valueLocation"], trigger["metadata"]["targetValue"]) == ("value", "1")


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_the_safety_net_is_one_cpu_trigger_near_90_percent_and_no_other_trigger(scaled: Object) -> None:
    net = [trigger for trigger in scaled["spec"]["triggers"] if trigger is not forecast_trigger(scaled)]
    assert [(trigger["type"], trigger["metricType"]) for trigger in net] == [("cpu", "Utilization")]
    assert 85 <= int(net[0]["metadata"]["value"]) <= 95


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_scale_up_is_wide_and_scale_down_waits_a_minute(scaled: Object) -> None:
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up = {policy["type"]: policy["value"] / policy["periodSeconds"] for policy in behavior["scaleUp"]["policies"]}
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert up["Percent"] >= 1000 / 15
    assert up["Pods"] * 15 >= scaled["spec"]["maxReplicaCount"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 60


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_the_fallback_never_scales_down(scaled: Object) -> None:
    fallback = scaled["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"
    assert max(1, scaled["spec"]["minReplicaCount"]) <= fallback["replicas"] <= scaled["spec"]["maxReplicaCount"]


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_a_tolerance_is_told_to_both_sides_or_to_none(scaled: Object) -> None:
    behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    told = {forecast_trigger(scaled)["metadata"].get("tolerance")}
    told |= {None if (t := behavior[side].get("tolerance")) is None else str(t) for side in ("scaleUp", "scaleDown")}
    assert len(told) == 1


def test_one_example_is_without_dead_band() -> None:
    assert forecast_trigger(load("external-tolerance-0.yaml"))["metadata"]["tolerance"] == "0"


def workloads() -> Iterator[Any]:
    """Everything of the examples that Foresail has to understand: metadata, and the bounds of the ScaledObject."""
    for param in scaled_objects():
        scaled = param.values[0]
        if forecast_trigger(scaled)["type"] != "metrics-api":
            yield pytest.param(forecast_trigger(scaled)["metadata"], scaled, id=str(param.id))
    for declared in load("foresail-workload.yaml")["workloads"]:
        yield pytest.param(declared, load("metrics-api.yaml"), id="foresail-workload")


@pytest.mark.parametrize(("metadata", "scaled"), list(workloads()))
def test_foresail_understands_every_key(metadata: dict[str, str], scaled: Object) -> None:
    names = scaled["metadata"]
    workload = parse_workload(metadata, name=names["name"], namespace=names["namespace"])
    assert (workload.name, workload.namespace) == (names["name"], names["namespace"])
    for key, bound in (("minReplicas", "minReplicaCount"), ("maxReplicas", "maxReplicaCount")):
        assert metadata.get(key) in (None, str(scaled["spec"][bound]))


@pytest.mark.parametrize(("metadata", "scaled"), list(workloads()))
def test_queries_go_where_the_settings_allow_them(metadata: dict[str, str], scaled: Object) -> None:
    allowed = {server["url"]: server["namespaces"] for server in SETTINGS["servers"]}
    assert scaled["metadata"]["namespace"] in allowed[metadata["serverAddress"]]


@pytest.mark.parametrize("scaled", list(scaled_objects()))
def test_keda_is_sent_to_a_service_of_the_base(scaled: Object) -> None:
    metadata = forecast_trigger(scaled)["metadata"]
    if "url" in metadata:
        url = urlsplit(metadata["url"])
        names = scaled["metadata"]
        assert SERVICES[url.netloc]["metadata"]["name"] == "foresail-http"
        assert (url.path, parse_qs(url.query)) == (
            "/predict",
            {"service": [names["name"]], "namespace": [names["namespace"]]},
        )
    elif "scalerAddress" in metadata:
        assert SERVICES[metadata["scalerAddress"]]["spec"]["clusterIP"] == "None"


def test_every_way_to_ask_has_an_example() -> None:
    found = {forecast_trigger(param.values[0])["type"] for param in scaled_objects()}
    assert found == {"external", "external-push", "metrics-api", "prometheus"}


def test_certificates_come_by_an_authentication_that_exists() -> None:
    reference = forecast_trigger(load("external-mtls.yaml"))["authenticationRef"]
    shared = load("../overlays/mtls/triggerauthentication.yaml")
    own = list(yaml.safe_load_all((EXAMPLES / "trigger-authentication.yaml").read_text()))[-1]
    assert reference == {"kind": shared["kind"], "name": shared["metadata"]["name"]}
    assert own["metadata"]["name"] == shared["metadata"]["name"]  # moving to one's own is a change of kind only


def test_the_move_from_keda_s_prometheus_trigger_is_two_lines() -> None:
    before, after = ((EXAMPLES / name).read_text().splitlines() for name in ("before.yaml", "after.yaml"))
    changed = [line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[0] in "+-"][2:]
    told = (MANIFESTS.parent / "docs/how-to/migrate-from-prometheus-trigger.md").read_text().splitlines()
    assert [line for line in told if re.match(r"[-+] {4}", line)] == changed
    assert changed == [
        "-    - type: prometheus",
        "+    - type: external",
        "+        scalerAddress: foresail.foresail.svc.cluster.local:50051",
    ]
