"""Learn a workload from its history: fit its forecasters, replay its price.

What is learnt is a function of the history up to a cutoff and of nothing else, so a restarted or second replica of the
service reaches the same state by itself. The price is replayed over the last days with forecasters fitted to what came
before them, so that it does not flatter itself with data the fit had seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np

from forecasting import catalog, conformal, ensemble
from forecasting.catalog import Models
from forecasting.conformal import Record
from forecasting.ensemble import EnsembleState
from forecasting.errors import NotEnoughHistory
from forecasting.forecast import BoolArray, FloatArray, Quantiles, nothing_said
from forecasting.series import DAY_S, History, Rows
from scaler.core import gate, price, trust, watch
from scaler.core.domain import Columns, Workloads, put, take
from scaler.core.gate import Losses
from scaler.core.policies import predictive_range, worth

REPLAY_S = 3 * DAY_S
"""Longest stretch before a cutoff over which the price is replayed."""
FIT_BUDGET_S = 60.0
"""A fit with cutoff T is adopted at T plus this on every replica of the service, in replay and in `pipe`."""
YOUNG_S, YOUNG_PERIOD_S = 2 * DAY_S, 3600.0
"""While a history is younger than two days, each hour changes what can be learnt from it."""
PERIOD_S = DAY_S
"""Between fits of a grown history: twice or four times a day forecast no better."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What B workloads have learnt from their histories."""

    models: Models
    before: Models
    """Fitted to what lay before the replay: what it forecast with, up to the cutoff of `models`."""
    rolled: Losses
    """Of what would have been served on the replayed days, beside seasonal naive."""
    price: price.PriceState
    """State of the feedback at the end of the history."""
    record: Record
    """Forecasts of the last two days as they would have been made."""
    ensemble: EnsembleState
    """What these say of the members and their coverage."""
    trust: trust.TrustState
    """Where the ladder stands at the end of the history."""


