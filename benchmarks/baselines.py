"""What people would use instead: the window a season ago, the load now, AutoReg with Fourier terms, ETS.

Each takes a case and says one number or five quantiles per origin, and what a fit took. All work on logarithms of
load + EPSILON, and none is told more than the forecasters of this project are: minutes of eight days, blocks of five
minutes of sixteen.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from statsmodels.tsa.ar_model import AutoReg
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from benchmarks.arena import EPSILON, Case
from forecasting import boosting, harmonic
from forecasting.features import Situation, describe
from forecasting.forecast import FloatArray, IntArray
from forecasting.series import DAY_S, History, Rows

LAGS = 10
"""Minutes that AutoReg looks back."""
LONGEST = 20
"""Blocks ahead that a series without a season can be asked about."""
WAVES: FloatArray = 2 * np.pi * np.concatenate([np.arange(1, 9) / DAY_S, np.arange(1, 4) / (7 * DAY_S)])


@dataclass(frozen=True, slots=True)
class Said:
    """What one forecaster said of a case."""

    peak: FloatArray
    """Largest load of each lead window, (S, 1) or (S, Q), before the wrapper."""
    fit_s: float
    """CPU seconds per fit."""


def last_value(case: Case) -> Said:
    """The load of the newest minute."""
    return Said(_situation(case).level[:, None], 0.0)


def seasonal(season: int) -> Callable[[Case], Said]:
    """The largest sample of the window one of SEASONS_S ago; the load now where that is unknown."""

    def said(case: Case) -> Said:
        seen = _situation(case)
        earlier = seen.season_peak[:, season]
        return Said(np.where(np.isnan(earlier), seen.level, earlier)[:, None], 0.0)

    return said


def _situation(case: Case) -> Situation:
    rows = case.rows(np.arange(len(case.origin_s)))
    return describe(case.whole, rows, np.full(len(rows.h), EPSILON * case.capacity))


def boosted(case: Case) -> Said:
    """The booster of this project, without the ensemble."""
    return _fitted(
        case,
        lambda history: boosting.fit(history, case.h, averaged=False),
        lambda params, rows: boosting.predict(params, case.whole, rows).peak,
    )


def harmonic_regression(case: Case) -> Said:
    """The harmonic regression of this project."""
    return _fitted(
        case,
        lambda history: harmonic.fit(history, case.h, averaged=False),
        lambda params, rows: harmonic.predict(params, case.whole, rows).peak,
    )


def _fitted(case: Case, fit: Callable[[History], object], predict: Callable[[object, Rows], FloatArray]) -> Said:
    """Forecasts from all origins, each by the newest fit before it."""
    said, spent_s, number = [], 0.0, case.fit
    for k, cutoff_s in enumerate(case.cutoff_s.tolist()):
        history = case.past.until(cutoff_s)
        begun_s = time.process_time()
        params = fit(history)
        spent_s += time.process_time() - begun_s
        said.append(predict(params, case.rows(np.flatnonzero(number == k))))
    return Said(np.concatenate(said), spent_s / len(case.cutoff_s))


def autoregression(case: Case) -> Said:
    """statsmodels' AutoReg on minutes with Fourier terms; the largest value of the expected path."""
    minutes = np.log(case.whole.mean[0] + EPSILON * case.capacity)
    ahead = int(np.ceil(case.h * case.past.step_s / case.past.bucket_s))

    def fit(history: History) -> FloatArray:
        logs = bridged(np.log(history.mean[0] + EPSILON * case.capacity))
        stamp_s = history.bucket_end_s - history.bucket_s * np.arange(len(logs) - 1, -1, -1)
        return np.asarray(AutoReg(logs, LAGS, exog=_waves(stamp_s)).fit().params)

    def predict(params: FloatArray, rows: Rows) -> FloatArray:
        place = newest_block(case.past.start_s, rows.origin_s, case.past.bucket_s)
        before = bridged(minutes)[place[:, None] - np.arange(LAGS)] if len(place) else np.zeros((0, LAGS))
        top = np.full(len(place), -np.inf)
        for step in range(1, ahead + 1):
            waves = _waves(rows.origin_s + step * case.past.bucket_s)
            value = params[0] + before @ params[1 : 1 + LAGS] + waves @ params[1 + LAGS :]
            before = np.concatenate([value[:, None], before[:, :-1]], axis=1)
            top = np.maximum(top, value)
        return _load(case, top)

    return _fitted(case, fit, predict)


