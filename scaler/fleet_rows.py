"""What a fleet keeps of its rows beside their samples, as one dataclass of arrays: reset and grown as a whole."""

import math
from dataclasses import dataclass

import numpy as np

from forecasting import catalog, conformal, ensemble
from forecasting.forecast import FloatArray
from forecasting.series import bucket_spacing
from scaler.core import capacity, decision, plausibility, watch
from scaler.core.domain import (
    DEFAULT_TOLERANCE,
    UNKNOWN,
    Running,
    Workload,
    Workloads,
    columns_of,
    whole_lead_s,
    window_steps,
)


@dataclass(slots=True)
class FleetRows:
    """All of B rows."""

    columns: Workloads
    models: catalog.Models
    models_before: catalog.Models
    state: decision.State
    record: conformal.Record
    ensemble: ensemble.EnsembleState
    watch: watch.WatchState
    plausible: plausibility.PlausibilityState
    capacity: capacity.CapacityState
    """What one replica bears, as learnt."""
    good_s: FloatArray
    """Newest sample that was accepted, −inf before the first, (B,)."""
    read_s: FloatArray
    """Newest sample that was read at all, (B,)."""
    skipped_s: FloatArray
    """Nothing with a cutoff up to this is fitted any more, (B,)."""
    by_hand_s: FloatArray
    """When a fit was asked for, the cutoff of the champion that was chosen, and when, (B, 3); −inf: not."""
    depth: FloatArray
    """A queue's depth at the last tick, NaN where unknown, (B,)."""
    arrivals: FloatArray
    """Its arrivals, (B,)."""
    work: FloatArray
    """What was met or cleared at the last tick, (B,)."""


def unknown(workload: Workload, n: int, step_s: float) -> FleetRows:
    """N rows of which nothing is known but their workload."""
    never, nothing = np.full((3, n), -np.inf), np.full((3, n), np.nan)
    return FleetRows(
        columns_of([workload] * n),
        catalog.unfitted(n),
        catalog.unfitted(n),
        decision.initial_state(n, step_s),
        conformal.empty(n, bucket_spacing(step_s)),
        ensemble.initial_state(n),
        watch.initial_state(n),
        plausibility.initial_state(n),
        capacity.initial_state(n),
        good_s=never[0],
        read_s=never[1],
        skipped_s=never[2],
        by_hand_s=np.full((n, 3), -np.inf),
        depth=nothing[0],
        arrivals=nothing[1],
        work=nothing[2],
    )


def follow(columns: Workloads, row: int, workload: Workload, running: Running) -> None:
    """Take over what a cluster says of a row; tighter bounds and a lead time that were stated stay in force."""
    if running.hpa_maximum != UNKNOWN:
        columns.hpa_minimum[row], columns.hpa_maximum[row] = running.hpa_minimum, running.hpa_maximum
        columns.minimum[row] = max(workload.min_replicas or 0, running.hpa_minimum)
        columns.maximum[row] = min(workload.max_replicas or running.hpa_maximum, running.hpa_maximum)
    otherwise = DEFAULT_TOLERANCE if workload.tolerance is None else workload.tolerance
    up = otherwise if math.isnan(running.tolerance) else running.tolerance
    down = running.tolerance if math.isnan(running.tolerance_down) else running.tolerance_down
    columns.tolerance[row], columns.tolerance_down[row] = up, otherwise if math.isnan(down) else down
    columns.shadow[row] = workload.shadow if running.shadow is None else running.shadow
    columns.override[row], columns.pinned[row] = running.override, running.pinned
    columns.paused[row], columns.grows[row], columns.shrinks[row] = running.paused, running.grows, running.shrinks
    if not workload.lead_stated and not math.isnan(running.lead_s):
        columns.lead_s[row] = whole_lead_s(workload, running.lead_s)
        columns.h[row] = window_steps(columns.lead_s[row : row + 1], workload.step_s)[0]
