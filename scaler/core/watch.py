"""The eye on drift: what the history and the kept forecasts of each workload say, in time and in replay.

Every five minutes the level of all rows; every hour, spread over the fleet with `phase_s`, the rest of each row. All of
it is read off what is stored, so that a replay over history sees at each moment what was to be seen then.
"""

from dataclasses import dataclass

import numpy as np

from forecasting import conformal, drift, ensemble
from forecasting.conformal import Joined, Track
from forecasting.drift import Errors, Part
from forecasting.ensemble import EnsembleState
from forecasting.forecast import FloatArray
from forecasting.series import DAY_S, History
from scaler.core.domain import Workloads, take

LEAST_SHARE = 0.25
"""Share of a replica below which ratios of loads mean nothing."""


@dataclass(frozen=True, slots=True)
class WatchState:
    """What the last looks found of B workloads."""

    parts: FloatArray
    """Parts of the drift, (B, P)."""
    usual: FloatArray
    """Largest shift of the level in the last week, (B,)."""


def initial_state(n: int) -> WatchState:
    """Nothing looked at."""
    return WatchState(drift.no_drift(n), np.zeros(n))


def offset_of(fleet: Workloads) -> FloatArray:
    """Load that is added before logarithms are taken, (B,)."""
    return LEAST_SHARE * fleet.capacity


def levelled(history: History, state: WatchState, fleet: Workloads) -> WatchState:
    """State after a look at the level of all rows at the newest blocks."""
    newest = [
        drift.logs_of(values.astype(np.float64), offset_of(fleet)[:, None])
        for values in drift.level_windows(history.coarse_mean, history.coarse_s)
    ]
    part = drift.level_part(drift.newest_shift(newest, history.coarse_s), state.usual)
    parts = state.parts.copy()
    parts[:, Part.LEVEL] = np.where(np.isnan(newest[0][:, -1]), 0.0, part)
    return WatchState(parts, state.usual)


def looked(history: History, errors: Errors, fleet: Workloads) -> WatchState:
    """State of the one workload of `history` after a look at everything."""
    logs = drift.logs_of(history.coarse_mean[0].astype(np.float64), float(offset_of(fleet)[0]))
    return _seen(logs, history.coarse_s, errors)


def _seen(logs: FloatArray, block_s: float, errors: Errors) -> WatchState:
    usual = drift.usual_shift(drift.shifts(logs, block_s), block_s)
    parts = np.concatenate([drift.data_parts(logs, block_s), drift.error_parts(errors)])
    return WatchState(parts[None], np.array([float(usual)]))


def errors_of(track: Track, state: EnsembleState, epsilon: float, window_s: float, bucket_s: float) -> Errors:
    """Disjoint windows of one workload's track, each forecast shifted as it was in force half a day ago.

    `state` says whose forecast is heard. What the last hours taught the shift must not excuse their own errors.
    """
    heard = np.maximum(track.level, 0.0)[:, None] if state.persistent[0] else track.peak
    older = track.age_s > drift.RECENT_S
    before = Track(track.age_s[older], track.level[older], track.peak[older], track.actual[older])
    enough = conformal.enough(before, bucket_s)
    known = state.growth[0] if state.persistent[0] else state.shift[0]
    shift = conformal.shift(before, heard[older], epsilon) if enough else known
    stride_s = conformal.stride_s(bucket_s)
    number = -np.rint(track.age_s / stride_s).astype(np.int64)
    day = round(DAY_S / stride_s)
    place = np.searchsorted(number, number - day)
    found = place < len(number)
    place = np.where(found, place, 0)
    found &= number[place] == number - day if len(number) else found
    actual = np.log(track.actual + epsilon)
    disjoint = slice(None, None, max(round(np.ceil(window_s / stride_s)), 1))
    said = np.maximum.accumulate(np.log(heard + epsilon) + shift, axis=1)
    return Errors(
        age_s=track.age_s[disjoint],
        said=said[disjoint],
        actual=actual[disjoint],
        yesterday=np.where(found, actual[place] if len(number) else actual, np.nan)[disjoint],
    )


def replayed(
    history: History, past: Joined, states: EnsembleState, moment_s: FloatArray, fleet: Workloads, epsilon: float
) -> FloatArray:
    """Parts of one workload's drift at each of `moment_s` (T,), rising, as the looks would have found them, (T, P).

    `states`, (T, …), are the ensemble's at the same moments.
    """
    logs = drift.logs_of(history.coarse_mean[0].astype(np.float64), float(offset_of(fleet)[0]))
    block_s = history.coarse_s
    known = len(logs) - np.maximum(np.ceil((history.coarse_end_s - moment_s) / block_s - 1e-9), 0).astype(np.int64)
    window_s = float(fleet.h[0]) * history.step_s
    firsts, repeats = ensemble.looks(moment_s, float(fleet.phase_s[0]))
    looks = []
    for first in firsts.tolist():
        track = past.until(float(moment_s[first]))
        errors = errors_of(track, take(states, slice(first, first + 1)), epsilon, window_s, history.bucket_s)
        looks.append(_seen(logs[: known[first]], block_s, errors))
    parts = np.repeat(np.concatenate([look.parts for look in looks]), repeats, axis=0)
    usual = np.repeat(np.concatenate([look.usual for look in looks]), repeats)
    shift = np.concatenate([[0.0], drift.shifts(logs, block_s)])[np.clip(known, 0, len(logs))]
    rests = np.isnan(np.concatenate([[np.nan], logs]))[np.clip(known, 0, len(logs))]
    parts[:, Part.LEVEL] = np.where(rests, 0.0, drift.level_part(shift, usual))
    return parts