def _waves(stamp_s: FloatArray) -> FloatArray:
    angle = stamp_s[:, None] * WAVES
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def bridged(logs: FloatArray) -> FloatArray:
    """Gaps carried forward, those at the beginning backward."""
    known = ~np.isnan(logs)
    place = np.maximum.accumulate(np.where(known, np.arange(len(logs)), int(np.argmax(known))))
    return np.asarray(logs[place], dtype=np.float64)


def newest_block(start_s: float, origin_s: FloatArray, spacing_s: float) -> IntArray:
    """Column of the newest block that is complete at each origin."""
    return np.floor((origin_s - start_s) / spacing_s + 1e-9).astype(np.int64) - 1


def smoothing_minutes(case: Case) -> Said:
    """ETS without a season on minutes: simple exponential smoothing."""
    return _smoothing(case, case.whole.mean[0], case.past.start_s, case.past.bucket_s, 1)


def smoothing_season(case: Case) -> Said:
    """ETS with an additive season of a day in blocks of five minutes (Holt and Winters)."""
    coarse_s = case.whole.coarse_s
    start_s = case.whole.coarse_end_s - coarse_s * case.whole.coarse_mean.shape[1]
    return _smoothing(case, case.whole.coarse_mean[0], start_s, coarse_s, round(DAY_S / coarse_s))


def _smoothing(case: Case, load: FloatArray, start_s: float, spacing_s: float, season: int) -> Said:
    """statsmodels' ExponentialSmoothing, fitted to eight days and carried on from block to block until the next fit."""
    logs = np.log(load.astype(np.float64) + EPSILON * case.capacity)
    kept = round(8 * DAY_S / spacing_s)

    def fit(history: History) -> tuple[int, dict[str, FloatArray]]:
        stop = int(newest_block(start_s, np.array([history.end_s]), spacing_s)[0]) + 1
        first = max(stop - kept, int(np.argmax(~np.isnan(logs))))
        kind = {"seasonal": "add", "seasonal_periods": season} if season > 1 else {}
        model = ExponentialSmoothing(bridged(logs[first:stop]), initialization_method="heuristic", **kind)
        return first, model.fit().params

    def predict(fitted: tuple[int, dict[str, FloatArray]], rows: Rows) -> FloatArray:
        first, params = fitted
        place = newest_block(start_s, rows.origin_s, spacing_s)
        level, swing = _smoothed(logs[first : int(place.max()) + 1], params, season)
        ahead = np.ceil((rows.origin_s + case.h * case.past.step_s - start_s) / spacing_s).astype(np.int64) - 1 - place
        top = np.full(len(place), -np.inf)
        for k in range(1, int(ahead.max()) + 1):
            expected = level[place - first] + swing[place - first + k]
            top = np.where(k <= ahead, np.maximum(top, expected), top)
        return _load(case, top)

    return _fitted(case, fit, predict)


def _smoothed(logs: FloatArray, params: dict[str, FloatArray], season: int) -> tuple[FloatArray, FloatArray]:
    """Level after each block, and the seasonal term that was known a season before it; the same recursion, on."""
    level = float(params["initial_level"])
    alpha = float(params["smoothing_level"])
    gamma = float(params["smoothing_seasonal"]) if season > 1 else 0.0
    swing = list(params["initial_seasons"]) if season > 1 else [0.0] * LONGEST
    levels = []
    for t, value in enumerate(logs.tolist()):
        seasonal_term, before = swing[t], level
        if value == value:  # noqa: PLR0124 - not NaN
            level = alpha * (value - seasonal_term) + (1.0 - alpha) * before
            seasonal_term = gamma * (value - before) + (1.0 - gamma) * seasonal_term
        levels.append(level)
        swing.append(seasonal_term if season > 1 else 0.0)
    return np.array(levels), np.array(swing)


def _load(case: Case, logs: FloatArray) -> FloatArray:
    return np.exp(logs)[:, None] - EPSILON * case.capacity
