"""Trigger metadata of a ScaledObject → one workload. Rejects by name, repairs nothing.

Metadata are strings, as KEDA sends them; a YAML or JSON declaration of a workload uses the same keys and is turned into
strings first. Keys that KEDA itself reads (`scalerAddress`, TLS) pass by. Keys of features that are not built yet are
parsed, kept and named in `Workload.inactive`.
"""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scaler.core.domain import Kind, Workload
from scaler.errors import TriggerError

MAX_DURATION_S = 6 * 3600.0
"""Longest lead time or metric lag that makes sense for scaling."""
AUTO = "auto"
"""A capacity that is to be learnt."""
SMALLEST, LARGEST = 0.001, 1e15
"""Range of a threshold or a capacity: the HPA counts in thousandths, as int64."""


def duration_s(text: str) -> float:
    """Seconds of `90s`, `5m`, `1h30m`, `500ms` or a plain number of seconds.

    Raises:
        ValueError: anything else.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        raise ValueError(text)
    return sum(float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h|d)", text))


def _number(key: str, text: str, right: str, accept: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not accept(value):
        raise TriggerError(f"{key} must be {right}, not {text!r}")
    return value


def _positive(key: str, text: str) -> float:
    return _number(key, text, "a positive number (0.001 to 1e15)", lambda x: SMALLEST <= x <= LARGEST)


def _not_negative(key: str, text: str) -> float:
    return _number(key, text, "zero or a positive number (up to 1e15)", lambda x: 0 <= x <= LARGEST)


def _capacity(key: str, text: str) -> float | str:
    if text == AUTO:
        return AUTO
    return _number(key, text, 'a positive number (0.001 to 1e15) or "auto"', lambda x: SMALLEST <= x <= LARGEST)


def _share(key: str, text: str) -> float:
    return _number(key, text, "a share of load between 0.5 and 0.9999, such as 0.99", lambda x: 0.5 <= x <= 0.9999)


def _tolerance(key: str, text: str) -> float:
    return _number(key, text, "a share between 0 and 0.9, such as 0.1", lambda x: 0 <= x <= 0.9)


def _count(key: str, text: str) -> int:
    return int(_number(key, text, "a whole number between 0 and 100000", lambda x: 0 <= x <= 100_000 and x == int(x)))


def _flag(key: str, text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise TriggerError(f'{key} must be "true" or "false", not {text!r}')
    return text.lower() == "true"


def _duration(key: str, text: str) -> float:
    try:
        value = duration_s(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_DURATION_S:
        raise TriggerError(f"{key} must be a duration of at most 6h, such as 90s or 5m, not {text!r}")
    return value


def _timeout(key: str, text: str) -> float:
    # KEDA's prometheus trigger takes a plain number for milliseconds (`timeout: 1000`).
    value = _duration(key, f"{text}ms" if text.isdigit() else text)
    if not 0 < value <= 300:
        raise TriggerError(f"{key} must be more than 0 and at most 5m, such as 3s or 3000 (milliseconds), not {text!r}")
    return value


def _step(key: str, text: str) -> float:
    value = _duration(key, text)
    whole = value >= 1 and value == int(value) and value <= 3600
    if not whole or (60 % value if value <= 60 else value % 60):
        raise TriggerError(
            f"{key} must divide a minute or be whole minutes up to an hour, such as 15s, 30s or 5m, not {text!r}"
        )
    return value


def _kind(key: str, text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError as error:
        raise TriggerError(f'{key} must be "rate" or "queue", not {text!r}') from error


def _ignore_null_values(key: str, text: str) -> bool:
    if _flag(key, text):
        raise TriggerError(f'{key} must be "false" or left out: Foresail never takes missing data for zero load')
    return False


def _zone(key: str, text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TriggerError(f"{key} must be an IANA time zone such as Europe/Berlin, not {text!r}") from error


def _text(key: str, text: str) -> str:
    if not text.strip():
        raise TriggerError(f"{key} must not be empty")
    return text


Parser = Callable[[str, str], object]
KEYS: Mapping[str, tuple[str, Parser]] = {
    "threshold": ("threshold", _positive),
    "capacity": ("capacity", _capacity),
    "kind": ("kind", _kind),
    "serverAddress": ("server_address", _text),
    "query": ("query", _text),
    "arrivalQuery": ("arrival_query", _text),
    "replicasQuery": ("replicas_query", _text),
    "cpuQuery": ("cpu_query", _text),
    "memoryQuery": ("memory_query", _text),
    "latencyQuery": ("latency_query", _text),
    "queueQuery": ("queue_query", _text),
    "timeout": ("timeout_s", _timeout),
    "activationThreshold": ("activation_threshold", _not_negative),
    "slo": ("slo", _share),
    "shadow": ("shadow", _flag),
    "observeOnly": ("observe_only", _flag),
    "maxReplicaHoursPerDay": ("max_replica_hours_per_day", _positive),
    "leadTime": ("lead_s", _duration),
    "minReplicas": ("min_replicas", _count),
    "maxReplicas": ("max_replicas", _count),
    "step": ("step_s", _step),
    "metricLag": ("metric_lag_s", _duration),
    "latencyTarget": ("latency_target_s", _duration),
    "tolerance": ("tolerance", _tolerance),
    "timezone": ("timezone", _zone),
    "calendar": ("calendar", _text),
    "name": ("name", _text),
    "namespace": ("namespace", _text),
}
"""Key → field of `Workload` and how its value is read."""

INACTIVE_KEYS: Mapping[str, Parser] = {
    "metricName": _text,
}
"""Keys that are understood, but that nothing reads yet."""

CHECKED_KEYS: Mapping[str, Parser] = {"ignoreNullValues": _ignore_null_values}
"""Keys that may only say what Foresail does anyway."""

KEDA_KEYS = frozenset(
    {"scalerAddress", "enableTLS", "unsafeSsl", "tlsCertFile", "caCert", "tlsClientCert", "tlsClientKey"}
)
"""KEDA's own keys of an external trigger: they arrive with each call and mean nothing here."""

