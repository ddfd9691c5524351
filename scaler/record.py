"""A decision as it is kept: one packed row of numbers, and the columns that it is read back as.

    decisions of a tick → rows of LAYOUT → packed (bytes of one kind side by side, deflated) → columns of one workload

Every tick is kept whole: packed, a steady one takes less than a short form of it would. Rows are described by the names
and kinds of their fields, so that a later version may add fields: what an older row lacks reads as unknown.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Decisions, Observations, Workloads
from scaler.core.guardrails import NAMES
from scaler.core.policies import clearing_rate
from scaler.errors import StoreError

Records = NDArray[Any]
AFTER = tuple(f"after_{name}" for name in NAMES)
"""Fields with the number after each guardrail, in their order."""
FEEDBACK = ("cpu", "memory", "latency", "queue")
Q = len(LEVELS)
LAYOUT = np.dtype(
    [
        ("t", "<f8"),
        ("step", "<f4"),
        ("load", "<f8"),
        ("raw_load", "<f8"),
        ("arrivals", "<f8"),
        ("clearing", "<f8"),
        *((name, "<f4") for name in FEEDBACK),
        *((name, "<i4") for name in ("replicas", "ready", "reactive", "reactive_alone", "predictive", "proposal")),
        *((name, "<i4") for name in AFTER),
        ("value", "<f8"),
        *((name, "<i4") for name in ("reached", "minimum", "maximum", "h")),
        *(
            (name, "<u1")
            for name in ("active", "shadow", "paused", "persistent", "acting", "mode", "cause", "evidence")
        ),
        *((name, "<i4") for name in ("learned", "move")),
        *((name, "<f4") for name in ("drift", "earned")),
        *((name, "<f8") for name in ("price", "tolerance", "tolerance_down", "threshold", "capacity", "ceiling")),
        ("version", "<i8"),
        ("peak", "<f4", (Q,)),
        ("path", "<f4", (Q,)),
    ]
)
"""One decision of one workload; NaN and UNKNOWN where nobody could tell."""
MADE = ("load", "replicas", "ready", "reactive", "reactive_alone", "predictive", "proposal", "value", "reached")
ADVISED = ("learned", "move", "acting")
TRUSTED = ("active", "mode", "cause", "evidence", "drift", "earned", "price", "capacity", "version")
FORECAST = ("peak", "path", "ceiling")
CONFIGURED = ("minimum", "maximum", "h", "shadow", "paused", "tolerance", "tolerance_down", "threshold")


@dataclass(frozen=True, slots=True)
class Recorded:
    """Decisions of one workload, oldest first: n of them, no two of one time."""

    t_s: FloatArray
    """Ticks, Unix seconds, (n,)."""
    step_s: FloatArray
    load: FloatArray
    """Accepted load, NaN where missing."""
    raw_load: FloatArray
    """Load as it was read; it differs from the accepted one where it was in doubt."""
    arrivals: FloatArray
    """Messages arriving per second for queues, NaN elsewhere or where unknown."""
    clearing: FloatArray
    """Messages per second to be cleared beside the arrivals that are forecast, 0 for rates."""
    feedback: FloatArray
    """CPU, memory, latency, queue depth, (n, 4); NaN where absent."""
    replicas: IntArray
    """Replicas that ran, UNKNOWN where not read."""
    ready: IntArray
    reactive: IntArray
    """What the HPA rule wanted on the observed replicas: the fallback."""
    reactive_alone: IntArray
    """What the same rule would have run had it been alone: the yardstick."""
    predictive: IntArray
    """What the forecast alone wanted, UNKNOWN where there was none."""
    proposal: IntArray
    guarded: IntArray
    """The number after each guardrail, (n, G)."""
    predicted_replicas: IntArray
    """What was decided."""
    value: FloatArray
    """What was sent."""
    reached: IntArray
    """What the HPA makes of it, UNKNOWN where nobody could tell."""
    learned: IntArray
    """What the agent would have kept, UNKNOWN where it had no word."""
    move: IntArray
    """Its last move, an index of `learned.MOVES`, UNKNOWN in records older than agents."""
    acting: BoolArray
    """Whether the proposal was the agent's."""
    active: BoolArray
    shadow: BoolArray
    """Whether the reactive answer was served while the forecast was only recorded."""
    paused: BoolArray
    persistent: BoolArray
    """Whether the forecast rested on the load now alone: persistence was heard."""
    mode: IntArray
    cause: IntArray
    evidence: IntArray
    drift: FloatArray
    earned: FloatArray
    """w: the share of a scale-down that the forecast had earned."""
    price: FloatArray
    """R: how many surplus replicas one short replica was worth."""
    threshold: FloatArray
    capacity: FloatArray
    tolerance: FloatArray
    """The HPA's tolerance upwards."""
    tolerance_down: FloatArray
    minimum: IntArray
    """Smallest replica count that could be asked for."""
    maximum: IntArray
    h: IntArray
    """Lead window in steps."""
    version: IntArray
    """Cutoff of the model, 0 for the naive forecaster."""
    peak: FloatArray
    """Quantiles of the largest load in the lead window, (n, Q)."""
    path: FloatArray
    """Quantiles of the load at its end, (n, Q)."""
    ceiling: FloatArray
    """Largest load that was believed at any level."""

    @property
    def level(self) -> FloatArray:
        """R / (1 + R), the level at which the forecast was read, (n,)."""
        return np.asarray(self.price / (1.0 + self.price))

    @property
    def present(self) -> BoolArray:
        """Which feedback was there, (n, 4)."""
        return ~np.isnan(self.feedback)


