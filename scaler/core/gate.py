"""The gate: may a new fit take the champion's place? Both forecast the same windows, each lost by its own misses.

A loss is the pinball loss at the levels that are served, of replicas instead of load: what a forecast lacks or wastes
after it was rounded up to whole replicas. Forecasts are those that would have been made at the time, so a look back
over the history is the same as having listened all along; the shadow of a predecessor is judged by it, too.

    seasonal naive      both fitted to what lay before the replayed days, judged on those days
    champion            judged on what came after its own cutoff; the challenger on the very same windows
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from forecasting import catalog, conformal, ensemble
from forecasting.catalog import BOOSTING, NAIVE, Models
from forecasting.ensemble import JUDGED, EnsembleState
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import BoolArray, FloatArray, IntArray
from forecasting.scores import pinball
from forecasting.series import History, Rows, lead_buckets
from forecasting.training import dithered_targets
from scaler.core.domain import Workloads, take

LEAST = 30
"""Windows, one every four minutes, without which nobody is judged: two hours."""
TOLERATED = 1.05
"""A challenger may lose so many times what it is compared with: in refits of recorded histories less was chance."""
BLOCK_S = 4 * 3600.0
"""Stretch whose windows share what happened in it: losses of different stretches are taken for independent."""
SURE = 2.0
"""Standard errors by which a loss must be larger: by chance once in forty."""
LEAST_SHARE = 0.0005
"""Share of the replicas that are needed by which losses may differ and still be alike."""


class Verdict(IntEnum):
    """What the gate says."""

    PASSED = 0
    UNJUDGED = 1
    """Too young for two fits, or a forecaster that needs none: it may serve, within what a young history earns."""
    WORSE_THAN_NAIVE = 2
    WORSE_THAN_CHAMPION = 3

    @property
    def label(self) -> str:
        """What users read."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses in replicas of two voices for B workloads on the same windows, NaN where not judged, (B,) each."""

    one: FloatArray
    other: FloatArray
    error: FloatArray
    """Standard error of their difference."""
    windows: IntArray


@dataclass(frozen=True, slots=True)
class Contest:
    """Mean losses in replicas of B workloads, NaN where not judged, and the verdict, (B,) each."""

    rolled: FloatArray
    """What would have been served on the replayed days."""
    naive: FloatArray
    """Seasonal naive on the same."""
    windows: IntArray
    challenger: FloatArray
    """On what came after the champion's cutoff."""
    champion: FloatArray
    """On the same."""
    shared: IntArray
    """Windows that these two were judged on."""
    verdict: IntArray

    @property
    def passed(self) -> BoolArray:
        """Whether the challenger may serve, (B,)."""
        return np.asarray(self.verdict <= Verdict.UNJUDGED)


Voice = tuple[Models, EnsembleState]
"""Who speaks for one workload, and how it is heard: the forecasts are shifted, or persistence is heard instead."""


def unshifted(models: Models) -> Voice:
    """The models of one workload as they speak."""
    return models, ensemble.initial_state(1)


def losses(voice: Voice, history: History, fleet: Workloads, origin_s: FloatArray) -> FloatArray:
    """Loss of the one workload's forecasts made at `origin_s`, (R,), in replicas; NaN where nobody spoke or knows."""
    models, heard = voice
    raw = catalog.predict(models, history, _rows(fleet, origin_s))
    alike = np.zeros(len(origin_s), np.int64)
    said = ensemble.applied(take(heard, alike), raw, models.epsilon[alike]).peak
    return _lost(said, history, fleet, origin_s)


def _rows(fleet: Workloads, origin_s: FloatArray) -> Rows:
    h = np.full(len(origin_s), int(fleet.h[0]))
    return Rows(np.zeros(len(origin_s), np.int64), origin_s, h, origin_s)


def _lost(said: FloatArray, history: History, fleet: Workloads, origin_s: FloatArray) -> FloatArray:
    """Loss of forecasts of the peak, (R, Q), that were made at `origin_s`, (R,)."""
    actual, _ = dithered_targets(history, _rows(fleet, origin_s), averaged=bool(fleet.queue[0]))
    capacity = float(fleet.capacity[0])
    return np.asarray(pinball(np.ceil(actual / capacity), np.ceil(said / capacity))[:, JUDGED].mean(axis=1))


def origins(history: History, fleet: Workloads, after_s: float, stride_s: float) -> FloatArray:
    """When the one workload's forecasts are judged: on strides after `after_s`, as far as their windows are known."""
    window_s = float(lead_buckets(fleet.h, history.step_s)[0]) * history.bucket_s
    oldest_s = history.bucket_end_s - history.mean.shape[1] * history.bucket_s
    first = math.floor(max(after_s, oldest_s) / stride_s) + 1
    last = math.floor((history.bucket_end_s - window_s) / stride_s)
    return np.arange(first, last + 1, dtype=np.float64) * stride_s


def compared(
    voices: tuple[Voice, Voice], history: History, fleet: Workloads, after_s: float, stride_s: float
) -> Losses:
    """Losses of two voices of one workload on the windows after `after_s` that both spoke of."""
    at_s = origins(history, fleet, after_s, stride_s)
    if not len(at_s):
        return _meant(np.zeros((2, 0)), at_s)
    return _meant(np.stack([losses(voice, history, fleet, at_s) for voice in voices]), at_s)


