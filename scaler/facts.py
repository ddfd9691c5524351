"""What an owner must know of a workload, found in its newest decision and in what was asked by hand."""

import math
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from forecasting.ahead import day_ahead
from scaler.announcer import Fact
from scaler.board import Posted
from scaler.core import capacity
from scaler.core.domain import HPA_SYNC_S, UNKNOWN, Mode
from scaler.core.guardrails import replicas_for
from scaler.core.start_up import LeadTime
from scaler.core.steering import Override, Steering
from scaler.core.trust import Cause
from scaler.engine import Engine
from scaler.fleet import Fleet
from scaler.roster import Key

LOUD = (Mode.DEGRADED, Mode.HOLDING, Mode.FAILED)
"""Modes that an owner should look at."""
STUCK_S = 300.0
"""Time in the HPA's band from which it is told: a value inside it for a minute is nobody's trouble."""
DIFFERS = 0.25
"""Share by which a stated lead time may miss the measured one."""


DAY_AGAIN_S = 900.0
"""Between two looks at the coming day."""


class DayPeak(NamedTuple):
    """The busiest hour of the coming day."""

    at_s: float
    """Its beginning, Unix seconds."""
    replicas: int
    """What its peak is expected to need."""


class Watchman:
    """Facts of all workloads, look by look: what is told of a change needs what was before it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._modes: dict[Key, Mode] = {}
        self._overrides: dict[Key, Override | None] = {}
        self._stuck_since_s: dict[Key, float] = {}
        self._days: dict[Key, tuple[float, DayPeak | None]] = {}

    def look(self, key: Key, steered: Steering, lead: LeadTime | None) -> list[Fact]:
        """What is to be told of a workload now."""
        posted = self._engine.board.get(key)
        found = [Fact("AnnotationRefused", reason) for reason in steered.refused]
        found += self._override(key, steered.override)
        if posted is not None:
            fleet, row = self._engine.row_of(key)
            found += self._mode(key, posted)
            self._look_ahead(key, fleet, row)
            found += _peak(posted, fleet, row) or self._day(key, int(fleet.columns.maximum[row]))
            found += self._band(key, posted, fleet, row)
            found += _bounds(steered.override, fleet, row)
            found += self._engine.succession.facts(key)
            found += _capacity(fleet, row)
        return found + self._lead(key, lead)

    def forget(self, keys: set[Key]) -> None:
        """Remember only these workloads."""
        for memory in (self._modes, self._overrides, self._stuck_since_s, self._days):
            for key in [key for key in memory if key not in keys]:
                del memory[key]

    def day_peak(self, key: Key) -> DayPeak | None:
        """The busiest hour of the coming day as it was last looked for; None where nothing can be said."""
        return self._days[key][1] if key in self._days else None

    def _look_ahead(self, key: Key, fleet: Fleet, row: int) -> None:
        now_s = fleet.ring.end_s
        if now_s - self._days.get(key, (-math.inf, None))[0] >= DAY_AGAIN_S:
            self._days[key] = now_s, _busiest(fleet, row)

    def _day(self, key: Key, maximum: int) -> list[Fact]:
        peak = self.day_peak(key)
        if peak is None or peak.replicas <= maximum:
            return []
        said = f"forecast peak at {_clock(peak.at_s)} UTC needs {peak.replicas} replicas, maximum is {maximum}"
        return [Fact("PeakAboveMaximum", said)]

    def _mode(self, key: Key, posted: Posted) -> list[Fact]:
        was = self._modes.get(key)
        self._modes[key] = posted.mode
        if was is None or was is posted.mode:
            return []
        why = Cause(posted.decisions.cause[posted.row]).label
        return [Fact("ModeChanged", f"{was.label} → {posted.mode.label}: {why}", warning=posted.mode in LOUD)]

    def _override(self, key: Key, now: Override | None) -> list[Fact]:
        was = self._overrides.get(key)
        self._overrides[key] = now
        if was == now:
            return []
        if now is not None:
            return [Fact("OverrideInForce", f"fixed by hand: {now}", warning=False)]
        return [Fact("OverrideEnded", f"no longer fixed by hand: {was}", warning=False)]

    def _band(self, key: Key, posted: Posted, fleet: Fleet, row: int) -> list[Fact]:
        made, at = posted.decisions, posted.row
        decided, runs, reached = (int(c[at]) for c in (made.predicted_replicas, made.replicas, made.reached))
        if reached in {UNKNOWN, decided} or reached != runs or not posted.active:
            self._stuck_since_s.pop(key, None)
            return []
        if posted.t_s - self._stuck_since_s.setdefault(key, posted.t_s) < STUCK_S:
            return []
        said = f"the HPA stays at {runs} replicas where {decided} were decided: {_obstacle(fleet, row, decided - runs)}"
        return [Fact("HpaWillNotFollow", said)]

    def _lead(self, key: Key, lead: LeadTime | None) -> list[Fact]:
        workload = self._engine.roster.entries[key].workload
        if lead is None or not workload.lead_stated or abs(lead.lead_s / workload.lead_s - 1.0) <= DIFFERS:
            return []
        measured = f"P95 of {lead.pods} pods {math.ceil(lead.lead_s):d} s"
        return [Fact("LeadTimeDiffers", f"leadTime is stated as {workload.lead_s:g} s, measured is {measured}")]


def _busiest(fleet: Fleet, row: int) -> DayPeak | None:
    ahead = day_ahead(fleet.history(slice(row, row + 1)), fleet.models.multiplier[row : row + 1])
    if fleet.columns.queue[row] or np.isnan(ahead.peak).all():
        return None
    hour = int(np.nanargmax(ahead.peak))
    need = replicas_for(ahead.peak[hour : hour + 1], fleet.columns.capacity[row : row + 1])
    return DayPeak(float(ahead.begin_s[hour]), int(need[0]))


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M")


def _obstacle(fleet: Fleet, row: int, step: int) -> str:
    """Why the HPA does not take a step of so many replicas."""
    columns = fleet.columns
    if step > 0:
        allowed, band, way = columns.grows, columns.tolerance, "out"
    else:
        allowed, band, way = columns.shrinks, columns.tolerance_down, "in"
    return f"inside its {100 * float(band[row]):g} % band" if allowed[row] else f"its scale-{way} is paused"


def _peak(posted: Posted, fleet: Fleet, row: int) -> list[Fact]:
    needed, maximum = int(posted.decisions.predictive[posted.row]), int(fleet.columns.maximum[row])
    if needed <= maximum:
        return []
    until_s = posted.t_s + float(fleet.columns.lead_s[row]) - HPA_SYNC_S
    said = f"forecast peak until {_clock(until_s)} UTC needs {needed} replicas, maximum is {maximum}"
    return [Fact("PeakAboveMaximum", said)]


def _capacity(fleet: Fleet, row: int) -> list[Fact]:
    workload, found = fleet.workloads[row], capacity.of_row(fleet.capacity, row)
    if workload is None or workload.capacity is None or found is None or not found.contradicts(workload.capacity):
        return []
    said = f"capacity is stated as {workload.capacity:g}, one replica was found to bear {found.roughly()}"
    return [Fact("CapacityDiffers", said)]


def _bounds(override: Override | None, fleet: Fleet, row: int) -> list[Fact]:
    if override is None:
        return []
    if fleet.columns.paused[row]:
        return [Fact("OverrideWhilePaused", f"{override.what} fixed by hand, but KEDA has paused: what runs stays")]
    if override.replicas == UNKNOWN:
        return []
    low, high = int(fleet.columns.minimum[row]), int(fleet.columns.maximum[row])
    if low <= override.replicas <= high:
        return []
    served = min(max(override.replicas, low), high)
    said = f"{override.what} fixed by hand, but {low} to {high} are allowed: {served} are served"
    return [Fact("OverrideOutsideBounds", said)]
