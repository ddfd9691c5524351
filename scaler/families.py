"""The series that can be asked for over time: what each is called, means and is made of.

From recorded decisions come all of them but the load, which the history knows longer (`curves`). A decision at t speaks
of t, but for its forecast: that speaks of the end of its lead window.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Mode
from scaler.core.guardrails import NAMES
from scaler.query import Curve, reduced

COVERED_S = 86_400.0
"""Span over which coverage is counted."""
LEAST_COVERED_S = 3600.0
"""Span of forecasts that came true or not below which there is no coverage to speak of."""
LEVEL_NAMES = tuple(f"{level:g}" for level in LEVELS)


class Decided(Protocol):
    """Decisions of one workload, oldest first, (n,); UNKNOWN and NaN where nobody could tell."""

    @property
    def t_s(self) -> FloatArray:
        """Ticks."""

    @property
    def step_s(self) -> FloatArray:
        """Length of a step."""

    @property
    def h(self) -> IntArray:
        """Lead window in steps."""

    @property
    def load(self) -> FloatArray:
        """Accepted load."""

    @property
    def arrivals(self) -> FloatArray:
        """Messages per second that arrived in a queue, NaN elsewhere."""

    @property
    def replicas(self) -> IntArray:
        """What ran."""

    @property
    def ready(self) -> IntArray:
        """What served."""

    @property
    def reactive(self) -> IntArray:
        """What the HPA's rule wanted on what ran."""

    @property
    def reactive_alone(self) -> IntArray:
        """What the same rule would have run."""

    @property
    def predictive(self) -> IntArray:
        """What the forecast wanted."""

    @property
    def proposal(self) -> IntArray:
        """Before the guardrails."""

    @property
    def guarded(self) -> IntArray:
        """After each guardrail, (n, G)."""

    @property
    def predicted_replicas(self) -> IntArray:
        """What was decided."""

    @property
    def mode(self) -> IntArray:
        """`Mode`."""

    @property
    def drift(self) -> FloatArray:
        """0 to 1."""

    @property
    def earned(self) -> FloatArray:
        """0 to 1."""

    @property
    def level(self) -> FloatArray:
        """Level at which the forecast was read."""

    @property
    def capacity(self) -> FloatArray:
        """Load that one replica was taken to bear."""

    @property
    def version(self) -> IntArray:
        """Cutoff of the model, 0 for the naive one."""

    @property
    def peak(self) -> FloatArray:
        """Quantiles of the largest load in the lead window, (n, Q)."""

    @property
    def path(self) -> FloatArray:
        """Quantiles of the load at t + h, (n, Q)."""


Rows = Callable[[Decided], tuple[FloatArray, Mapping[str, FloatArray]]]
"""Stamps, and the values of each of the family's label's values."""


@dataclass(frozen=True, slots=True)
class Family:
    """Series of one name."""

    help: str
    label: str | None
    """Label beside namespace and workload."""
    members: tuple[str, ...]
    """All values of that label; ("",) where there is none."""
    rows: Rows
    back_s: float = 0.0
    """Time before a span whose decisions are needed for it."""


def _counts(values: IntArray) -> FloatArray:
    return np.where(values == UNKNOWN, np.nan, values).astype(np.float64)


def _known(values: FloatArray) -> Mapping[str, FloatArray]:
    return {"": np.asarray(values, np.float64)}


def required(load: FloatArray, capacity: FloatArray | float) -> FloatArray:
    """Replicas that a load needs, at least one; NaN where either is unknown."""
    return np.maximum(np.ceil(load / capacity), 1.0)


def _forecast_of(made: Decided) -> FloatArray:
    """What came of that which is forecast: arrivals of queues, load elsewhere."""
    return np.where(np.isnan(made.arrivals), made.load, made.arrivals)


