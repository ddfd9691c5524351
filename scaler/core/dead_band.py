"""The value to send so that the HPA does what was decided.

With a target of 1 the HPA sets ceil(value) replicas, except where value / S lies within its tolerance of 1: there it
does nothing, so a deployment at 20 asked for 22 stays at 20 for good. Downwards the low end of the ceiling's interval
reaches one step further (N − 0.9 still rounds up to N). Upwards no value reaches N inside the band; the smallest
reachable count is floor((1 + tolerance)·S) + 1, which is worth its surplus only where short replicas cost more. The
surplus so forced is kept until N leaves the band below, else a smooth ramp would thrash between the band's ends.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from scaler.core.domain import UNKNOWN, Workloads

ABOVE_FLOOR = 0.1
"""N − 1 + 0.1 is sent on the way down, and 0.1 at the HPA's minimum: both round up to the count that is meant."""


@dataclass(frozen=True, slots=True)
class BandState:
    """Which surplus the band has forced, (B,)."""

    forced: IntArray
    """The count that was overshot to, 0 where none is kept."""


def initial_state(n: int) -> BandState:
    """Nothing forced."""
    return BandState(np.zeros(n, np.int64))


def encode(
    wanted: IntArray,
    replicas: IntArray,
    active: BoolArray,
    price: FloatArray,
    fleet: Workloads,
    state: BandState,
) -> tuple[FloatArray, BandState]:
    """Value for `wanted` replicas given what the HPA sees, (B,), and the surplus kept from now on.

    Exact where the tolerance is 0 or S is unknown (then plain N is the best that can be said). Never resolves outside
    of the fleet's bounds; 0 only when inactive.
    """
    s = np.maximum(replicas, 1)
    up_edge, down_edge = (1.0 + fleet.tolerance) * s, (1.0 - fleet.tolerance_down) * s
    smallest_up = np.floor(up_edge + 1e-9).astype(np.int64) + 1
    known = (replicas > 0) & ((fleet.tolerance > 0) | (fleet.tolerance_down > 0))
    short = known & (wanted > replicas) & (wanted <= up_edge + 1e-9)
    # Clamped at the HPA's own maximum an overshoot costs less; at a tighter bound of ours it would break it.
    own_maximum = (fleet.hpa_maximum != UNKNOWN) & (fleet.maximum >= fleet.hpa_maximum)
    reached = np.where(own_maximum, np.minimum(smallest_up, fleet.hpa_maximum), smallest_up)
    worth = price * (wanted - replicas) > reached - wanted
    overshoot = short & worth & (reached <= fleet.maximum)
    keep = known & (state.forced == replicas) & (wanted < replicas) & (wanted > down_edge + 1e-9)
    value = wanted.astype(np.float64)
    value = np.where(known & (wanted < replicas), wanted - 1 + ABOVE_FLOOR, value)
    value = np.where(overshoot, smallest_up, np.where(keep | (short & ~overshoot), replicas, value))
    value = np.where(own_maximum & (wanted >= fleet.hpa_maximum), 2.0 * fleet.hpa_maximum, value)
    own_minimum = (fleet.hpa_minimum != UNKNOWN) & (fleet.minimum <= fleet.hpa_minimum)
    value = np.where(own_minimum & (wanted <= fleet.hpa_minimum), ABOVE_FLOOR, value)
    value = np.where(active, np.maximum(value, ABOVE_FLOOR), 0.0)
    still = (state.forced >= replicas) & (wanted > down_edge + 1e-9) & (wanted <= state.forced) & known
    forced = np.where(overshoot, reached, np.where(still, state.forced, 0))
    return value, BandState(forced)


def reached(value: FloatArray, replicas: IntArray, fleet: Workloads) -> IntArray:
    """What the HPA makes of the value on `replicas`, rates and windows aside, (B,); UNKNOWN where those are unknown."""
    ratio = value / np.maximum(replicas, 1)
    within = (1.0 - fleet.tolerance_down <= ratio + 1e-9) & (ratio - 1e-9 <= 1.0 + fleet.tolerance)
    counts = np.where(within, replicas, np.ceil(value - 1e-9).astype(np.int64))
    counts = np.where(fleet.hpa_maximum != UNKNOWN, np.minimum(counts, fleet.hpa_maximum), counts)
    counts = np.where(fleet.hpa_minimum != UNKNOWN, np.maximum(counts, fleet.hpa_minimum), counts)
    counts = np.where(fleet.grows, counts, np.minimum(counts, replicas))
    counts = np.where(fleet.shrinks, counts, np.maximum(counts, replicas))
    return np.where(replicas > 0, counts, UNKNOWN)
