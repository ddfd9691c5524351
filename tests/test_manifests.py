"""What `kubectl apply -k` sends: valid, consistent in itself, least rights."""

import ast
import functools
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from scaler import lease, live_cluster
from scaler.cli import main
from scaler.servicer import SERVICE
from tests.schemas import Object, check

ROOT = Path(__file__).parents[1]
MANIFESTS = ROOT / "manifests"
BUILT = ("base", "overlays/pushed-load", "overlays/mtls", "overlays/batch-retraining")


@functools.cache
def build(folder: str) -> tuple[Object, ...]:
    """The objects of a kustomization."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    return next(item for item in of_kind(objects, kind) if item["metadata"]["name"] == name)


def container(objects: Iterable[Object]) -> Object:
    return named(objects, "Deployment", "foresail")["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("folder", BUILT)
def test_a_kustomization_builds_valid_objects(folder: str) -> None:
    for item in build(folder):
        if item["apiVersion"] != "keda.sh/v1alpha1":
            check(item)


def test_keda_objects_of_the_overlays_are_valid() -> None:
    found = [item for folder in BUILT for item in build(folder) if item["apiVersion"] == "keda.sh/v1alpha1"]
    assert found
    for item in found:
        check(item)


def test_the_folder_that_install_md_shows_builds_valid_objects(tmp_path: Path) -> None:
    told = (ROOT / "docs/how-to/install.md").read_text()
    for block in re.findall(r"```yaml\n(# (\S+)\n.*?)```", told, re.DOTALL):
        text = re.sub(r"https://\S+//manifests/base\?ref=\S+", os.path.relpath(MANIFESTS / "base", tmp_path), block[0])
        (tmp_path / block[1]).write_text(text)
    objects = build(str(tmp_path))
    for item in objects:
        check(item)
    assert not of_kind(objects, "ServiceMonitor")
    assert "search" in named(objects, "ConfigMap", "foresail")["data"]["foresail.yaml"]
    assert "keda-system" in str(named(objects, "NetworkPolicy", "foresail"))


def test_yaml_passes_yamllint() -> None:
    command = [sys.executable, "-m", "yamllint", "--strict", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- rights


def kubernetes_api_use() -> frozenset[tuple[str, str, str]]:
    """What the code asks of the Kubernetes API: API_USE of scaler.cluster, the one door to it; nothing without one."""
    if importlib.util.find_spec("scaler.cluster") is None:
        return frozenset()
    return frozenset(importlib.import_module("scaler.cluster").API_USE)


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    tree = ast.walk(ast.parse(path.read_text()))
    names = [
        name
        for node in tree
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    return {name.split(".")[0] for name in names}


def test_what_is_written_in_the_services_own_namespace_is_named() -> None:
    rules = named(build("base"), "Role", "foresail")["rules"]
    named_rules = {(*rule["resources"], *rule["resourceNames"]) for rule in rules if "resourceNames" in rule}
    assert named_rules == {("leases", lease.NAME), ("configmaps", live_cluster.KEPT_IN)}
    assert {verb for rule in rules if "resourceNames" not in rule for verb in rule["verbs"]} == {"create"}


def test_only_one_door_leads_to_the_kubernetes_api() -> None:
    users = [path.name for path in (ROOT / "scaler").rglob("*.py") if "kubernetes" in imports(path)]
    assert users in ([], ["cluster.py"])


@pytest.mark.parametrize("folder", BUILT)
def test_rbac_grants_what_the_code_uses_and_nothing_else(folder: str) -> None:
    roles = of_kind(build(folder), "Role", "ClusterRole")
    granted = {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == kubernetes_api_use()
    assert bool(of_kind(build(folder), "RoleBinding", "ClusterRoleBinding")) == bool(granted)
    pod = named(build(folder), "Deployment", "foresail")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] == bool(granted)
    account = named(build(folder), "ServiceAccount", pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False  # a pod asks for its token itself


@pytest.mark.parametrize("folder", BUILT)
def test_the_pod_fits_the_restricted_security_standard(folder: str) -> None:
    pod = named(build(folder), "Deployment", "foresail")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container(build(folder))["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert set(container(build(folder))["resources"]) == {"requests", "limits"}
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
        "configMap", "emptyDir", "secret", "persistentVolumeClaim",
    }  # fmt: skip


def test_the_job_fits_what_the_service_serves() -> None:
    objects = build("overlays/batch-retraining")
    job = named(objects, "CronJob", "foresail-retrain")["spec"]["jobTemplate"]["spec"]["template"]
    (run,) = job["spec"]["containers"]
    serving = container(objects)
    assert run["image"] == serving["image"]
    assert {"name": "FORESAIL_FIT_WORKERS", "value": "0"} in serving["env"]
    mounts = [
        next(mount["mountPath"] for mount in one["volumeMounts"] if mount["name"] == "models") for one in (run, serving)
    ]
    assert mounts == ["/var/lib/foresail/models"] * 2
    policy = named(objects, "NetworkPolicy", "foresail-retrain")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= job["metadata"]["labels"].items()
    assert job["spec"]["automountServiceAccountToken"] is False
    # What it is told to do is understood.
    command = main.commands[run["args"][0]]
    parsed = command.make_context("retrain", [*run["args"][1:]], resilient_parsing=True).params
    assert (parsed["everything"], str(parsed["config"]), parsed["fit_workers"]) == (
        True, "/etc/foresail/foresail.yaml", "2",
    )  # fmt: skip


def test_service_links_do_not_leak_into_the_names_of_the_settings() -> None:
    pod = named(build("base"), "Deployment", "foresail")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False


# --- consistency


@pytest.mark.parametrize("folder", BUILT)
def test_every_selector_finds_the_pods_of_the_deployment(folder: str) -> None:
    objects = build(folder)
    spec = named(objects, "Deployment", "foresail")["spec"]
    labels = spec["template"]["metadata"]["labels"].items()
    selectors = [spec["selector"]["matchLabels"]]
    selectors += [item["spec"]["selector"] for item in of_kind(objects, "Service")]
    policies = [item for item in of_kind(objects, "NetworkPolicy") if item["metadata"]["name"] != "foresail-retrain"]
    selectors += [item["spec"]["podSelector"]["matchLabels"] for item in policies]
    selectors += [item["spec"]["selector"]["matchLabels"] for item in of_kind(objects, "PodDisruptionBudget")]
    selectors += [s["labelSelector"]["matchLabels"] for s in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_the_network_policy_lets_in_keda_and_the_monitoring_only_and_out_to_dns_and_the_servers() -> None:
    spec = named(build("base"), "NetworkPolicy", "foresail")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    namespace = "kubernetes.io/metadata.name"
    doors = {
        (peer["namespaceSelector"]["matchLabels"][namespace], port["port"])
        for rule in (*spec["ingress"], *spec["egress"])
        for peer in rule.get("from", rule.get("to", []))
        for port in rule["ports"]
    }
    servers = yaml.safe_load((MANIFESTS / "base/foresail.yaml").read_text())["servers"]
    out = {(address.hostname.split(".")[1], address.port) for server in servers if (address := urlsplit(server["url"]))}
    assert doors == {("keda", "grpc"), ("keda", "http"), ("monitoring", "http"), ("kube-system", 53)} | out
    api = [rule for rule in spec["egress"] if "to" not in rule]
    assert api == [{"ports": [{"port": 443}, {"port": 6443}]}]
    assert spec["egress"][0]["to"][0]["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_grpc_is_headless_so_that_keda_spreads_its_calls() -> None:
    services = {item["metadata"]["name"]: item["spec"] for item in of_kind(build("base"), "Service")}
    assert services["foresail"]["clusterIP"] == "None"
    assert services["foresail-http"].get("clusterIP") != "None"
    ports = {port["name"] for port in container(build("base"))["ports"]}
    assert {port["targetPort"] for spec in services.values() for port in spec["ports"]} == ports


def test_a_node_can_be_drained_and_an_update_never_stops_all_replicas() -> None:
    for folder in BUILT:
        budget = named(build(folder), "PodDisruptionBudget", "foresail")["spec"]
        assert (budget["maxUnavailable"], "minAvailable" in budget) == (1, False)
    spec = named(build("base"), "Deployment", "foresail")["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)


def test_pushed_load_has_one_replica_one_volume_and_a_token() -> None:
    objects = build("overlays/pushed-load")
    spec = named(objects, "Deployment", "foresail")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    claim = volumes["var"]["persistentVolumeClaim"]["claimName"]
    assert named(objects, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "emptyDir" not in volumes["var"]
    assert [variable["name"] for variable in container(objects)["env"]] == ["FORESAIL_HTTP_TOKEN_FILE"]


def test_under_mutual_tls_every_file_and_secret_exists() -> None:
    objects = build("overlays/mtls")
    issued = {(c["metadata"]["namespace"], c["spec"]["secretName"]) for c in of_kind(objects, "Certificate")}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    paths = {variable["name"]: variable["value"] for variable in container(objects)["env"]}
    del paths["FORESAIL_TLS_CLIENT_NAMES"]
    assert paths == {
        "FORESAIL_TLS_CERT": f"{mounts['tls']}/tls.crt",
        "FORESAIL_TLS_KEY": f"{mounts['tls']}/tls.key",
        "FORESAIL_TLS_CLIENT_CA": f"{mounts['tls']}/ca.crt",
    }
    volumes = named(objects, "Deployment", "foresail")["spec"]["template"]["spec"]["volumes"]
    assert ("foresail", next(v for v in volumes if v["name"] == "tls")["secret"]["secretName"]) in issued
    shown = named(objects, "ClusterTriggerAuthentication", "foresail-mtls")["spec"]["secretTargetRef"]
    assert {("keda", entry["name"]) for entry in shown} <= issued
    assert {"caCert", "tlsClientCert", "tlsClientKey"} <= {entry["parameter"] for entry in shown}
    scrape = named(objects, "ServiceMonitor", "foresail")["spec"]["endpoints"][0]
    assert scrape["scheme"] == "https"
    assert ("foresail", scrape["tlsConfig"]["keySecret"]["name"]) in issued


def test_readiness_asks_for_the_health_that_follows_the_loop_and_liveness_for_the_servers() -> None:
    probed = container(build("base"))
    assert probed["readinessProbe"]["grpc"]["service"] == SERVICE
    assert "service" not in probed["livenessProbe"]["grpc"]


def test_under_mutual_tls_the_container_probes_itself() -> None:
    found = [container(build("overlays/mtls"))[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert [probe["exec"]["command"][-1] for probe in found] == ["healthz", "readyz", "healthz"]
    assert not any("grpc" in probe for probe in found)


def test_the_servers_certificate_holds_the_names_that_clients_use() -> None:
    objects = build("overlays/mtls")
    names = named(objects, "Certificate", "foresail-server")["spec"]["dnsNames"]
    example = yaml.safe_load((MANIFESTS / "examples/external-mtls.yaml").read_text())
    address = example["spec"]["triggers"][0]["metadata"]["scalerAddress"]
    assert address.rpartition(":")[0] in names
    assert named(objects, "ServiceMonitor", "foresail")["spec"]["endpoints"][0]["tlsConfig"]["serverName"] in names


def test_under_mutual_tls_the_pinned_name_is_that_of_kedas_certificate() -> None:
    objects = build("overlays/mtls")
    shown = next(o for o in of_kind(objects, "Certificate") if o["metadata"]["namespace"] == "keda")
    pinned = next(e["value"] for e in container(objects)["env"] if e["name"] == "FORESAIL_TLS_CLIENT_NAMES")
    assert [pinned] == shown["spec"]["dnsNames"]
