"""Has the world changed? Of the load and of the forecasts' errors, one score from 0 to 1 with named parts.

    blocks of load (16 days, 5 minutes each) → level, season, trend, spread      what the fit was trained on is gone
    forecasts that were kept, beside what came → coverage, skill, bias, change   the forecasts are wrong

Every part is an effect size over a threshold, scaled so that ALARM says: act. Season-aware throughout: now is compared
with the same hours of earlier days, so that a night is no drift, and with the same hours a week ago where they are
known, so that a weekend is none. No state: a part is a function of what is stored, and a replay finds the same again.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from forecasting.forecast import LEVELS, NORMAL_SCORES, BoolArray, FloatArray, IntArray
from forecasting.series import DAY_S, LoadArray

HOUR_S = 3600.0
ALARM = 0.3
"""Score from which a forecast is no longer trusted."""


class Part(IntEnum):
    """What may have drifted."""

    LEVEL = 0
    """The load of the last minutes has left that of the hour before, unlike earlier days."""
    SEASON = 1
    """The last eighteen hours do not follow the shape of the day any more."""
    TREND = 2
    """Each of three days lay as much above, or below, the day before it."""
    SPREAD = 3
    """The last one and a half days are distributed unlike the week before."""
    COVERAGE = 4
    """More peaks than promised lie above the upper bound."""
    SKILL = 5
    """Yesterday's load at this time forecasts better."""
    BIAS = 6
    """The errors of the last half day lean to one side."""
    CHANGE = 7
    """The errors have leaned to one side ever since some moment (Page and Hinkley)."""


LEVEL_NOW_S, LEVEL_BEFORE_S = 600.0, 3600.0
"""A level is the mean of ten minutes, for a burst is no level, and is compared with the hour before them."""
LEVEL_LAGS_S = (DAY_S, 7 * DAY_S)
"""When the same step would have been no news."""
LEVEL_LEAST = 0.6
"""Smallest shift of a level that counts, in logarithms: × 1.82. Half or double is 0.69."""
LEVEL_MARGIN = 1.3
"""A shift must exceed the largest of the last week by so much: what happens every week is no drift."""
USUAL_S = 7 * DAY_S
"""How long a shift of the level is remembered as usual."""
SEASON_S = 0.75 * DAY_S
"""Stretch that is compared with the shape of the day: shorter than a season, longer than a holiday's morning."""
RECENT_S = DAY_S / 2
"""How old the errors may be that are averaged."""
SEASON_LEAST = 0.2
"""Standard deviation of the shape, in logarithms, below which there is no season to lose."""
FOLLOWED, LOST = 0.7, 0.3
"""Slope on the shape in earlier days, above which the load was seasonal; swing now, as a share of the shape's, below
which it is no more. A holiday may run against the shape, so that there is no slope, and still swings by 0.4."""
EARLIER_DAYS = 6
"""Days whose mean is the shape: with today a week."""
TREND_DAYS = 3
"""A holiday moves one day there and the next one back; three in one direction are a trend."""
TREND_LEAST = 0.02
"""Smallest growth per day that counts: with three days, 6 %."""
TREND_NOISE = 3.0
"""How often the usual difference between two days a trend's smallest must be: noise alone does that once a year."""
SPREAD_NOW_S, SPREAD_BEFORE_S = 1.5 * DAY_S, 7 * DAY_S
"""What is compared: longer than a day, so that one odd day alone stays below, with a whole week."""
SPREAD_LEAST = 0.1
"""Smallest shift of the median, in logarithms, that counts."""
KS_DISTANCE = 0.85
"""Kolmogorov and Smirnov's distance as an effect size: one odd day reaches 0.67, a weekend after another one 0.71."""
PSI = 0.25
"""Population stability index above which scorecards call a population shifted."""
PSI_BINS = 10
COVERED = 0.55
"""Share of peaks below the 0.9 bound that alarms; the day after a holiday keeps more than it."""
WORSE = 1.25
"""Mean absolute error over that of yesterday's load that alarms, …"""
WORSE_BY = 0.05
"""… if it is also so much larger, in logarithms: where yesterday errs by nothing, little is many times as much."""
LEANING = 1.5
"""Mean scaled error that alarms: as if the upper tenth were the middle."""
PH_SLACK, PH_LIMIT = 1.0, 30.0
"""Page and Hinkley's δ and λ in standard deviations: errors correlated over five windows alarm once in six weeks."""
CLIPPED = 3.0
"""Scaled errors count no more than this: one burst is no change."""
SMALL_SPREAD = 0.01
"""Smallest standard deviation that errors are scaled by, in logarithms: less than a percent moves no replica."""
FEWEST = 40
"""Disjoint windows without which errors say nothing."""
LOOKS_BACK_S: FloatArray = np.array([LEVEL_NOW_S + LEVEL_BEFORE_S, *[TREND_DAYS * DAY_S] * 3, *[RECENT_S + HOUR_S] * 4])
"""How long each part still sees an event that is over, (P,)."""