def _replicas(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    return made.t_s, {
        "served": _counts(made.predicted_replicas),
        "observed": _counts(made.replicas),
        "ready": _counts(made.ready),
        "reactive": _counts(made.reactive),
        "reactive_alone": _counts(made.reactive_alone),
        "forecast": _counts(made.predictive),
        "proposed": _counts(made.proposal),
        "required": required(_forecast_of(made), made.capacity),
    }


def _forecast(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    return made.t_s + made.h * made.step_s, {name: made.path[:, q] for q, name in enumerate(LEVEL_NAMES)}


def _modes(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    return made.t_s, {mode.label: (made.mode == mode).astype(np.float64) for mode in Mode}


def _guardrails(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    moved = np.diff(np.concatenate([made.proposal[:, None], made.guarded], axis=1), axis=1).astype(np.float64)
    return made.t_s, {name: moved[:, g] for g, name in enumerate(NAMES)}


def _coverage(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    """Of the peaks that came due in the last day, the share that stayed below their forecast, at every decision."""
    came, due_s = _peaks_that_came(made), made.t_s + made.h * made.step_s
    order = np.argsort(due_s, kind="stable")
    due_s, came, peak = due_s[order], came[order], made.peak[order]
    known: BoolArray = ~np.isnan(came) & ~np.isnan(peak[:, 0])
    stop = np.searchsorted(due_s, made.t_s, "right")
    start = np.searchsorted(due_s, made.t_s - COVERED_S, "right")
    n = _running(known)[stop] - _running(known)[start]
    enough = n * made.step_s >= LEAST_COVERED_S
    shares = {}
    for q, name in enumerate(LEVEL_NAMES):
        below = _running(known & (came <= peak[:, q]))
        shares[name] = np.where(enough, (below[stop] - below[start]) / np.maximum(n, 1), np.nan)
    return made.t_s, shares


def _peaks_that_came(made: Decided) -> FloatArray:
    """Largest load of each decision's lead window, of queues the mean of their arrivals; NaN where any is missing."""
    seen = _forecast_of(made)
    low = np.searchsorted(made.t_s, made.t_s, "right")
    high = np.searchsorted(made.t_s, made.t_s + made.h * made.step_s, "right")
    over = "max_over_time" if np.isnan(made.arrivals).all() else "avg_over_time"
    gaps = _running(np.isnan(seen))
    whole = (high - low == made.h) & (gaps[high] == gaps[low])
    return np.where(whole, reduced(over, np.where(np.isnan(seen), 0.0, seen), low, high), np.nan)


def _running(flags: BoolArray) -> IntArray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(flags)])


def _capacities(made: Decided) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    return made.t_s, {"serving": _counts(made.ready) * made.capacity, "replica": made.capacity}


def _of(column: Callable[[Decided], FloatArray]) -> Rows:
    return lambda made: (made.t_s, _known(column(made)))


FAMILIES: Mapping[str, Family] = {
    "foresail_load": Family("Accepted load, in the unit of the query.", None, ("",), _of(lambda made: made.load)),
    "foresail_arrivals": Family(
        "Messages per second that arrive in a queue: what is forecast of it.",
        None,
        ("",),
        _of(lambda made: made.arrivals),
    ),
    "foresail_forecast_load": Family(
        "Quantile of a minute's load, of a queue of its arrivals: in the past as it was forecast a lead window before,"
        " from now on as it is forecast now.",
        "level",
        LEVEL_NAMES,
        _forecast,
    ),
    "foresail_day_peak_load": Family(
        "Median of the largest load of each of the coming 24 hours.",
        None,
        ("",),
        lambda made: (made.t_s[:0], _known(made.drift[:0])),
    ),
    "foresail_replicas": Family(
        "Replicas by what wants them; `required` is what the load that came needed.",
        "kind",
        ("served", "observed", "ready", "reactive", "reactive_alone", "forecast", "proposed", "required"),
        _replicas,
    ),
    "foresail_capacity_load": Family(
        "Load that can be borne: by the replicas that serve, and by one of them.",
        "kind",
        ("serving", "replica"),
        _capacities,
    ),
    "foresail_mode": Family(
        "1 for the mode that is served, 0 for the others.", "mode", tuple(mode.label for mode in Mode), _modes
    ),
    "foresail_guardrail_replicas": Family(
        "Replicas that a guardrail added or took away.", "guardrail", NAMES, _guardrails
    ),
    "foresail_coverage": Family(
        "Share of the last day's lead windows whose largest load stayed below what was forecast of it.",
        "level",
        LEVEL_NAMES,
        _coverage,
        COVERED_S,
    ),
    "foresail_lead_seconds": Family(
        "Lead window that is forecast over.", None, ("",), _of(lambda made: made.h * made.step_s)
    ),
    "foresail_drift_score": Family(
        "How far load and errors have drifted, 0 to 1.", None, ("",), _of(lambda made: made.drift)
    ),
    "foresail_earned_ratio": Family(
        "Share of a scale-down that the forecast has earned.", None, ("",), _of(lambda made: made.earned)
    ),
    "foresail_level_ratio": Family("Level at which the forecast is read.", None, ("",), _of(lambda made: made.level)),
    "foresail_model_age_seconds": Family(
        "Age of the newest sample that the model has learnt from.",
        None,
        ("",),
        _of(lambda made: np.where(made.version > 0, made.t_s - made.version, np.nan)),
    ),
}
"""All series by their names."""


def curves_of(name: str, labels: Mapping[str, str], made: Decided, wanted: set[str]) -> dict[str, Curve]:
    """The wanted members of a family, from recorded decisions of one workload."""
    family = FAMILIES[name]
    stamps_s, values = family.rows(made)
    order = np.argsort(stamps_s, kind="stable")
    return {
        member: Curve(
            {"__name__": name, **labels, **({} if family.label is None else {family.label: member})},
            stamps_s[order],
            values[member][order],
        )
        for member in family.members
        if member in wanted
    }
