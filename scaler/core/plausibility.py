"""Is this sample strange? A check of each load before anything reads it: what passes is the accepted load.

    seen load → a jump beyond all that was seen? a frozen sensor? → accepted load, and what the history keeps

A jump that nothing corroborates buys at most the HPA's own growth up to the reactive rule's answer, and nothing from
the forecast; the history does not keep it, so that neither tomorrow's forecast nor a floor is poisoned by it. After
BELIEVED_S it is the new truth, and a matter of drift. A frozen sensor counts as missing. Silence is what `trust` calls
stale. Queues are left alone: a backlog may jump, and may stand still.
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.series import DAY_S, History
from scaler.core.domain import UNKNOWN, Workloads

JUMP = 3.0
"""A load is implausible above this many times the largest of the last days: flash crowds of twice a peak are known."""
HALF_LIFE_S = 4 * DAY_S
"""In which the largest load seen loses half its weight: a weekly peak still counts 0.3 when it comes again."""
BELIEVED_S = 900.0
"""A jump that has lasted this long is believed: from then on its load counts. As long again it stays in doubt, until a
shift of the level can be told from it."""
YOUNG_S = 6 * 3600.0
"""History below which nothing is implausible."""
FROZEN_S, FROZEN_SAMPLES = 600.0, 20
"""A sensor is frozen after as long, and as many samples, of the very same load, …"""
FROZEN_MARGIN = 3
"""… three times as many as ever came in a row before, …"""
VARIED = 100
"""… from a sensor that has changed at least as often: what never moved is constant, not frozen."""
BUSY = 0.8
"""CPU or memory from which a jump is corroborated."""
FACTORS: FloatArray = np.log([10.0, 60.0, 100.0, 1000.0, 1024.0, 3600.0, 1e6, 1e9])
"""Between units that people confuse: shares and percent, minutes, hours, milli, kilo, mega, giga, Ki; logarithms."""
FACTOR_WIDTH = 0.2
"""Distance from such a factor, in logarithms, that still speaks for it."""
GROWTH_REPLICAS, GROWTH_SHARE = 4, 2
"""The HPA's own growth per sync: the default scaleUp policies of a `behavior`, 4 pods or 100 % per 15 s."""


class Doubt(IntEnum):
    """What is strange about a sample."""

    NONE = 0
    JUMP = 1
    UNIT = 2
    """A jump by a factor between two units."""
    FROZEN = 3


@dataclass(frozen=True, slots=True)
class PlausibilityState:
    """What is remembered of B workloads, (B,)."""

    largest: FloatArray
    """Largest accepted load, decayed; 0 before the first."""
    trusted: FloatArray
    """Newest load that was not in doubt, NaN before the first."""
    doubted_s: FloatArray
    """How long the jump under way has lasted, 0 where there is none."""
    newest: FloatArray
    """Newest sample as it was seen, NaN before the first."""
    repeats: IntArray
    """How often it has come again in a row."""
    usual: IntArray
    """Most repeats in a row before, but for frozen ones."""
    changes: IntArray
    """How often a sample differed from the one before it."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a sample is seen in, (B,)."""

    replicas: IntArray
    """Replicas that run, UNKNOWN where nobody can tell."""
    history_s: FloatArray
    """Span of the history known."""
    corroborated: BoolArray
    """Whether another signal says that more work is there."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is made of B samples, (B,)."""

    load: FloatArray
    """Accepted load: floors and the reactive rule read it; NaN where missing."""
    kept: FloatArray
    """What the history keeps: NaN also where a jump is in doubt."""
    doubt: IntArray
    """`Doubt` of each row."""


def initial_state(n: int) -> PlausibilityState:
    """Nothing seen of n workloads."""
    zeros, nothing, none = np.zeros((2, n)), np.full((2, n), np.nan), np.zeros((3, n), np.int64)
    return PlausibilityState(zeros[0], nothing[0], zeros[1], nothing[1], none[0], none[1], none[2])


