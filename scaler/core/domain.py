"""The nouns of a decision, as columns: one row per workload, one batch per step length.

`Workload` is the one noun that is a single thing: a trigger, understood. All arrays have a leading axis (B,).
Replica counts are int64, with UNKNOWN where nobody could tell; loads and values
are float64, NaN where missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TypeVar

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray, level_of
from scaler.core.signals import Signal

UNKNOWN = -1
"""A replica count that nobody could tell."""
UNBOUNDED = 100_000
"""Largest replica count ever asked for where no maximum is known; the HPA clamps at its own."""
LARGEST_LOAD = 1e30
"""Largest load that is taken for a measurement: buckets are kept in single precision."""
HPA_SYNC_S = 15.0
"""How often the HPA reads its metric: kube-controller-manager's default sync period."""
DEFAULT_TOLERANCE = 0.1
"""--horizontal-pod-autoscaler-tolerance where the live HPA cannot be read."""

DEFAULT_LEAD_S = 120.0
"""Pod creation → serving where it was neither configured nor learnt."""

Columns = TypeVar("Columns")


class Kind(Enum):
    """What the load is."""

    RATE = "rate"
    """A rate: shortage hurts at once."""
    QUEUE = "queue"
    """A backlog in messages, `threshold` messages per replica."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a cluster says of a workload."""

    replicas: int
    ready: int
    hpa_minimum: int
    hpa_maximum: int
    tolerance: float
    """Upwards and, unless `tolerance_down` says otherwise, downwards; NaN where the HPA states none."""
    override: int = UNKNOWN
    """Replicas that somebody fixed by hand, UNKNOWN where nobody did."""
    pinned: int = UNKNOWN
    """`Mode` that somebody fixed by hand, UNKNOWN where nobody did."""
    paused: bool = False
    """Whether scaling is paused: decisions are recorded and nothing more."""
    tolerance_down: float = math.nan
    grows: bool = True
    """Whether the HPA may add replicas at all …"""
    shrinks: bool = True
    """… and take some away: KEDA's paused-scale-out and paused-scale-in forbid it, as `selectPolicy: Disabled` does."""
    shadow: bool | None = None
    """Whether the reactive answer is to be served; None where the trigger decides."""
    rollback_s: float = -math.inf
    """No model with a cutoff up to here is to be used."""
    champion_s: float = -math.inf
    """Cutoff of the model that is to serve, −inf where nobody says …"""
    champion_at_s: float = -math.inf
    """… and since when: a fit with a later cutoff takes its place."""
    retrain_s: float = -math.inf
    """When a new fit was asked for."""
    lead_s: float = math.nan
    """From asking for a replica to its serving as measured, NaN where it was not."""


NOTHING_RUNNING = Running(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, math.nan)
"""What is said of a workload of which nobody can tell anything."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One trigger, understood."""

    namespace: str
    name: str
    """The ScaledObject's name, or the declared one."""
    fingerprint: str
    """Eight hex digits that tell two triggers of one ScaledObject apart."""
    threshold: float
    capacity: float | None = None
    capacity_auto: bool = False
    """Whether the capacity is to be learnt."""
    kind: Kind = Kind.RATE
    server_address: str | None = None
    query: str | None = None
    arrival_query: str | None = None
    replicas_query: str | None = None
    cpu_query: str | None = None
    memory_query: str | None = None
    latency_query: str | None = None
    queue_query: str | None = None
    timeout_s: float | None = None
    """Longest that a query may take, where it is shorter than the server's."""
    activation_threshold: float = 0.0
    slo: float | None = None
    shadow: bool = False
    observe_only: bool = False
    """Decisions are recorded and served to nobody."""
    max_replica_hours_per_day: float | None = None
    lead_s: float = DEFAULT_LEAD_S
    lead_stated: bool = False
    """Whether somebody said so; what is measured takes its place otherwise."""
    min_replicas: int | None = None
    max_replicas: int | None = None
    step_s: float = 15.0
    metric_lag_s: float = 0.0
    latency_target_s: float | None = None
    tolerance: float | None = None
    timezone: str = "UTC"
    """IANA zone by whose local time its days go."""
    calendar: str | None = None
    """Name of a calendar in the settings."""
    inactive: tuple[str, ...] = ()
    """Keys that were understood but whose feature is not built into this version."""

    def query_of(self, signal: Signal) -> str | None:
        """The query of a signal, None where there is none."""
        fields = {Signal.LOAD: "query", Signal.ARRIVALS: "arrival_query"}
        query: str | None = getattr(self, fields.get(signal, f"{signal.value}_query"))
        return query


