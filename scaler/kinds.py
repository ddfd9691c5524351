"""What is kept of Kubernetes objects: of kilobytes each the few numbers that decisions need."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from scaler.cluster import Object
from scaler.core import steering
from scaler.core.domain import UNKNOWN

KEDA_PREFIX = "autoscaling.keda.sh/"
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""What Go's ParseBool takes for false; anything else under `paused` is taken for true, the careful reading."""
SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
"""Of quantities below one."""


class Target(NamedTuple):
    """What is scaled."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Scaled:
    """A ScaledObject."""

    uid: str
    api_version: str
    target: Target
    resource: tuple[str, str, str]
    """Group, version and plural of the target as KEDA found them; empty texts before it did."""
    hpa: str
    minimum: int
    maximum: int
    paused: bool
    modified: bool
    """Whether a formula (scalingModifiers) stands between our value and the HPA."""
    others: tuple[str, ...]
    """Types of the triggers that are not ours."""
    annotations: Mapping[str, str]
    """Ours."""


@dataclass(frozen=True, slots=True)
class Hpa:
    """A HorizontalPodAutoscaler."""

    target: Target
    minimum: int
    maximum: int
    up: float
    down: float
    """Tolerances as the API server keeps them, NaN where it keeps none."""
    grows: bool
    """Whether it may add replicas …"""
    shrinks: bool
    """… and take some away."""
    current: int
    """status.currentReplicas, UNKNOWN before its first sync."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A Deployment or a StatefulSet."""

    replicas: int
    ready: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of something that is scaled."""

    owner: Target
    version: str
    created_s: float
    scheduled_s: float
    """NaN before."""
    ready_s: float
    """NaN while it is not."""
    failed: bool
    restarted: bool


def scaled_of(item: Object) -> Scaled:
    """Understand a ScaledObject."""
    metadata, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    reference, annotations = spec["scaleTargetRef"], metadata.get("annotations") or {}
    found = status.get("scaleTargetGVKR") or {}
    paused = annotations.get(KEDA_PREFIX + "paused")
    advanced = spec.get("advanced") or {}
    triggers = [trigger.get("type", "") for trigger in spec.get("triggers") or []]
    return Scaled(
        uid=str(metadata.get("uid", "")),
        api_version=str(item.get("apiVersion") or "keda.sh/v1alpha1"),
        target=Target(metadata["namespace"], reference.get("kind") or "Deployment", reference["name"]),
        resource=(str(found.get("group", "")), str(found.get("version", "")), str(found.get("resource", ""))),
        hpa=str(status.get("hpaName") or f"keda-hpa-{metadata['name']}"),
        # KEDA gives the HPA at least 1 and, where nothing is said, at most 100.
        minimum=max(int(spec.get("minReplicaCount") or 0), 1),
        maximum=int(spec.get("maxReplicaCount") or 100),
        paused=KEDA_PREFIX + "paused-replicas" in annotations or (paused is not None and paused not in FALSE),
        modified=bool((advanced.get("scalingModifiers") or {}).get("formula")),
        others=tuple(kind for kind in triggers if kind not in {"external", "external-push"}),
        annotations={key: str(text) for key, text in annotations.items() if key.startswith(steering.PREFIX)},
    )


def hpa_of(item: Object) -> Hpa:
    """Understand an HPA."""
    spec, status = item["spec"], item.get("status") or {}
    reference, behavior = spec.get("scaleTargetRef") or {}, spec.get("behavior") or {}
    return Hpa(
        target=Target(item["metadata"]["namespace"], reference.get("kind", ""), reference.get("name", "")),
        minimum=int(spec.get("minReplicas") or 1),
        maximum=int(spec["maxReplicas"]),
        up=_tolerance(behavior.get("scaleUp")),
        down=_tolerance(behavior.get("scaleDown")),
        grows=_allowed(behavior.get("scaleUp")),
        shrinks=_allowed(behavior.get("scaleDown")),
        current=int(status.get("currentReplicas", UNKNOWN)),
    )


def _tolerance(rules: Mapping[str, Any] | None) -> float:
    stated = (rules or {}).get("tolerance")
    return math.nan if stated is None else quantity(stated)


def _allowed(rules: Mapping[str, Any] | None) -> bool:
    # KEDA writes its annotations paused-scale-out and paused-scale-in into the HPA this way.
    return (rules or {}).get("selectPolicy") != "Disabled"


def quantity(stated: object) -> float:
    """A quantity such as "50m" or 0.05. Raises ValueError."""
    text = str(stated)
    value = float(text[:-1]) * SUFFIXES[text[-1]] if text[-1:] in SUFFIXES else float(text)
    if not 0.0 <= value < 1.0:
        raise ValueError(f"a tolerance must lie between 0 and 1, not {text[:40]}")
    return value


def counts_of(item: Object) -> Counts:
    """Understand what a Deployment or a StatefulSet runs."""
    status = item.get("status") or {}
    return Counts(int(status.get("replicas") or 0), int(status.get("readyReplicas") or 0))


def pod_of(item: Object) -> Pod | None:
    """Understand a pod; None for one that belongs to nothing that is scaled."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    owner = _owner(metadata)
    if owner is None:
        return None
    conditions = {one["type"]: one for one in status.get("conditions") or [] if one.get("status") == "True"}
    containers = status.get("containerStatuses") or []
    images = "\n".join(sorted(str(one.get("image")) for one in spec.get("containers") or []))
    return Pod(
        owner=owner,
        version=hashlib.sha256(images.encode()).hexdigest()[:8],
        created_s=_moment(metadata.get("creationTimestamp")),
        scheduled_s=_moment((conditions.get("PodScheduled") or {}).get("lastTransitionTime")),
        ready_s=_moment((conditions.get("Ready") or {}).get("lastTransitionTime")),
        failed=status.get("phase") == "Failed",
        restarted=any(int(one.get("restartCount") or 0) > 0 for one in containers),
    )


def _owner(metadata: Mapping[str, Any]) -> Target | None:
    labels = metadata.get("labels") or {}
    for reference in metadata.get("ownerReferences") or []:
        if not reference.get("controller"):
            continue
        kind, name = reference["kind"], reference["name"]
        if kind == "StatefulSet":
            return Target(metadata["namespace"], kind, name)
        # A ReplicaSet is named after its Deployment (or Rollout) and the hash that its pods carry.
        for label, above in (("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")):
            if kind == "ReplicaSet" and label in labels and name.endswith(f"-{labels[label]}"):
                return Target(metadata["namespace"], above, name.removesuffix(f"-{labels[label]}"))
    return None


def _moment(stamp: str | None) -> float:
    return math.nan if stamp is None else datetime.fromisoformat(stamp).timestamp()
