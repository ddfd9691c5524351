"""Seasonal naive and last value: the window one season ago, or the level now, each with its own past errors.

The yardstick of every other forecaster, and what serves until one of them is fitted. A season is kept where it did
better on the history than none, and by more than chance would have it; the quantiles are the median-free distribution
of log(actual / naive) over the history.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.errors import NotEnoughHistory
from forecasting.features import SEASONS_S, describe
from forecasting.forecast import LEVELS, BoolArray, FloatArray, IntArray, Quantiles, ordered
from forecasting.scores import pinball
from forecasting.series import History, Rows
from forecasting.training import mean_load, training_rows, window_targets


@dataclass(frozen=True, slots=True)
class NaiveConfig:
    """What a fit of the naive forecaster may use."""

    max_rows: int = 720
    """Origins compared, spread evenly over the history: few enough for a fit at first sight, in milliseconds."""
    min_rows: int = 60
    """Origins with a known window that a fit takes: one hour of minutes."""
    sure: float = 2.0
    """Standard errors by which a season must forecast better over disjoint windows: by chance once in forty."""


@dataclass(frozen=True, slots=True)
class NaiveParams:
    """Fitted naive forecasters of B workloads."""

    season: IntArray
    """Index into SEASONS_S, or −1 for the last value, (B,)."""
    offsets: FloatArray
    """Quantiles of log(actual / naive) at LEVELS of the lead window and of its last sample, (B, 2, Q)."""
    epsilon: FloatArray
    """Load added to both sides of a ratio, (B,)."""
    averaged: BoolArray
    """Whether the window's mean is forecast instead of its peak, (B,)."""


def fit(history: History, h: int, *, averaged: bool, config: NaiveConfig = NaiveConfig()) -> NaiveParams:
    """Fit the one workload of `history` for lead windows of `h` steps.

    Raises:
        NotEnoughHistory: fewer than `config.min_rows` origins have a known window.
        NegativeLoad: a load is below zero.
    """
    epsilon = max(0.01 * mean_load(history), 1e-12)
    rows = training_rows(history, h, config.max_rows)
    window, last = window_targets(history, rows, averaged=averaged)
    known = ~np.isnan(window + last)
    if known.sum() < config.min_rows:
        raise NotEnoughHistory(f"naive: {known.sum()} origins with a known lead window, {config.min_rows} needed")
    situation = describe(history, rows, np.full(len(rows.h), epsilon))
    seasonal = situation.season_mean if averaged else situation.season_peak
    apart = -(-h // max(round(float(np.diff(rows.origin_s[:2]).sum()) / history.step_s), 1))
    best, lost = (-1, np.zeros((2, len(LEVELS)))), np.full(len(window), np.inf)
    for season in range(-1, len(SEASONS_S)):
        base = situation.level if season < 0 else seasonal[:, season]
        usable = known & ~np.isnan(base)
        if usable.sum() < config.min_rows or usable.sum() < 0.5 * known.sum():
            continue
        logs = np.log(np.stack([window, last])[:, usable] + epsilon) - np.log(base[usable] + epsilon)
        offsets = np.quantile(logs, LEVELS, axis=1).T
        loss = np.full(len(window), np.nan)
        loss[usable] = pinball(logs[0], np.broadcast_to(offsets[0], (usable.sum(), len(LEVELS))))[:, 1:].mean(axis=1)
        if season < 0 or _surely_better((lost - loss)[::apart], config.sure):
            best, lost = (season, offsets), loss
    return NaiveParams(np.array([best[0]]), best[1][None], np.array([epsilon]), np.array([averaged]))


def _surely_better(gain: FloatArray, sure: float) -> bool:
    """Whether the mean of independent gains, (R,) with NaN where unknown, exceeds 0 by `sure` standard errors.

    Infinite gains are over nothing at all.
    """
    gain = gain[~np.isnan(gain)]
    if not np.isfinite(gain).any():
        return len(gain) > 0
    return bool(gain.mean() > sure * gain.std() / np.sqrt(len(gain)))


def predict(params: NaiveParams, history: History, rows: Rows) -> Quantiles:
    """Forecast R rows; `params` has one row per workload of `history`.

    Falls back to the level where a season is missing.
    """
    epsilon = params.epsilon[rows.workload]
    situation = describe(history, rows, epsilon)
    season = params.season[rows.workload]
    seasonal = np.where(params.averaged[rows.workload][:, None], situation.season_mean, situation.season_peak)
    chosen = seasonal[np.arange(len(season)), np.maximum(season, 0)]
    base = np.where((season < 0) | np.isnan(chosen), situation.level, chosen)
    grown = (base + epsilon)[:, None, None] * np.exp(params.offsets[rows.workload]) - epsilon[:, None, None]
    both = ordered(grown)
    return Quantiles(both[:, 0], both[:, 1], situation.level, np.full(len(season), np.inf))