class Mode(IntEnum):
    """What is being served, as a ladder (the table of transitions is in `trust`)."""

    LEARNING = 0
    RECOVERY = 1
    NORMAL = 2
    DEGRADED = 3
    RETRAINING = 4
    HOLDING = 5
    FAILED = 6

    @property
    def label(self) -> str:
        """The word users read: Learning, Recovery, …"""
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Workloads:
    """What is configured or read about B workloads."""

    threshold: FloatArray
    """Average load per replica that the reactive rule aims at."""
    capacity: FloatArray
    """Largest load at which one replica still meets its latency target; for queues messages/s one replica clears."""
    queue: BoolArray
    """Whether the load is a backlog."""
    capacity_known: BoolArray
    """False for a queue whose capacity is neither stated nor learnt: served reactively."""
    capacity_auto: BoolArray
    """Whether the capacity in force follows what is learnt."""
    activation: FloatArray
    """Load above which a workload is active."""
    slo: FloatArray
    """Stated share of load to be met, NaN where left to the default."""
    h: IntArray
    """Lead window in steps."""
    lead_s: FloatArray
    """From asking for a replica to its serving, with metric lag and HPA sync."""
    tolerance: FloatArray
    """The HPA's tolerance upwards."""
    tolerance_down: FloatArray
    """The same downwards."""
    minimum: IntArray
    """Smallest replica count that may be asked for."""
    maximum: IntArray
    """Largest replica count that may be asked for."""
    hpa_minimum: IntArray
    """The live HPA's own minimum, UNKNOWN where it was not read."""
    hpa_maximum: IntArray
    """The live HPA's own maximum, UNKNOWN where it was not read."""
    latency_target_s: FloatArray
    """Wanted age of the oldest message or wanted latency, NaN where not stated."""
    shadow: BoolArray
    """Decide and record, but serve the reactive answer."""
    replica_hours: FloatArray
    """Most replica-hours per day (UTC) that prediction may spend, inf without a ceiling."""
    override: IntArray
    """Replicas fixed by hand, UNKNOWN where nobody did."""
    pinned: IntArray
    """`Mode` fixed by hand, UNKNOWN where nobody did."""
    paused: BoolArray
    """Whether scaling is paused: what runs stays, decisions are only recorded."""
    canary: FloatArray
    """Share of the reactive rule that a new champion may add, inf where none is on trial."""
    grows: BoolArray
    """Whether the HPA may add replicas …"""
    shrinks: BoolArray
    """… and take some away."""
    phase_s: FloatArray
    """When within each hour its slow work falls due, so that a fleet's spreads."""

    @property
    def hold(self) -> IntArray:
        """Steps for which a scale-down waits: a quarter of the lead window, rounded up, (B,)."""
        return -(-self.h // 4)


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of B workloads at one tick."""

    t_s: float
    """The tick, Unix seconds, a multiple of the step."""
    step_s: float
    """Step length of the batch."""
    load: FloatArray
    """Accepted newest sample, NaN where missing at this tick."""
    arrivals: FloatArray
    """Messages arriving per second for queues, NaN elsewhere or where unknown."""
    stale_s: FloatArray
    """Age of the newest good sample, 0 where this tick has one, inf where there never was one."""
    history_s: FloatArray
    """Span of the history known."""
    replicas: IntArray
    """Replicas the HPA sees (status.replicas), UNKNOWN where not read."""
    ready: IntArray
    """Replicas that serve, UNKNOWN where not read."""
    feedback: FloatArray
    """CPU and memory utilisation, latency in s, queue depth, (B, 4); NaN where absent."""
    doubt: IntArray
    """What is strange about the sample, as `plausibility.Doubt` says."""

    @property
    def fresh(self) -> BoolArray:
        """Whether this tick has a sample."""
        return ~np.isnan(self.load)


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecasts of B workloads made at one tick."""

    peak: FloatArray
    """Quantiles of the largest load in the lead window at LEVELS, (B, Q); NaN where there is none."""
    path: FloatArray
    """Quantiles of the load at t + h, (B, Q)."""
    ceiling: FloatArray
    """Largest load worth believing at any level, (B,)."""
    version: IntArray
    """Cutoff of the model in Unix seconds, 0 for the naive forecaster."""
    validated: BoolArray
    """Whether a fitted model stands behind the forecast."""
    drift: FloatArray
    """Parts of the drift that was found, (B, P), as `forecasting.drift.Part` names them."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """The whole record of one tick: what was known, what each rule wanted, what was sent."""

    t_s: float
    load: FloatArray
    """Accepted load, NaN where missing."""
    feedback: FloatArray
    """CPU, memory, latency, queue depth, (B, 4); NaN where absent."""
    replicas: IntArray
    """Observed replicas, UNKNOWN where not read."""
    ready: IntArray
    reactive: IntArray
    """What the HPA rule wants on the observed replicas: the fallback."""
    reactive_alone: IntArray
    """What the same rule would run had it been alone: the yardstick."""
    predictive: IntArray
    """What the forecast alone wants, UNKNOWN where there is no forecast."""
    proposal: IntArray
    """What mode and policy propose, before the guardrails."""
    guarded: IntArray
    """The number after each guardrail, (B, G)."""
    predicted_replicas: IntArray
    """What was decided."""
    value: FloatArray
    """What is sent, so that the HPA does what was decided."""
    reached: IntArray
    """What the HPA makes of it; UNKNOWN where nobody can tell what runs."""
    active: BoolArray
    """Whether the workload should run at all (KEDA's 0 ↔ 1)."""
    mode: IntArray
    """`Mode` of each row."""
    cause: IntArray
    """`trust.Cause` of the last move of the mode."""
    evidence: IntArray
    """`trust.Evidence` for the model."""
    drift: FloatArray
    """How far load and errors have drifted, 0 to 1."""
    earned: FloatArray
    """w: the share of a scale-down that the forecast has earned, 0 to 1."""
    price: FloatArray
    """R: how many surplus replicas one short replica is worth."""
    level: FloatArray
    """R / (1 + R), the level at which the forecast is read."""
    capacity: FloatArray
    """Load one replica was taken to bear."""
    learned: IntArray
    """What the agent would keep, UNKNOWN where there is none or it has no word."""
    move: IntArray
    """Its last move, an index of `learned.MOVES`."""
    acting: BoolArray
    """Whether the proposal is the agent's."""
    version: IntArray
    """Cutoff of the model, 0 for the naive forecaster."""
    peak: FloatArray
    """(B, Q)"""
    path: FloatArray
    """(B, Q)"""
    ceiling: FloatArray
    """Largest load that was believed at any level, (B,)."""

    @property
    def confidence(self) -> FloatArray:
        """Probability that the decided replicas suffice through the lead window, (B,); NaN without a forecast."""
        return level_of(self.peak, self.predicted_replicas * self.capacity)


def columns_of(workloads: Sequence[Workload]) -> Workloads:
    """Turn parsed workloads into columns; the HPA's own bounds are UNKNOWN until a cluster reads them."""

    def numbers(values: list[float]) -> FloatArray:
        return np.array(values, dtype=np.float64)

    def counts(values: list[int]) -> IntArray:
        return np.array(values, dtype=np.int64)

    lead_s = numbers([whole_lead_s(w, w.lead_s) for w in workloads])
    steps = numbers([w.step_s for w in workloads])
    tolerances = [DEFAULT_TOLERANCE if w.tolerance is None else w.tolerance for w in workloads]
    return Workloads(
        threshold=numbers([w.threshold for w in workloads]),
        capacity=numbers([w.capacity if w.capacity is not None else w.threshold for w in workloads]),
        queue=np.array([w.kind is Kind.QUEUE for w in workloads], dtype=np.bool_),
        capacity_known=np.array([w.kind is Kind.RATE or w.capacity is not None for w in workloads], dtype=np.bool_),
        capacity_auto=np.array([w.capacity_auto for w in workloads], dtype=np.bool_),
        activation=numbers([w.activation_threshold for w in workloads]),
        slo=numbers([np.nan if w.slo is None else w.slo for w in workloads]),
        h=window_steps(lead_s, steps),
        lead_s=lead_s,
        tolerance=numbers(tolerances),
        tolerance_down=numbers(tolerances),
        minimum=counts([w.min_replicas or 0 for w in workloads]),
        maximum=counts([UNBOUNDED if w.max_replicas is None else w.max_replicas for w in workloads]),
        hpa_minimum=counts([UNKNOWN] * len(workloads)),
        hpa_maximum=counts([UNKNOWN] * len(workloads)),
        latency_target_s=numbers([np.nan if w.latency_target_s is None else w.latency_target_s for w in workloads]),
        shadow=np.array([w.shadow for w in workloads], dtype=np.bool_),
        replica_hours=numbers(
            [np.inf if w.max_replica_hours_per_day is None else w.max_replica_hours_per_day for w in workloads]
        ),
        override=counts([UNKNOWN] * len(workloads)),
        pinned=counts([UNKNOWN] * len(workloads)),
        paused=np.zeros(len(workloads), np.bool_),
        canary=numbers([np.inf] * len(workloads)),
        grows=np.ones(len(workloads), np.bool_),
        shrinks=np.ones(len(workloads), np.bool_),
        phase_s=numbers([int(w.fingerprint, 16) % 3600 // 60 * 60.0 for w in workloads]),
    )


def whole_lead_s(workload: Workload, lead_s: float) -> float:
    """From asking for a replica to its serving, with what passes before the HPA asks at all."""
    return lead_s + workload.metric_lag_s + HPA_SYNC_S


def window_steps(lead_s: FloatArray, step_s: FloatArray | float) -> IntArray:
    """Lead window in steps, at least one."""
    return np.maximum(np.ceil(lead_s / step_s - 1e-9), 1).astype(np.int64)


def take(columns: Columns, rows: IntArray | slice) -> Columns:
    """Rows of a dataclass of arrays, nested ones included; fields that are not arrays are kept."""
    values = []
    for name in columns.__slots__:  # type: ignore[attr-defined]
        value = getattr(columns, name)
        if isinstance(value, np.ndarray):
            value = value[rows]
        elif hasattr(value, "__slots__"):
            value = take(value, rows)
        values.append(value)
    return type(columns)(*values)


def put(columns: object, rows: IntArray | slice, values: object) -> None:
    """Write rows into a dataclass of arrays in place: the one mutation, owned by whoever owns the arrays."""
    for name in columns.__slots__:  # type: ignore[attr-defined]
        target = getattr(columns, name)
        if isinstance(target, np.ndarray):
            target[rows] = getattr(values, name)
        else:
            put(target, rows, getattr(values, name))


def pushed(ring: IntArray, newest: IntArray) -> IntArray:
    """The ring, newest first along its last axis, with one more value; the oldest is gone."""
    shifted = np.empty_like(ring)
    shifted[..., 0] = newest
    shifted[..., 1:] = ring[..., :-1]
    return shifted