REFUSED_KEYS = frozenset(
    {"customHeaders", "queryParameters", "authModes", "cortexOrgID", "bearerToken", "username", "password"}
)
"""Keys of KEDA's prometheus trigger that are refused: settings hold them, for a server and its namespaces."""


def as_metadata(declared: Mapping[str, object]) -> dict[str, str]:
    """A workload declared in JSON or YAML as it would stand in a ScaledObject, where every value is text.

    Raises:
        TriggerError: a value that is neither text, number nor true or false.
    """
    metadata = {}
    for key, value in declared.items():
        if isinstance(value, bool):
            metadata[key] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            metadata[key] = str(value)
        else:
            raise TriggerError(f"{key} must be text or a number, not {json.dumps(value, default=str)[:80]}")
    return metadata


def parse_workload(metadata: Mapping[str, str], *, name: str = "", namespace: str = "") -> Workload:
    """Understand the metadata of a trigger.

    `name` and `namespace` are the ScaledObject's; where there is none (pipe, YAML) the metadata hold them.

    Raises:
        TriggerError: an unknown, refused or malformed key, a missing `threshold`, or bounds that contradict.
    """
    values: dict[str, object] = {"name": name, "namespace": namespace or "default"}
    inactive = []
    for raw_key, raw in metadata.items():
        key = raw_key.removesuffix("FromEnv")
        if key in KEDA_KEYS:
            continue
        if raw_key != key and key in metadata:
            raise TriggerError(f"{key} is given twice: as {key} and as {raw_key}")
        if key in REFUSED_KEYS:
            raise TriggerError(f"{key} is refused in metadata: set it for the server in Foresail's settings")
        if key in KEYS:
            field, parser = KEYS[key]
            values[field] = parser(key, raw.strip())
        elif key in INACTIVE_KEYS or key in CHECKED_KEYS:
            {**INACTIVE_KEYS, **CHECKED_KEYS}[key](key, raw.strip())
        else:
            raise TriggerError(_unknown(key))
        if key in INACTIVE_KEYS:
            inactive.append(key)
    if namespace and values["namespace"] != namespace:
        raise TriggerError(
            f"namespace must be left out or be that of the ScaledObject, {namespace!r}, not {values['namespace']!r}"
        )
    return _complete(values, tuple(sorted(inactive)))


def _complete(values: dict[str, object], inactive: tuple[str, ...]) -> Workload:
    if "threshold" not in values:
        raise TriggerError("threshold is required: the average load per replica that the reactive rule aims at")
    if not values["name"]:
        raise TriggerError("name is required where there is no ScaledObject")
    if values.get("capacity") == AUTO:
        values["capacity"], values["capacity_auto"] = None, True
    workload = Workload(
        fingerprint=_fingerprint(values),
        inactive=inactive,
        lead_stated="lead_s" in values,
        **values,  # type: ignore[arg-type]
    )
    low, high = workload.min_replicas, workload.max_replicas
    if high is not None and (high < 1 or (low or 0) > high):
        raise TriggerError(f"minReplicas must not exceed maxReplicas (at least 1), not {low or 0} > {high}")
    return workload


def _fingerprint(values: Mapping[str, object]) -> str:
    identity = [
        str(values.get(field, default))
        for field, default in (
            ("server_address", ""),
            ("query", ""),
            ("arrival_query", ""),
            ("kind", Kind.RATE),
            ("step_s", 15.0),
            ("name", ""),
        )
    ]
    return hashlib.sha256("\0".join(identity).encode()).hexdigest()[:8]


def _unknown(key: str) -> str:
    known = sorted({*KEYS, *INACTIVE_KEYS, *CHECKED_KEYS})
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6) or [k for k in known if k.lower() == key.lower()]
    if close:
        return f"unknown key {key!r}: did you mean {close[0]!r}?"
    return f"unknown key {key!r}: known are {', '.join(known)}"