def _meant(both: FloatArray, at_s: FloatArray) -> Losses:
    """Mean losses of one workload from those of each window, (2, R), where both are known."""
    known = np.isfinite(both).all(axis=0)
    if not known.any():
        unknown = np.full(1, np.nan)
        return Losses(unknown, unknown, unknown, np.zeros(1, np.int64))
    both, block = both[:, known], np.unique(at_s[known] // BLOCK_S, return_inverse=True)[1]
    size = np.bincount(block)
    surplus = np.bincount(block, weights=both[0] - both[1]) - size * (both[0] - both[1]).mean()
    error = np.sqrt((surplus**2).sum()) / len(block) if len(size) > 1 else 0.0
    mine, its = both.mean(axis=1)
    return Losses(np.array([mine]), np.array([its]), np.array([error]), np.array([len(block)]))


def rolled(history: History, fleet: Workloads, before: Models, moment_s: FloatArray, said: FloatArray) -> Losses:
    """Judge what would have been served of one workload at evenly spaced `moment_s`, (T,): `said`, (T, Q).

    `before` was fitted to what lay before these days, its seasonal naive too.
    """
    at_s = origins(history, fleet, float(before.cutoff_s[0]), conformal.stride_s(history.bucket_s))
    place = np.searchsorted(moment_s, at_s - 1e-6)
    there = (place < len(moment_s)) & (before.speaker[0] == BOOSTING)
    at_s, place = at_s[there], place[there]
    if not len(at_s):
        return _meant(np.zeros((2, 0)), at_s)
    naive = losses(unshifted(replace(before, speaker=np.array([NAIVE]))), history, fleet, at_s)
    return _meant(np.stack([_lost(said[place], history, fleet, at_s), naive]), at_s)


def judge(
    history: History,
    fleet: Workloads,
    challenger: tuple[Models, Losses],
    champion: Models,
    alike: BoolArray,
) -> Contest:
    """Judge the challengers of B workloads: the fits themselves, and what their kind did on the replayed days.

    `champion` has a row each, of which NOBODY and the naive forecaster defend nothing. Where `alike`, the champion was
    fitted as the challenger was: then fits up to the same cutoff are the same, and the challenger itself is compared,
    which has seen these windows and must not do worse on them. Elsewhere its kind is fitted up to the champion's
    cutoff.
    """
    fits, days = challenger
    shared = []
    for row in range(len(fleet.h)):
        at = slice(row, row + 1)
        both = take(fits, at), take(champion, at)
        shared.append(_beside(take(history, at), take(fleet, at), both, alike=bool(alike[row])))
    beside = Losses(*(np.concatenate([getattr(one, name) for one in shared]) for name in Losses.__slots__))
    fitted = fits.speaker == BOOSTING
    known = np.count_nonzero(~np.isnan(history.mean), axis=1)
    needed = np.nansum(history.mean, axis=1, dtype=np.float64) / np.maximum(known, 1) / fleet.capacity
    verdict = np.where(fitted & (days.windows >= LEAST), int(Verdict.PASSED), int(Verdict.UNJUDGED))
    for other, bad in (
        (Verdict.WORSE_THAN_NAIVE, _worse(days, needed)),
        (Verdict.WORSE_THAN_CHAMPION, _worse(beside, needed)),
    ):
        verdict = np.where(fitted & bad, int(other), verdict)
    return Contest(days.one, days.other, days.windows, beside.one, beside.other, beside.windows, verdict)


def _beside(history: History, fleet: Workloads, both: tuple[Models, Models], *, alike: bool) -> Losses:
    """Losses of one workload's challenger and champion on what came after the champion's cutoff."""
    challenger, champion = both
    if challenger.speaker[0] != BOOSTING or champion.speaker[0] != BOOSTING:
        return _meant(np.zeros((2, 0)), np.zeros(0))
    since_s, stride_s = float(champion.cutoff_s[0]), conformal.stride_s(history.bucket_s)
    trial = challenger if alike else _fitted_until(history, fleet, since_s)
    return compared((unshifted(trial), unshifted(champion)), history, fleet, since_s, stride_s)


def unjudged(n: int) -> Contest:
    """What is said of n workloads that nobody judged."""
    unknown, none = np.full(n, np.nan), np.zeros(n, np.int64)
    return Contest(unknown, unknown, none, unknown, unknown, none, np.full(n, int(Verdict.UNJUDGED)))


def _worse(days: Losses, needed: FloatArray) -> BoolArray:
    surely = days.one - SURE * days.error > TOLERATED * days.other + LEAST_SHARE * needed
    return np.asarray((days.windows >= LEAST) & surely)


def _fitted_until(history: History, fleet: Workloads, cutoff_s: float) -> Models:
    try:
        known = history.until(min(cutoff_s // history.bucket_s * history.bucket_s, history.bucket_end_s))
        return catalog.fit(known, int(fleet.h[0]), averaged=bool(fleet.queue[0]))
    except NotEnoughHistory:
        return catalog.unfitted(1)
