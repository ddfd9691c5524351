"""Forecasts for every step of a history, each made with what was known by then.

Forecasts do not depend on what a controller does, so they are made in advance, one batch per fitted model. Models are
fitted at the cutoffs at which the service would have fitted them, on the span of history that it keeps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from forecasting import catalog, conformal, drift, ensemble
from forecasting.calendar import Places
from forecasting.catalog import Models
from forecasting.forecast import LEVELS, FloatArray, IntArray, Quantiles, nothing_said
from forecasting.series import DAY_S, History, LoadArray, Rows, bucket_spacing, coarse_spacing, summed_up
from scaler.core import watch
from scaler.core.agenda import LAID_OUT_AHEAD_S, LAID_OUT_BACK_S, Agenda, lay_out
from scaler.core.domain import Workload, Workloads, put
from scaler.core.learning import Learnt, due_cutoff_s, learn
from scaler.core.simulator.controllers import Foreseen
from scaler.core.trust import TrustRules

COARSE_S = 28 * DAY_S
"""Span of coarse blocks that the service keeps of a workload."""
KEPT_S = 8 * DAY_S
"""Span of buckets that the service keeps of a workload: a week and a day."""
FINE_S = 3 * 3600.0
"""Span that it keeps at the step."""
ROWS = 2048
"""Questions per batch: bounds the memory of their windows."""


@dataclass(frozen=True, slots=True)
class Past:
    """One workload's samples, as they were seen."""

    step_s: float
    start_s: float
    """Where the first sample begins, a multiple of the bucket spacing."""
    fine: FloatArray
    """(1, T)"""
    mean: LoadArray
    """(1, M)"""
    maximum: LoadArray
    """(1, M)"""
    coarse_first: int
    """Bucket that the first coarse block begins with: blocks end on multiples of their spacing."""
    coarse_mean: LoadArray
    """(1, C)"""
    coarse_maximum: LoadArray
    """(1, C)"""
    places: Places | None = None

    @staticmethod
    def of(sample: FloatArray, start_s: float, step_s: float, places: Places | None = None) -> "Past":
        """Sum samples (T,) up into buckets; an unfinished last bucket is left out."""
        k = round(bucket_spacing(step_s) / step_s)
        parts = sample[: len(sample) // k * k].reshape(-1, k)
        count = (~np.isnan(parts)).sum(axis=1)
        mean = np.where(count > 0, np.nan_to_num(parts).sum(axis=1) / np.maximum(count, 1), np.nan)
        maximum = np.fmax.reduce(parts, axis=1)
        buckets = mean[None].astype(np.float32), maximum[None].astype(np.float32)
        coarse_s, bucket_s = coarse_spacing(step_s), bucket_spacing(step_s)
        first = round(-start_s % coarse_s / bucket_s)
        stop = len(mean) - (len(mean) - first) % round(coarse_s / bucket_s)
        blocks = summed_up(buckets[0][:, first:stop], buckets[1][:, first:stop], round(coarse_s / bucket_s))
        coarse = blocks[0].astype(np.float32), blocks[1].astype(np.float32)
        return Past(step_s, start_s, sample[None], *buckets, first, *coarse, places)

    @property
    def bucket_s(self) -> float:
        """Spacing of the buckets."""
        return bucket_spacing(self.step_s)

    def until(self, cutoff_s: float, *, whole: bool = False) -> History:
        """What the service would hold at `cutoff_s`, a multiple of the bucket spacing; `whole`: nothing forgotten."""
        n, m = (round((cutoff_s - self.start_s) / spacing) for spacing in (self.step_s, self.bucket_s))
        first = 0 if whole else max(n - round(FINE_S / self.step_s), 0)
        first_bucket = 0 if whole else max(m - round(KEPT_S / self.bucket_s), 0)
        coarse_s = coarse_spacing(self.step_s)
        c = max((m - self.coarse_first) // round(coarse_s / self.bucket_s), 0)
        first_block = 0 if whole else max(c - round(COARSE_S / coarse_s), 0)
        return History(
            step_s=self.step_s,
            end_s=cutoff_s,
            fine=self.fine[:, first:n],
            bucket_end_s=cutoff_s,
            mean=self.mean[:, first_bucket:m],
            maximum=self.maximum[:, first_bucket:m],
            coarse_end_s=self.start_s + self.coarse_first * self.bucket_s + c * coarse_s,
            coarse_mean=self.coarse_mean[:, first_block:c],
            coarse_maximum=self.coarse_maximum[:, first_block:c],
            places=self.places,
        )


def places_of(workload: Workload, agenda: Agenda, t_s: FloatArray) -> Places | None:
    """The calendar that one workload lives by over `t_s` (T',) and the history before it; None for plain UTC."""
    if workload.timezone == "UTC" and agenda == Agenda():
        return None
    calendar = lay_out(workload.timezone, agenda, float(t_s[0]) - LAID_OUT_BACK_S, float(t_s[-1]) + LAID_OUT_AHEAD_S)
    return Places(np.zeros(1, np.int64), (calendar,))


def foresee(
    past: Past,
    t_s: FloatArray,
    fleet: Workloads,
    fingerprint: str,
    progress: Callable[[int], None] | None = None,
) -> Foreseen:
    """Forecast from each of `t_s` (T',), stamps of samples of `past`, as served; `fleet` is the one workload."""
    index = np.rint((t_s - past.start_s) / past.step_s).astype(np.int64) - 1
    stale_s = _staleness(past)[index]
    history_s = np.minimum((index + 1 - _begun(past)[index]) * past.step_s, KEPT_S)
    peak, path = np.full((2, len(t_s), len(LEVELS)), np.nan)
    ceiling = np.full(len(t_s), np.nan)
    version, validated = np.zeros(len(t_s), np.int64), np.zeros(len(t_s), np.bool_)
    parts, adopted = drift.no_drift(len(t_s)), {}
    first, alarmed_s = 0, -np.inf
    due = _Due(t_s, history_s, fingerprint, past.bucket_s)
    while first < len(t_s):
        cutoff_s, last = due.stretch(first, alarmed_s)
        if np.isfinite(cutoff_s):
            at_s = past.start_s + (float(t_s[first]) - past.start_s) // past.bucket_s * past.bucket_s
            learnt = learn(past.until(at_s), fleet, np.array([cutoff_s]))
            steps = slice(first, last)
            said, parts[steps] = _served(past, learnt, t_s[steps], stale_s[steps], fleet)
            peak[steps], path[steps], ceiling[steps] = said.peak, said.path, said.ceiling
            version[steps], validated[steps] = int(cutoff_s), learnt.models.validated[0]
            adopted[first] = (learnt.price, learnt.trust)
            # A drift asks for a fit before the next one is due.
            alarmed_s = _alarm(parts[steps], t_s[steps], alarmed_s)
            last = due.stretch(first, alarmed_s)[1]
        if progress is not None:
            progress(last - first)
        first = last
    return Foreseen(peak, path, ceiling, version, validated, stale_s, history_s, parts, adopted)


def _alarm(parts: FloatArray, t_s: FloatArray, alarmed_s: float) -> float:
    """When a drift was last alarmed, given `parts` (T', P) and the alarm before; one event alarms once."""
    heard = np.where(t_s[:, None] - alarmed_s >= drift.LOOKS_BACK_S, parts, 0.0)
    alarms = np.flatnonzero(drift.worst(heard)[0] >= drift.ALARM)
    return float(t_s[alarms[0]]) if len(alarms) else alarmed_s


def _served(
    past: Past, learnt: Learnt, t_s: FloatArray, stale_s: FloatArray, fleet: Workloads
) -> tuple[Quantiles, FloatArray]:
    """Forecasts from each of `t_s` with what was learnt, shifted by what came of those before, and their drift."""
    h, averaged, end_s = int(fleet.h[0]), bool(fleet.queue[0]), past.start_s + past.mean.shape[1] * past.bucket_s
    said = _predicted(past, learnt.models, t_s, stale_s, h)
    fresh = np.where((stale_s > 0)[:, None], np.nan, said.peak)
    kept = conformal.kept_at(t_s, fresh, said.level, past.bucket_s)
    earlier = conformal.kept_in(learnt.record, float(t_s[0]) - past.step_s, past.bucket_s)
    whole = past.until(end_s, whole=True)
    joined = conformal.joined(whole, earlier.then(kept), h, averaged=averaged)
    epsilon = learnt.models.epsilon
    looks = (float(epsilon[0]), float(fleet.phase_s[0]), past.bucket_s)
    states, _ = ensemble.replayed(learnt.ensemble, joined, t_s, looks)
    parts = watch.replayed(whole, joined, states, t_s, fleet, float(epsilon[0]))
    return ensemble.applied(states, said, np.broadcast_to(epsilon, len(t_s))), parts


def _staleness(past: Past) -> FloatArray:
    step = np.arange(past.fine.shape[1], dtype=np.float64)
    newest = np.maximum.accumulate(np.where(np.isnan(past.fine[0]), -np.inf, step))
    return np.asarray((step - newest) * past.step_s)


def _begun(past: Past) -> FloatArray:
    """Sample with which the life of the workload begins, as it looks at each sample, (T,); the next one before it.

    Life begins with the first load, and anew with the first after a pause as long as buckets are kept.
    """
    loaded = np.flatnonzero(past.fine[0] > 0)
    births = loaded[np.diff(loaded, prepend=-np.inf) * past.step_s > KEPT_S]
    index = np.arange(past.fine.shape[1])
    latest = np.searchsorted(births, index, side="right") - 1
    return np.where(latest >= 0, births[np.maximum(latest, 0)] if len(births) else 0, index + 1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Due:
    """Which fit serves at each step, (T',)."""

    t_s: FloatArray
    history_s: FloatArray
    fingerprint: str
    bucket_s: float

    def stretch(self, first: int, alarmed_s: float) -> tuple[float, int]:
        """Cutoff of the fit that serves step `first`, −inf where none does, and the step where the next takes over."""
        wanted_s = alarmed_s + TrustRules().refit_after_s
        serving = -np.inf
        for step in range(first, len(self.t_s)):
            now_s, span_s = float(self.t_s[step]), float(self.history_s[step])
            due_s = due_cutoff_s(now_s, span_s, self.fingerprint, self.bucket_s, wanted_s)
            if step > first and due_s > serving:
                return serving, step
            serving = max(serving, due_s)
        return serving, len(self.t_s)


def _predicted(past: Past, models: Models, t_s: FloatArray, stale_s: FloatArray, h: int) -> Quantiles:
    """Forecasts from the newest good samples, as much further as those are old; NaN once the service has failed."""
    together = nothing_said(len(t_s))
    asked = np.flatnonzero(stale_s < TrustRules().failed_s)
    end_s = past.start_s + past.mean.shape[1] * past.bucket_s
    history = past.until(end_s, whole=True)
    for some in np.split(asked, np.arange(ROWS, len(asked), ROWS)):
        stale_steps: IntArray = np.rint(stale_s[some] / past.step_s).astype(np.int64)
        origin_s = t_s[some] - stale_steps * past.step_s
        rows = Rows(np.zeros(len(some), np.int64), origin_s, h + stale_steps, origin_s)
        put(together, some, catalog.predict(models, history, rows))
    return together