@dataclass(frozen=True, slots=True)
class Tick:
    """All that is kept of a tick, B rows each."""

    made: Decisions
    seen: Observations
    raw_load: FloatArray
    """Load as it was read."""
    persistent: BoolArray
    """Whether persistence was heard."""
    fleet: Workloads


def records_of(tick: Tick, rows: IntArray) -> Records:
    """Some rows of a tick as they are kept, (len(rows),)."""
    records = np.zeros(len(rows), LAYOUT)
    made, seen = tick.made, tick.seen
    records["t"], records["step"] = made.t_s, seen.step_s
    records["raw_load"], records["arrivals"] = tick.raw_load[rows], seen.arrivals[rows]
    records["clearing"] = clearing_rate(made.peak, seen, tick.fleet)[rows]
    records["persistent"] = tick.persistent[rows]
    for columns, names in ((made, (*MADE, *ADVISED, *TRUSTED, *FORECAST)), (tick.fleet, CONFIGURED)):
        for name in names:
            records[name] = getattr(columns, name)[rows]
    for place, name in enumerate(FEEDBACK):
        records[name] = made.feedback[rows, place]
    for place, name in enumerate(AFTER):
        records[name] = made.guarded[rows, place]
    return records


def columns_of(records: Records) -> Recorded:
    """Rows of one workload as columns, by time; of two with one time the later one counts."""
    order = np.argsort(records["t"], kind="stable")
    last = np.append(np.diff(records["t"][order]) > 0, np.ones(min(len(records), 1), np.bool_))
    kept = records[order[last]]
    plain = {name: _widened(kept[name]) for name in Recorded.__slots__ if name in (LAYOUT.names or ())}
    plain |= {name: kept[name] != 0 for name in ("active", "shadow", "paused", "persistent", "acting")}
    guarded = np.stack([_widened(kept[name]) for name in AFTER], axis=1)
    return Recorded(
        **plain,
        t_s=_widened(kept["t"]),
        step_s=_widened(kept["step"]),
        feedback=np.stack([_widened(kept[name]) for name in FEEDBACK], axis=1),
        guarded=guarded,
        predicted_replicas=guarded[:, -1],
    )


def _widened(column: NDArray[Any]) -> NDArray[Any]:
    return column.astype(np.float64 if column.dtype.kind == "f" else np.int64)


def described(layout: np.dtype[Any] = LAYOUT) -> str:
    """A layout as text, to be kept beside what was written in it."""
    return json.dumps([[name, *_kind(layout[name])] for name in layout.names or ()])


def _kind(field: np.dtype[Any]) -> tuple[str, list[int]]:
    return field.base.str, list(field.shape)


def layout_of(description: str) -> np.dtype[Any]:
    """The layout that `described` told of."""
    return np.dtype([(name, kind, tuple(shape)) for name, kind, shape in json.loads(description)])


def packed(records: Records) -> bytes:
    """Records as few bytes: the first byte of every row, then the second, and so on, deflated."""
    plain = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), records.dtype.itemsize)
    return zlib.compress(plain.T.tobytes(), 4)


def unpacked(blob: bytes, layout: np.dtype[Any]) -> Records:
    """Records of `packed`, in today's layout; fields that theirs lacks are unknown.

    Raises:
        StoreError: not a blob of this layout.
    """
    try:
        turned = np.frombuffer(zlib.decompress(blob), np.uint8).reshape(layout.itemsize, -1)
    except (ValueError, zlib.error) as error:
        raise StoreError(f"records that cannot be read back: {error}") from error
    records = np.ascontiguousarray(turned.T).reshape(-1).view(layout)
    return records if layout == LAYOUT else _translated(records)


def _translated(records: Records) -> Records:
    """Rows of an older layout in today's: a guardrail that there was not yet moved nothing."""
    theirs = records.dtype.names or ()
    today, before = np.zeros(len(records), LAYOUT), "proposal"
    for name in LAYOUT.names or ():
        kind = LAYOUT[name].base.kind
        source = name if name in theirs else before if name in AFTER else None
        today[name] = records[source] if source else np.nan if kind == "f" else UNKNOWN if kind == "i" else 0
        before = source if name in AFTER and source else before
    return today
