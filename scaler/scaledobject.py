"""ScaledObject YAML → workload: the trigger that reads a load, with the bounds around it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from scaler.core.domain import Workload
from scaler.core.trigger import KEDA_KEYS, parse_workload
from scaler.errors import TriggerError

KINDS = ("external", "external-push", "prometheus")
"""Triggers whose metadata state a load: ours, and the one that ours replaces."""
IGNORED = frozenset({"metricName", "ignoreNullValues", "timeout", "unsafeSsl", "namespace"})
"""Keys of the prometheus trigger that say nothing about the load."""


def read(path: Path) -> Workload:
    """Understand the first trigger of the first ScaledObject in a file that states a load.

    Raises:
        TriggerError: no such file, object or trigger, or its metadata cannot be understood.
    """
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TriggerError(f"{path}: cannot be read: {error}") from error
    for document in documents:
        if document.get("kind") == "ScaledObject":
            try:
                return _workload(document)
            except TriggerError as error:
                raise TriggerError(f"{path}: {error}") from error
    raise TriggerError(f"{path}: no ScaledObject in it")


def _workload(document: dict[str, Any]) -> Workload:
    spec, metadata = document.get("spec") or {}, document.get("metadata") or {}
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        raise TriggerError("its spec and its metadata must be mappings")
    triggers = spec.get("triggers") or []
    if not isinstance(triggers, list) or not all(isinstance(one, dict) for one in triggers):
        raise TriggerError("its triggers must be a list of mappings")
    for trigger in triggers:
        if trigger.get("type") in KINDS and "threshold" in (trigger.get("metadata") or {}):
            found = parse_workload(
                _metadata(trigger), name=str(metadata.get("name", "")), namespace=str(metadata.get("namespace", ""))
            )
            return replace(
                found,
                min_replicas=_tighter(found.min_replicas, _count(spec, "minReplicaCount"), max),
                max_replicas=_tighter(found.max_replicas, _count(spec, "maxReplicaCount"), min),
            )
    raise TriggerError(f"none of its triggers is one of {', '.join(KINDS)} with a threshold")


def _metadata(trigger: dict[str, Any]) -> dict[str, str]:
    stated = {str(key): str(value) for key, value in trigger["metadata"].items()}
    if trigger["type"] == "prometheus":
        return {key: value for key, value in stated.items() if key not in IGNORED | KEDA_KEYS}
    return stated


def _count(spec: dict[str, Any], key: str) -> int | None:
    bound = spec.get(key)
    if bound is None:
        return None
    if not isinstance(bound, int) or isinstance(bound, bool) or bound < 0:
        raise TriggerError(f"{key} must be a whole number of replicas, not {bound!r}")
    return bound


def _tighter(own: int | None, bound: int | None, tighter: Callable[[int, int], int]) -> int | None:
    if own is None or bound is None:
        return bound if own is None else own
    return tighter(own, bound)