def no_drift(n: int) -> FloatArray:
    """Parts of n workloads of which nothing is known, (B, P)."""
    return np.zeros((n, len(Part)))


def logs_of(load: FloatArray, offset: FloatArray | float) -> FloatArray:
    """Logarithms of block means, same shape; NaN below `offset`, where a workload rests: that is no level to shift."""
    known = load >= offset
    return np.where(known, np.log(np.where(known, load, 1.0) + offset), np.nan)


def steps_up(logs: FloatArray, block_s: float) -> FloatArray:
    """How far each level lies above that of the hour before it, (…, c); NaN where too little is known."""
    now, before = round(max(LEVEL_NOW_S / block_s, 1)), round(max(LEVEL_BEFORE_S / block_s, 1))
    newest, earlier = _trailing_mean(logs, now), _trailing_mean(logs, before)
    shifted = np.full_like(logs, np.nan)
    shifted[..., now:] = earlier[..., :-now]
    return newest - shifted


def shifts(logs: FloatArray, block_s: float) -> FloatArray:
    """Shift of the level at each block, (…, c): the smallest of the step itself and those beyond earlier days'.

    A step that was there a day or a week ago is no shift, and the echo of a step a day ago is none either.
    """
    step = steps_up(logs, block_s)
    earlier = []
    for lag_s in LEVEL_LAGS_S:
        lag = min(round(lag_s / block_s), step.shape[-1])
        earlier.append(np.concatenate([np.full_like(step[..., :lag], np.nan), step[..., : step.shape[-1] - lag]], -1))
    return _beyond(step, earlier)


def level_windows(blocks: LoadArray, block_s: float) -> list[LoadArray]:
    """The newest blocks that make a level's step, and the same a day and a week ago, (B, …) each, as far as known."""
    n = round(max(LEVEL_NOW_S / block_s, 1)) + round(max(LEVEL_BEFORE_S / block_s, 1))
    stops = [blocks.shape[1] - round(lag_s / block_s) for lag_s in (0.0, *LEVEL_LAGS_S)]
    return [blocks[:, stop - n : stop] for stop in stops if stop >= n]


def newest_shift(windows: list[FloatArray], block_s: float) -> FloatArray:
    """Shift of the level at the newest block, (B,), from the logarithms of `level_windows`."""
    now, *earlier = (steps_up(window, block_s)[:, -1] for window in windows)
    return _beyond(now, earlier)


def _beyond(step: FloatArray, earlier: list[FloatArray]) -> FloatArray:
    found = np.where(np.isnan(step), 0.0, step)
    for then in earlier:
        beyond = np.where(np.isnan(then), found, step - then)
        smaller = np.where(np.abs(beyond) < np.abs(found), beyond, found)
        found = np.where(smaller * found > 0, smaller, 0.0)
    return found


def usual_shift(shift: FloatArray, block_s: float) -> FloatArray:
    """Largest shift of the last week, without the last hour and a half, (…,): what is coming must not excuse itself."""
    n, recent = round(USUAL_S / block_s), round((LEVEL_NOW_S + LEVEL_BEFORE_S) / block_s) + 1
    return np.asarray(np.abs(shift[..., -n - recent : -recent]).max(axis=-1, initial=0.0))


def level_part(shift: FloatArray, usual: FloatArray) -> FloatArray:
    """Score of a shift of the level beside what is usual, (…,)."""
    return scored(np.abs(shift) / np.maximum(LEVEL_LEAST, LEVEL_MARGIN * usual))


def data_parts(logs: FloatArray, block_s: float) -> FloatArray:
    """Parts of one workload that look at its load, (4,); `logs` (c,) are of its blocks, the newest last."""
    shift = shifts(logs, block_s)
    return np.array(
        [
            level_part(shift[-1], usual_shift(shift, block_s)),
            season_part(logs, block_s),
            trend_part(logs, block_s),
            spread_part(logs, block_s),
        ]
    )


def season_part(logs: FloatArray, block_s: float) -> float:
    """Score of a lost season of one workload."""
    day = round(DAY_S / block_s)
    slopes = [_slope(logs[: len(logs) - back], block_s) for back in (day, 2 * day)]
    swing = _swing(logs, block_s)
    if np.isnan([*slopes, swing]).any() or min(slopes) < FOLLOWED:
        return 0.0
    return float(scored(max(1.0 - swing, 0.0) / (1.0 - LOST)))