def due_cutoff_s(
    now_s: float,
    history_s: float,
    fingerprint: str,
    bucket_s: float,
    wanted_s: float = -math.inf,
    asked_s: float = -math.inf,
) -> float:
    """Cutoff of the newest fit that should be serving at `now_s`; −inf while there is nothing to fit.

    Cutoffs are aligned to the epoch, shifted per workload so that a fleet's fits spread over the period. `wanted_s` is
    when an extra one was wanted because of a drift, `asked_s` when somebody asked for one; −inf where none was.
    """
    period_s = max(YOUNG_PERIOD_S if history_s < YOUNG_S else PERIOD_S, bucket_s)
    phase_s = int(fingerprint, 16) % period_s // bucket_s * bucket_s
    cutoff_s = (now_s - FIT_BUDGET_S - phase_s) // period_s * period_s + phase_s
    if math.isfinite(wanted_s):
        hour_s = max(YOUNG_PERIOD_S, bucket_s)
        extra_s = float(next_cutoff_s(wanted_s, int(fingerprint, 16) % hour_s // bucket_s * bucket_s, hour_s))
        cutoff_s = max(cutoff_s, extra_s) if now_s >= extra_s + FIT_BUDGET_S else cutoff_s
    if math.isfinite(asked_s):
        by_hand_s = float(next_cutoff_s(asked_s, 0.0, bucket_s))
        cutoff_s = max(cutoff_s, by_hand_s) if now_s >= by_hand_s + FIT_BUDGET_S else cutoff_s
    return cutoff_s if now_s - cutoff_s < history_s else -math.inf


def next_cutoff_s(wanted_s: FloatArray | float, phase_s: FloatArray | float, period_s: float) -> FloatArray:
    """First cutoff at or after `wanted_s`, same shape."""
    return np.asarray(np.ceil((np.asarray(wanted_s) - phase_s) / period_s) * period_s + phase_s)


def learn(
    history: History, fleet: Workloads, cutoff_s: FloatArray, fitted: tuple[Models, Models] | None = None
) -> Learnt:
    """Fit B workloads on their history up to `cutoff_s`, (B,), and replay their price up to its end.

    Forecasts before the cutoff come from a fit to what lay before the replay, those after it from the fit itself.
    `fitted` are these two where they are known already: then only the replay is left.
    """
    span_s = min(REPLAY_S, history.mean.shape[1] // 3 * history.bucket_s)
    before, models = fitted or (_fitted(history, fleet, cutoff_s - span_s), _fitted(history, fleet, cutoff_s))
    peaks = _forecast_all(history, (before, models), cutoff_s, fleet, cutoff_s - span_s)
    priced = _replayed(history, peaks.said, fleet, cutoff_s - span_s)
    later = _moments(history, peaks.drift.shape[1]) > cutoff_s[:, None]
    validated = np.where(later, models.validated[:, None], before.validated[:, None])
    days = _rolled(history, peaks.said, fleet, before)
    return Learnt(models, before, days, priced, peaks.record, peaks.ensemble, _trusted(history, peaks, fleet, validated))


def _rolled(history: History, said: Quantiles, fleet: Workloads, before: Models) -> Losses:
    moment_s = _moments(history, said.peak.shape[1])
    parts = []
    for row in range(len(fleet.h)):
        at = slice(row, row + 1)
        parts.append(gate.rolled(take(history, at), take(fleet, at), take(before, at), moment_s, said.peak[row]))
    return stacked(parts)


def _fitted(history: History, fleet: Workloads, cutoff_s: FloatArray) -> Models:
    parts = []
    for row in range(len(fleet.h)):
        known = take(history, slice(row, row + 1)).until(float(cutoff_s[row]))
        try:
            parts.append(catalog.fit(known, int(fleet.h[row]), averaged=bool(fleet.queue[row])))
        except NotEnoughHistory:
            parts.append(catalog.unfitted(1))
    return stacked(parts)


def stacked(parts: Sequence[Columns]) -> Columns:
    """Concatenate dataclasses of arrays along their leading axis."""
    values = {}
    for field in fields(parts[0]):  # type: ignore[arg-type]
        column = [getattr(part, field.name) for part in parts]
        values[field.name] = stacked(column) if is_dataclass(column[0]) else np.concatenate(column)
    return type(parts[0])(**values)


@dataclass(frozen=True, slots=True)
class Replay:
    """Forecasts of B workloads at each of n buckets, as they would have been served, and what they leave behind."""

    said: Quantiles
    """Peaks (B, n, Q) and ceilings (B, n)."""
    record: Record
    ensemble: EnsembleState
    drift: FloatArray
    """Parts of the drift, (B, n, P)."""


def _moments(history: History, n_buckets: int) -> FloatArray:
    """Stamps of the newest n buckets, (n,)."""
    return np.asarray(history.bucket_end_s - np.arange(n_buckets - 1, -1, -1, dtype=np.float64) * history.bucket_s)


def _trusted(history: History, replay: Replay, fleet: Workloads, validated: BoolArray) -> trust.TrustState:
    """Where the ladder stands after the replay, (B,); one step of it per block. `validated` is (B, n)."""
    moment_s, rules = _moments(history, replay.drift.shape[1]), trust.TrustRules()
    known = ~np.isnan(history.mean)
    place = np.arange(known.shape[1])
    newest = np.maximum.accumulate(np.where(known, place, -np.inf), axis=1)
    stale_s = ((place - newest) * history.bucket_s)[:, -len(moment_s) :]
    first_s = history.bucket_end_s - (known.shape[1] - known.argmax(axis=1)) * history.bucket_s
    state, width = trust.initial_state(len(fleet.h)), round(history.coarse_s / history.bucket_s)
    for last in range((len(moment_s) - 1) % width, len(moment_s), width):
        t_s = float(moment_s[last])
        wanted_s = trust.refit_due_s(state, rules)
        served_s = next_cutoff_s(wanted_s, fleet.phase_s, YOUNG_PERIOD_S) + FIT_BUDGET_S
        facts = trust.Facts(
            t_s=t_s,
            step_s=history.bucket_s,
            elapsed_s=history.coarse_s,
            stale_s=stale_s[:, max(last - width + 1, 0) : last + 1].max(axis=1),
            history_s=np.where(known.any(axis=1), np.maximum(t_s - first_s, 0.0), 0.0),
            available=~np.isnan(replay.said.peak[:, last, 0]),
            validated=validated[:, last],
            # Fits are taken to have come when they were due.
            fitted_s=np.where(served_s <= t_s, t_s, np.nan_to_num(wanted_s, neginf=t_s) - 1.0).astype(np.int64),
            drift=replay.drift[:, last],
            doubt=np.zeros(len(fleet.h), np.int64),
        )
        _, state = trust.step(facts, state, rules)
    return state


def _replayed(history: History, said: Quantiles, fleet: Workloads, begin_s: FloatArray) -> price.PriceState:
    """Price after all buckets that ended since `begin_s`, (B,)."""
    n, n_buckets = said.peak.shape[:2]
    state, coarse = price.initial_state(n, history.step_s), price.in_buckets(fleet, history.step_s)
    no_backlog, samples = np.zeros(n), round(history.bucket_s / history.step_s)
    first = history.mean.shape[1] - n_buckets
    for bucket, moment_s in enumerate(_moments(history, n_buckets).tolist()):
        # A row whose replay begins later than that of a row beside it has seen nothing yet.
        mean, highest = (
            np.where(moment_s > begin_s, part[:, first + bucket].astype(np.float64), np.nan)
            for part in (history.mean, history.maximum)
        )
        known = ~np.isnan(mean)
        met = price.Bucket(np.where(known, mean * samples, 0.0), known * samples, np.where(known, highest, -np.inf))
        now = Quantiles(said.peak[:, bucket], said.peak[:, bucket], mean, said.ceiling[:, bucket])
        needs = predictive_range(now, worth(price.price_of(state), coarse), no_backlog, coarse)
        state = price.step(replace(state, bucket=met), needs, coarse, moment_s, history.bucket_s)
    return state


def _forecast_all(
    history: History, models: tuple[Models, Models], cutoff_s: FloatArray, fleet: Workloads, begin_s: FloatArray
) -> Replay:
    """Forecasts at the end of each bucket since the earliest of `begin_s`, the earlier fit's until its successor's."""
    n, n_buckets = len(fleet.h), round((history.bucket_end_s - float(begin_s.min())) / history.bucket_s)
    moment_s = _moments(history, n_buckets)
    origin_s = np.tile(moment_s, n)
    rows = Rows(np.repeat(np.arange(n), n_buckets), origin_s, np.repeat(fleet.h, n_buckets), origin_s)
    raw = _by_either(models, history, rows, origin_s > np.repeat(cutoff_s, n_buckets))
    parts = []
    for row in range(n):
        at = slice(row, row + 1)
        said = take(raw, slice(row * n_buckets, (row + 1) * n_buckets))
        silent = moment_s <= begin_s[row]
        said = replace(said, peak=np.where(silent[:, None], np.nan, said.peak))
        parts.append(_served(take(history, at), said, take(fleet, at), moment_s, float(models[1].epsilon[row])))
    served = Quantiles(*(np.stack([getattr(part[0], name) for part in parts]) for name in Quantiles.__slots__))
    drifts = np.stack([part[3] for part in parts])
    return Replay(served, stacked([part[1] for part in parts]), stacked([part[2] for part in parts]), drifts)


def _by_either(models: tuple[Models, Models], history: History, rows: Rows, fresh: BoolArray) -> Quantiles:
    """Forecasts of R rows by the second models where `fresh`, else by the first; nobody is asked for nothing."""
    said = nothing_said(len(fresh))
    for fitted, mine in zip(models, (~fresh, fresh), strict=True):
        chosen = np.flatnonzero(mine)
        if len(chosen):
            put(said, chosen, catalog.predict(fitted, history, rows.some(chosen)))
    return said


def _served(
    history: History, said: Quantiles, fleet: Workloads, moment_s: FloatArray, epsilon: float
) -> tuple[Quantiles, Record, EnsembleState, FloatArray]:
    """One workload's n forecasts as they would have been served, what is kept of them, the last look, drift."""
    kept = conformal.kept_at(moment_s, said.peak, said.level, history.bucket_s)
    past = conformal.joined(history, kept, int(fleet.h[0]), averaged=bool(fleet.queue[0]))
    context = (epsilon, float(fleet.phase_s[0]), history.bucket_s)
    states, last = ensemble.replayed(ensemble.initial_state(1), past, moment_s, context)
    served = ensemble.applied(states, said, np.full(len(moment_s), epsilon))
    parts = watch.replayed(history, past, states, moment_s, fleet, epsilon)
    return served, conformal.filled(kept, history.bucket_s), last, parts
