"""Every number the simulator takes for granted: its value, where it comes from, and whether anybody measured it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A number with its provenance."""

    value: float
    unit: str
    source: str
    known: str
    """"measured", or "assumed": what it stands for differs between workloads and should be calibrated."""


def measured(value: float, unit: str, source: str) -> Constant:
    """Somebody measured it, or it stands in the source that is named."""
    return Constant(value, unit, source, "measured")


def assumed(value: float, unit: str, source: str) -> Constant:
    """Plausible, no more."""
    return Constant(value, unit, source, "assumed")


NOISE = measured(0.05, "share of the load", "spread of 15 s samples around their minute, seven public traces")
METRIC_WINDOW_S = assumed(60.0, "s", "the usual rate(…[1m]) of a KEDA prometheus trigger")
SYNC_S = measured(15.0, "s", "kube-controller-manager --horizontal-pod-autoscaler-sync-period")
POLLING_S = measured(30.0, "s", "KEDA pollingInterval default (scaledobject_types.go)")
COOLDOWN_S = measured(300.0, "s", "KEDA cooldownPeriod default (scaledobject_types.go)")
FLEET = assumed(20.0, "replicas", "mean fleet where no capacity is stated: a granularity of 5 %")
FLEET_UTILISATION = assumed(0.7, "share of capacity", "utilisation of that mean fleet: the usual HPA target")
UTILISATION = assumed(0.8, "share of saturation", "where a replica just meets its latency target")
SERVICE_S = assumed(0.1, "s", "mean service time of a request")
WORKERS = assumed(4.0, "requests", "served at once by one replica")
ARRIVAL_CV2 = assumed(1.0, "squared coefficient of variation", "Poisson arrivals within a step")
SERVICE_CV2 = assumed(1.5, "squared coefficient of variation", "of service times; web services have 0.5–3")
SERVICE_P95 = measured(3.3, "mean service times", "95 % quantile of a lognormal with that variation: 3.26")
TIMEOUT_S = assumed(10.0, "s", "how long a client waits for a saturated service")
RETRIES = assumed(0.5, "share of timed-out requests", "sent again in the next step")
WARM_SHARE = assumed(0.5, "share of capacity", "what a replica serves while it warms up")
IDLE_CPU = assumed(0.05, "share of the request", "CPU of an idle replica")
IDLE_MEMORY = assumed(0.4, "share of the limit", "memory of an idle replica")
BUSY_MEMORY = assumed(0.3, "share of the limit", "what a saturated replica adds to it")
SIGNAL_NOISE = assumed(0.02, "share", "scatter of scraped CPU, memory and latency")

ALL = {name: value for name, value in globals().items() if isinstance(value, Constant)}
"""By name, for the documentation and the report."""
