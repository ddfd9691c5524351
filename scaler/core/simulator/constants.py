"""Every number the simulator takes for granted: its value, where it comes from, and whether anybody measured it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A number with its provenance."""

    value: float
    unit: str
    source: str
    measured: bool
    """False: assumed; what it stands for differs between workloads and should be calibrated."""


NOISE = Constant(0.05, "share of the load", "spread of 15 s samples around their minute, seven public traces", True)
METRIC_WINDOW_S = Constant(60.0, "s", "the usual rate(…[1m]) of a KEDA prometheus trigger", False)
SYNC_S = Constant(15.0, "s", "kube-controller-manager --horizontal-pod-autoscaler-sync-period", True)
POLLING_S = Constant(30.0, "s", "KEDA pollingInterval default (scaledobject_types.go)", True)
COOLDOWN_S = Constant(300.0, "s", "KEDA cooldownPeriod default (scaledobject_types.go)", True)
FLEET = Constant(20.0, "replicas", "mean fleet where no capacity is stated: a granularity of 5 %", False)
FLEET_UTILISATION = Constant(0.7, "share of capacity", "utilisation of that mean fleet: the usual HPA target", False)
UTILISATION = Constant(0.8, "share of saturation", "where a replica just meets its latency target", False)
SERVICE_S = Constant(0.1, "s", "mean service time of a request", False)
WORKERS = Constant(4.0, "requests", "served at once by one replica", False)
ARRIVAL_CV2 = Constant(1.0, "squared coefficient of variation", "Poisson arrivals within a step", False)
SERVICE_CV2 = Constant(1.5, "squared coefficient of variation", "of service times; web services have 0.5–3", False)
SERVICE_P95 = Constant(3.3, "mean service times", "95 % quantile of a lognormal with that variation: 3.26", True)
TIMEOUT_S = Constant(10.0, "s", "how long a client waits for a saturated service", False)
RETRIES = Constant(0.5, "share of timed-out requests", "sent again in the next step", False)
WARM_SHARE = Constant(0.5, "share of capacity", "what a replica serves while it warms up", False)
IDLE_CPU = Constant(0.05, "share of the request", "CPU of an idle replica", False)
IDLE_MEMORY = Constant(0.4, "share of the limit", "memory of an idle replica", False)
BUSY_MEMORY = Constant(0.3, "share of the limit", "what a saturated replica adds to it", False)
SIGNAL_NOISE = Constant(0.02, "share", "scatter of scraped CPU, memory and latency", False)

ALL = {name: value for name, value in globals().items() if isinstance(value, Constant)}
"""By name, for the documentation and the report."""