def _swing(logs: FloatArray, block_s: float) -> float:
    """Standard deviation of the last hours over that of earlier days at these hours, or of a week ago if less.

    NaN where too little is known, or where these hours had no shape.
    """
    now, shape, last_week = _stretches(logs, block_s)
    swings = [_ratio(now, shape)] + ([_ratio(now, last_week)] if _known(now + last_week) >= 0.5 else [])
    return float(np.max(swings))


def _ratio(y: FloatArray, x: FloatArray) -> float:
    known = ~np.isnan(x + y)
    if _known(x + y) < 0.5 or float(x[known].std()) < SEASON_LEAST:
        return np.nan
    return float(y[known].std() / x[known].std())


def _stretches(logs: FloatArray, block_s: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The last hours, the mean of the same hours of earlier days, and the same a week ago."""
    n, day = round(SEASON_S / block_s), round(DAY_S / block_s)
    shape = _mean([_back(logs, n, k * day) for k in range(1, EARLIER_DAYS + 1)])
    return _back(logs, n, 0), shape, _back(logs, n, 7 * day)


def _slope(logs: FloatArray, block_s: float) -> float:
    """Slope of the last hours on the shape of earlier days, or on that of a week ago if it follows that more.

    NaN where too little is known, or where these hours had no shape to follow, be it only a week ago.
    """
    now, shape, last_week = _stretches(logs, block_s)
    slope = _regressed(now, shape)
    return slope if _known(now + last_week) < 0.5 else float(np.maximum(slope, _regressed(now, last_week)))


def _regressed(y: FloatArray, x: FloatArray) -> float:
    known = ~np.isnan(x + y)
    if _known(x + y) < 0.5:
        return np.nan
    x, y = x[known] - x[known].mean(), y[known] - y[known].mean()
    variance = float((x * x).mean())
    return float((x * y).mean()) / variance if variance >= SEASON_LEAST**2 else np.nan


def trend_part(logs: FloatArray, block_s: float) -> float:
    """Score of a trend of one workload: days that differ from the day before alike, and more than days usually do.

    As they are, and beside the same days a week before where two weeks are known.
    """
    day = round(DAY_S / block_s)
    n = min(len(logs) // day - 1, 2 * TREND_DAYS + 7)
    grown = np.array([_known_mean(_back(logs, day, k * day) - _back(logs, day, (k + 1) * day)) for k in range(n)])
    if n < 2 * TREND_DAYS:
        return 0.0
    usual = float(np.nanmedian(np.abs(grown[TREND_DAYS:]))) if not np.isnan(grown[TREND_DAYS:]).all() else np.nan
    return max(_trend(grown, usual), _trend(grown[:-7] - grown[7:], usual))


def _trend(grown: FloatArray, usual: float) -> float:
    newest, others = grown[:TREND_DAYS], grown[TREND_DAYS:]
    others = others[~np.isnan(others)]
    one_way = np.all(newest > 0) or np.all(newest < 0)
    if len(others) < TREND_DAYS or np.isnan(newest).any() or not one_way:
        return 0.0
    smallest, noise = float(np.abs(newest).min()), max(float(np.abs(others - np.median(others)).mean()), usual)
    return float(scored(min(smallest / TREND_LEAST, smallest / max(TREND_NOISE * noise, 1e-9))))


def spread_part(logs: FloatArray, block_s: float) -> float:
    """Score of a distribution of one workload that has moved, each block less the mean of its time of day.

    Away from the whole week before, and from the same hours of it where they are known: a week has its own course.
    """
    n, m, day = (round(s / block_s) for s in (SPREAD_NOW_S, SPREAD_BEFORE_S, DAY_S))
    if len(logs) < n + m:
        return 0.0
    before = logs[-n - m : -n].reshape(-1, day)
    shape = _mean(list(before))
    then = (before - shape).ravel()
    now = logs[-n:] - np.resize(shape, n)
    last_week = _back(logs, n, m) - np.resize(shape, n)
    if _known(then) < 0.7 or _known(now) < 0.5:
        return 0.0
    moved = [_moved(then, now)] + ([_moved(last_week, now)] if _known(last_week) >= 0.5 else [])
    return float(scored(min(moved)))


def _moved(then: FloatArray, now: FloatArray) -> float:
    """How far a distribution has moved, over what alarms."""
    then, now = then[~np.isnan(then)], now[~np.isnan(now)]
    if abs(np.median(now) - np.median(then)) < SPREAD_LEAST:
        return 0.0
    return min(ks_distance(then, now) / KS_DISTANCE, stability_index(then, now) / PSI)


def ks_distance(one: FloatArray, other: FloatArray) -> float:
    """Largest distance of two empirical distribution functions, 0–1."""
    both = np.sort(np.concatenate([one, other]))
    below = (np.searchsorted(np.sort(part), both, side="right") / len(part) for part in (one, other))
    return float(np.abs(np.subtract(*below)).max())


def stability_index(before: FloatArray, now: FloatArray) -> float:
    """Population stability index Σ (q − p)·ln(q / p) over the deciles of `before`."""
    edges = np.quantile(before, np.arange(1, PSI_BINS) / PSI_BINS)
    p, q = (
        np.maximum(np.bincount(np.searchsorted(edges, part), minlength=PSI_BINS) / len(part), 1e-4)
        for part in (before, now)
    )
    return float(((q - p) * np.log(q / p)).sum())


@dataclass(frozen=True, slots=True)
class Errors:
    """What one workload's forecasts said and what came, disjoint windows, oldest first, in logarithms; W of them."""

    age_s: FloatArray
    """Time since each was made, (W,)."""
    said: FloatArray
    """Quantiles of the peak at LEVELS as they were in force, (W, Q)."""
    actual: FloatArray
    """(W,)"""
    yesterday: FloatArray
    """What came in the same window a day before, (W,); NaN where unknown."""


def error_parts(errors: Errors) -> FloatArray:
    """Parts of one workload that look at its forecasts, (4,)."""
    recent = errors.age_s <= RECENT_S
    if np.count_nonzero(recent) < FEWEST:
        return np.zeros(4)
    spread = np.maximum((errors.said[:, 1] - errors.said[:, 0]) / NORMAL_SCORES[1], SMALL_SPREAD)
    scaled = np.clip((errors.actual - errors.said[:, 0]) / spread, -CLIPPED, CLIPPED)
    covered = float((errors.actual[recent] <= errors.said[recent, 1]).mean())
    promised = float(LEVELS[1])
    return np.array(
        [
            scored(max(promised - covered, 0.0) / (promised - COVERED)),
            scored(_worse(errors, recent)),
            scored(abs(float(scaled[recent].mean())) / LEANING),
            scored(page_hinkley(scaled) / PH_LIMIT),
        ]
    )


def _worse(errors: Errors, recent: BoolArray) -> float:
    """Error over that of yesterday's load beyond three quarters, 1 where it is WORSE."""
    known = recent & ~np.isnan(errors.yesterday)
    if np.count_nonzero(known) < FEWEST:
        return 0.0
    ours = float(np.abs(errors.actual - errors.said[:, 0])[known].mean())
    naive = float(np.abs(errors.actual - errors.yesterday)[known].mean())
    return min(max(ours / max(naive, 1e-6) - 0.75, 0.0) / (WORSE - 0.75), max(ours - naive, 0.0) / WORSE_BY)


def page_hinkley(scaled: FloatArray) -> float:
    """How far the sums of scaled errors beyond the slack have risen, up or down, since they last were lowest.

    Page, Biometrika 1954; Hinkley, Biometrika 1971.
    """
    if not len(scaled):
        return 0.0
    totals = [np.cumsum(side - PH_SLACK) for side in (scaled, -scaled)]
    return max(float(total[-1] - min(total.min(), 0.0)) for total in totals)


def scored(effect: FloatArray | float) -> FloatArray:
    """An effect over its threshold as a score: ALARM at the threshold, 1 far beyond it."""
    return np.minimum(ALARM * np.asarray(effect, dtype=np.float64), 1.0)


def worst(parts: FloatArray) -> tuple[FloatArray, IntArray]:
    """Score and the part that makes it, (B,) each, of (B, P)."""
    named = parts.argmax(axis=1)
    return parts[np.arange(len(parts)), named], named


def _back(logs: FloatArray, n: int, lag: int) -> FloatArray:
    """The n blocks that end `lag` blocks before the newest; NaN where the history does not reach."""
    stop = len(logs) - lag
    part = logs[max(stop - n, 0) : max(stop, 0)]
    return np.concatenate([np.full(n - len(part), np.nan), part])


def _mean(parts: list[FloatArray]) -> FloatArray:
    """Mean of equally long arrays without the missing values; NaN where all miss."""
    together = np.stack(parts)
    known = ~np.isnan(together)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, together, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _known(values: FloatArray) -> float:
    """Share of the values that is known."""
    return float(np.count_nonzero(~np.isnan(values))) / max(len(values), 1)


def _known_mean(values: FloatArray) -> float:
    return float(np.nanmean(values)) if _known(values) >= 0.5 else np.nan


def _trailing_mean(logs: FloatArray, n: int) -> FloatArray:
    """Mean of the last n, (…, c); NaN where fewer than three quarters are known."""
    known = ~np.isnan(logs)
    total, count = (
        np.concatenate([np.zeros((*logs.shape[:-1], n)), np.cumsum(x, axis=-1)], axis=-1)
        for x in (np.where(known, logs, 0.0), known)
    )
    total, count = (x[..., n:] - x[..., :-n] for x in (total, count))
    return np.where(4 * count >= 3 * n, total / np.maximum(count, 1), np.nan)