def remembered(history: History, state: PlausibilityState) -> PlausibilityState:
    """State of B workloads whose history was read from elsewhere, as if it had been seen.

    Fewer buckets than a jump takes to be believed count as a jump.
    """
    age_s = history.bucket_s * np.arange(history.mean.shape[1] - 1, -1, -1)
    weighed = history.mean * np.exp2(-age_s / HALF_LIFE_S)
    ignored = min(math.ceil(BELIEVED_S / history.bucket_s) + 1, weighed.shape[1])
    largest = np.partition(np.nan_to_num(weighed), -ignored, axis=1)[:, -ignored].astype(np.float64)
    same = history.fine[:, 1:] == history.fine[:, :-1]
    place = np.arange(same.shape[1])
    changed = np.maximum.accumulate(np.where(same, -1, place), axis=1)
    ended = np.where(place <= changed[:, -1:], place - changed, 0)
    changes = (~same & ~np.isnan(history.fine[:, 1:] + history.fine[:, :-1])).sum(axis=1)
    return replace(
        state,
        largest=np.maximum(state.largest, largest),
        usual=np.maximum(state.usual, ended.max(axis=1, initial=0)),
        changes=np.maximum(state.changes, changes),
    )


def corroborated(feedback: FloatArray, fleet: Workloads) -> BoolArray:
    """Whether CPU or memory is busy, or latency above its target, (B,); `feedback` is (B, 4), NaN where absent."""
    return np.asarray((feedback[:, :2] >= BUSY).any(axis=1) | (feedback[:, 2] > fleet.latency_target_s))


def accept(
    load: FloatArray, situation: Situation, fleet: Workloads, state: PlausibilityState, step_s: float
) -> tuple[Accepted, PlausibilityState]:
    """Check the samples of one tick, (B,)."""
    fresh, same = ~np.isnan(load), load == state.newest
    repeats = np.where(fresh, np.where(same, state.repeats + 1, 0), state.repeats)
    frozen = _frozen(repeats, state, fleet, step_s) & fresh
    # What four replicas can bear is worth no doubt.
    bound = JUMP * state.largest + GROWTH_REPLICAS * fleet.threshold
    known = (state.largest > 0) & (situation.history_s >= YOUNG_S) & ~fleet.queue & ~situation.corroborated
    beyond = known & (load > bound) & ~frozen
    lingers = (state.doubted_s >= BELIEVED_S) & (state.doubted_s < 2 * BELIEVED_S)
    doubted_s = np.where(beyond | lingers, state.doubted_s + step_s, np.where(fresh, 0.0, state.doubted_s))
    jumping = beyond & (doubted_s <= BELIEVED_S)
    trusted = fresh & ~jumping & ~frozen
    faded = state.largest * 0.5 ** (step_s / HALF_LIFE_S)
    ended = fresh & ~same & ~_frozen(state.repeats, state, fleet, step_s)
    moved = PlausibilityState(
        largest=np.where(trusted, np.fmax(faded, load), faded),
        trusted=np.where(trusted, load, state.trusted),
        doubted_s=doubted_s,
        newest=np.where(fresh, load, state.newest),
        repeats=repeats,
        usual=np.where(ended, np.maximum(state.usual, state.repeats), state.usual),
        changes=state.changes + (fresh & ~same),
    )
    accepted = np.where(frozen, np.nan, load)
    doubt = np.where(frozen, int(Doubt.FROZEN), np.where(lingers & fresh, int(Doubt.JUMP), int(Doubt.NONE)))
    if not jumping.any():
        return Accepted(accepted, accepted, doubt), moved
    limited = np.where(jumping, np.minimum(load, _allowed(situation.replicas, fleet)), accepted)
    named = np.where(_between_units(load, state.trusted), int(Doubt.UNIT), int(Doubt.JUMP))
    return Accepted(limited, np.where(jumping, np.nan, accepted), np.where(jumping, named, doubt)), moved


def _frozen(repeats: IntArray, state: PlausibilityState, fleet: Workloads, step_s: float) -> BoolArray:
    long = np.maximum(max(math.ceil(FROZEN_S / step_s), FROZEN_SAMPLES), FROZEN_MARGIN * state.usual)
    # A load that stays zero is rest.
    return np.asarray((repeats >= long) & (state.changes >= VARIED) & (state.newest > 0) & ~fleet.queue)


def _allowed(replicas: IntArray, fleet: Workloads) -> FloatArray:
    """Load up to which the HPA itself would grow within one sync, (B,); unlimited where nobody knows what runs."""
    grown = np.maximum(GROWTH_SHARE * replicas, replicas + GROWTH_REPLICAS)
    return np.where(replicas == UNKNOWN, np.inf, grown * fleet.threshold)


def _between_units(load: FloatArray, before: FloatArray) -> BoolArray:
    factor = np.log(np.maximum(load, 1e-300) / np.maximum(np.nan_to_num(before), 1e-300))
    return np.asarray((np.abs(factor[:, None] - FACTORS) <= FACTOR_WIDTH).any(axis=1))
