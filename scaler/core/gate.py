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
class Contest:
    """Mean losses in replicas of B workloads, NaN where not judged, and the verdict, (B,) each."""

    rolled: FloatArray
    """The challenger's kind, fitted to what lay before the replayed days, on those days."""
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
    h = np.full(len(origin_s), int(fleet.h[0]))
    rows = Rows(np.zeros(len(origin_s), np.int64), origin_s, h, origin_s)
    actual, _ = dithered_targets(history, rows, averaged=bool(fleet.queue[0]))
    raw = catalog.predict(models, history, rows)
    alike = np.zeros(len(origin_s), np.int64)
    said = ensemble.applied(take(heard, alike), raw, models.epsilon[alike]).peak
    capacity = float(fleet.capacity[0])
    return np.asarray(pinball(np.ceil(actual / capacity), np.ceil(said / capacity))[:, JUDGED].mean(axis=1))


def origins(history: History, fleet: Workloads, after_s: float, stride_s: float) -> FloatArray:
    """When the one workload's forecasts are judged: on strides after `after_s`, as far as their windows are known."""
    window_s = float(lead_buckets(history, fleet.h)[0]) * history.bucket_s
    oldest_s = history.bucket_end_s - history.mean.shape[1] * history.bucket_s
    first = math.floor(max(after_s, oldest_s) / stride_s) + 1
    last = math.floor((history.bucket_end_s - window_s) / stride_s)
    return np.arange(first, last + 1, dtype=np.float64) * stride_s


def compared(
    voices: tuple[Voice, Voice], history: History, fleet: Workloads, after_s: float, stride_s: float
) -> tuple[float, float, int]:
    """Mean losses of two voices of one workload on the windows after `after_s` that both spoke of, and how many."""
    at_s = origins(history, fleet, after_s, stride_s)
    both = np.stack([losses(voice, history, fleet, at_s) for voice in voices])
    known = ~np.isnan(both).any(axis=0)
    n = int(known.sum())
    return (float(both[0, known].mean()), float(both[1, known].mean()), n) if n else (math.nan, math.nan, 0)


def judge(
    history: History, fleet: Workloads, challenger: tuple[Models, Models], champion: Models, alike: BoolArray
) -> Contest:
    """Judge the challengers of B workloads, each as the two fits that learning makes: before the replay, and the last.

    `champion` has a row each, of which NOBODY and the naive forecaster defend nothing. Where `alike`, the champion was
    fitted as the challenger was: then fits up to the same cutoff are the same, and the challenger itself is compared,
    which has seen these windows and must not do worse on them. Elsewhere its kind is fitted up to the champion's
    cutoff.
    """
    contests = []
    for row in range(len(fleet.h)):
        at = slice(row, row + 1)
        own = take(history, at), take(fleet, at)
        before, last = (take(models, at) for models in challenger)
        contests.append(_judged(*own, (before, last), take(champion, at), bool(alike[row])))
    return Contest(*(np.array(column) for column in zip(*contests, strict=True)))


def _judged(
    history: History,
    fleet: Workloads,
    challenger: tuple[Models, Models],
    champion: Models,
    alike: bool,  # noqa: FBT001
) -> tuple[float, float, int, float, float, int, Verdict]:
    before, last = challenger
    stride_s = conformal.stride_s(history.bucket_s)
    needed = float(np.nanmean(history.mean[0])) / float(fleet.capacity[0]) if last.speaker[0] == BOOSTING else 0.0
    rolled, naive, windows, mine, its, shared = math.nan, math.nan, 0, math.nan, math.nan, 0
    verdict = Verdict.UNJUDGED
    if last.speaker[0] == BOOSTING and before.speaker[0] == BOOSTING:
        both = unshifted(before), unshifted(replace(before, speaker=np.array([NAIVE])))
        rolled, naive, windows = compared(both, history, fleet, float(before.cutoff_s[0]), stride_s)
        if windows >= LEAST:
            verdict = Verdict.WORSE_THAN_NAIVE if _worse(rolled, naive, needed) else Verdict.PASSED
    if last.speaker[0] == BOOSTING and champion.speaker[0] == BOOSTING:
        since_s = float(champion.cutoff_s[0])
        trial = last if alike else _fitted_until(history, fleet, since_s)
        mine, its, shared = compared((unshifted(trial), unshifted(champion)), history, fleet, since_s, stride_s)
        if shared >= LEAST and _worse(mine, its, needed):
            verdict = Verdict.WORSE_THAN_CHAMPION
    return rolled, naive, windows, mine, its, shared, verdict


def unjudged(n: int) -> Contest:
    """What is said of n workloads that nobody judged."""
    unknown, none = np.full(n, np.nan), np.zeros(n, np.int64)
    return Contest(unknown, unknown, none, unknown, unknown, none, np.full(n, int(Verdict.UNJUDGED)))


def _worse(loss: float, other: float, needed: float) -> bool:
    return loss > TOLERATED * other + LEAST_SHARE * needed


def _fitted_until(history: History, fleet: Workloads, cutoff_s: float) -> Models:
    try:
        known = history.until(min(cutoff_s // history.bucket_s * history.bucket_s, history.bucket_end_s))
        return catalog.fit(known, int(fleet.h[0]), averaged=bool(fleet.queue[0]))
    except NotEnoughHistory:
        return catalog.unfitted(1)
