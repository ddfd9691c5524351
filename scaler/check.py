"""`foresail check`: play KEDA's calls against a scaler, and say what KEDA and the HPA would do with the answers."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from scaler.core import hpa
from scaler.core.domain import DEFAULT_TOLERANCE, Workload
from scaler.dial import ClientTls, channel_to, obstacle
from scaler.errors import RequestError
from scaler.inspection import inspect
from scaler.prometheus import PrometheusSource
from scaler.proto import externalscaler_pb2 as pb
from scaler.proto.externalscaler_pb2_grpc import ExternalScalerStub
from scaler.servers import Server, for_everyone

DEADLINE_S = 5.0
"""Longer than any healthy scaler takes: KEDA itself would wait without end."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the scaler answered to one poll."""

    specs: tuple[tuple[str, float], ...]
    """Metric name and target of each spec."""
    values: tuple[float, ...]
    """What KEDA makes of each value: the float where it is above 0, else the integer."""
    active: bool


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the HPA would work on."""

    replicas: int
    minimum: int
    maximum: int
    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result."""

    ok: bool
    text: str


def ask(address: str, namespace: str, name: str, metadata: Mapping[str, str], tls: ClientTls | None = None) -> Answers:
    """Poll as KEDA does: spec, value, activity.

    Raises:
        RequestError: a call failed; says what to do where no connection came about.
    """
    ref = pb.ScaledObjectRef(name=name, namespace=namespace, scalerMetadata={"scalerAddress": address, **metadata})
    try:
        with channel_to(address, tls) as channel:
            return _polled(ExternalScalerStub(channel), ref)  # type: ignore[no-untyped-call]
    except grpc.RpcError as error:
        unreached = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        reason = obstacle(address, tls) if unreached else None
        raise RequestError(f"{address}: {reason or f'{error.code().name}: {error.details()}'}") from error


def _polled(stub: ExternalScalerStub, ref: pb.ScaledObjectRef) -> Answers:
    specs = stub.GetMetricSpec(ref, timeout=DEADLINE_S).metricSpecs
    asked = specs[0].metricName if specs else ""
    metrics = stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref, metricName=asked), timeout=DEADLINE_S)
    active = stub.IsActive(ref, timeout=DEADLINE_S).result
    return Answers(
        specs=tuple((s.metricName, s.targetSizeFloat if s.targetSizeFloat > 0 else float(s.targetSize)) for s in specs),
        values=tuple(
            v.metricValueFloat if v.metricValueFloat > 0 else float(v.metricValue) for v in metrics.metricValues
        ),
        active=active,
    )


def judge(answers: Answers, deployment: Deployment | None) -> Iterator[Finding]:
    """What KEDA and the HPA would make of the answers; without a deployment only what KEDA would."""
    spec_ok = len(answers.specs) == 1 and answers.specs[0][1] > 0
    specs = _listed([f"{name} with target {target:g}" for name, target in answers.specs])
    yield Finding(ok=spec_ok, text=f"GetMetricSpec: {specs}; KEDA wants one metric with a target above 0")
    usable = len(answers.values) == 1 and math.isfinite(answers.values[0]) and answers.values[0] >= 0
    values = _listed([f"{value:g}" for value in answers.values])
    yield Finding(ok=usable, text=f"GetMetrics: {values}; the HPA adds all values, so there must be just one")
    activity = "active" if answers.active else "inactive: KEDA scales to zero after cooldownPeriod"
    yield Finding(ok=True, text=f"IsActive: {activity}")
    if usable and answers.active and answers.values[0] == 0:
        yield Finding(ok=False, text="an active workload sends 0: the metrics-api trigger would take that for inactive")
    if spec_ok and usable and deployment is not None:
        yield _moved(answers.values[0], answers.specs[0][1], deployment)


def bounds(workload: Workload, deployment: Deployment) -> Iterator[Finding]:
    """Whether the workload's own bounds lie within the HPA's: beyond them its answers are clamped."""
    if workload.max_replicas is not None and workload.max_replicas > deployment.maximum:
        yield Finding(ok=False, text=f"maxReplicas {workload.max_replicas} is above the HPA's {deployment.maximum}")
    if workload.min_replicas is not None and workload.min_replicas < deployment.minimum:
        yield Finding(ok=False, text=f"minReplicas {workload.min_replicas} is below the HPA's {deployment.minimum}")


async def queries(workload: Workload, servers: Sequence[Server], replicas_query: str | None) -> list[Finding]:
    """What a day of each declared query shows.

    Raises:
        SourceError: a query cannot be read at all.
        TriggerError: its address could not be asked.
    """
    source = PrometheusSource(servers or (for_everyone(workload.server_address or ""),))
    try:
        found = await inspect(source, workload, time.time(), replicas_query)
    finally:
        await source.close()
    totals = {workload.query, workload.arrival_query}
    return [
        Finding(ok=not problems, text=f"{query}: {'; '.join(p.value for p in problems) or _good(query in totals)}")
        for query, problems in found.items()
    ]


def _good(is_total: bool) -> str:  # noqa: FBT001 - what is said of two kinds of queries
    return "one series, a total" if is_total else "one series, in its unit"


def _moved(value: float, target: float, deployment: Deployment) -> Finding:
    """What the HPA does with the value at its next sync."""
    one = np.ones(1)
    rules = hpa.HpaRules(
        target=target * one,
        tolerance_up=deployment.tolerance * one,
        tolerance_down=deployment.tolerance * one,
        minimum=np.array([deployment.minimum]),
        maximum=np.array([deployment.maximum]),
        up=hpa.policy(*hpa.DEFAULT_UP),
        down=hpa.policy(*hpa.DEFAULT_DOWN),
        with_behavior=np.array([True]),
    )
    replicas = np.array([deployment.replicas])
    asked = math.ceil(round(value / target, 3))
    wanted = int(hpa.proposal(np.array([value]), replicas, rules)[0])
    bounded = min(max(wanted, deployment.minimum), deployment.maximum)
    text = f"HPA: {deployment.replicas} replicas now, the value asks for {asked}, it will go for {bounded}"
    if wanted == deployment.replicas and asked != deployment.replicas:
        return Finding(ok=False, text=f"{text}: inside its dead band of {deployment.tolerance:.0%}, it will not move")
    if bounded != wanted and not _at_edge(asked, deployment):
        return Finding(ok=False, text=f"{text}: outside its bounds {deployment.minimum} to {deployment.maximum}")
    return Finding(ok=True, text=text)


def _at_edge(asked: int, deployment: Deployment) -> bool:
    """Twice the maximum, or the least above 0, is how the HPA's own bounds are meant."""
    return asked == 2 * deployment.maximum or asked <= 1


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "nothing"
