"""The schemas of Kubernetes' own kinds and of KEDA's, for tests of manifests."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

Object = dict[str, Any]

KUBERNETES = ("1.29", "1.37")
"""Oldest and newest release that the manifests are checked against."""
BUILT_IN = ("v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
WITHOUT_SCHEMA = {("cert-manager.io/v1", "Certificate"), ("cert-manager.io/v1", "ClusterIssuer")} | {
    ("monitoring.coreos.com/v1", "ServiceMonitor")
}
"""Kinds of others whose CRDs are not at hand; everything else is validated."""


@functools.cache
def keda_schema(kind: str) -> Object:
    """KEDA's schema of a kind, refusing unknown fields: the API server would drop them without a word."""
    folder = os.environ.get("FORESAIL_KEDA_CRDS", "")
    path = Path(folder) / f"keda.sh_{kind.lower()}s.yaml"
    if not folder or not path.exists():
        pytest.skip("FORESAIL_KEDA_CRDS does not name a folder with KEDA's CRDs")
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    return closed(next(v for v in versions if v["name"] == "v1alpha1")["schema"]["openAPIV3Schema"])


def closed(schema: Any) -> Any:
    """A structural schema of a CRD as JSON schema."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    open_ended = {"additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(schema)
    result = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), Mapping) and not open_ended:
        result["additionalProperties"] = False
    return result


def check(item: Object) -> None:
    """Valid by the schema of its kind.

    Raises:
        ValidationError: it is not.
    """
    api = item["apiVersion"]
    if api in BUILT_IN:
        for release in KUBERNETES:
            kubernetes_validate.validate(item, release, strict=True)
    elif api == "keda.sh/v1alpha1":
        metadata = {"additionalProperties": True, "type": "object"}
        schema = keda_schema(item["kind"])
        jsonschema.validate(item, {**schema, "properties": {**schema["properties"], "metadata": metadata}})
    else:
        assert (api, item["kind"]) in WITHOUT_SCHEMA
