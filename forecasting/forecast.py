"""Forecasts as quantiles, on one grid of levels for all forecasters.

The first statement of interest is the *peak*: the largest load inside the lead window. Its distribution is forecast
directly, since the maximum of per-step quantiles is not the quantile of the maximum. The *path* is the load at the end
of the lead window, for charts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LEVELS: FloatArray = np.array([0.5, 0.9, 0.97, 0.99, 0.995])
"""Levels of every quantile forecast, (Q,)."""

NORMAL_SCORES: FloatArray = np.array([0.0, 1.2815515655, 1.8807936082, 2.3263478740, 2.5758293035])
"""Standard normal quantiles at LEVELS: between two levels the forecast is read off along this axis."""

FARTHEST = 0.9997
"""Level beyond which no reading goes: nothing that far out was ever measured."""
TAILS: FloatArray = -np.log(1.0 - LEVELS)
TAIL_SPAN = float(-np.log(1.0 - FARTHEST) - TAILS[0])
PARABOLA: FloatArray = np.asarray(np.linalg.pinv(np.vander(TAILS, 3, increasing=True)), dtype=np.float64)
"""From quantiles to the constant, slope and bend of their least-squares parabola over TAILS, (3, Q)."""
SPACINGS: FloatArray = np.diff(NORMAL_SCORES)
MOST: FloatArray = np.array([1.0] * (len(LEVELS) - 2) + [np.inf])
"""Share of each spacing that a reading may use: the last one is continued."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Forecast of R rows at LEVELS, in load units, non-negative and non-decreasing along the levels."""

    peak: FloatArray
    """Largest load in the lead window, (R, Q); NaN where there is no forecast."""
    path: FloatArray
    """Load at the last sample of the lead window, (R, Q)."""
    level: FloatArray
    """Load now, as the forecaster understands it, (R,); NaN where it is not known."""
    ceiling: FloatArray
    """Largest load worth believing at any level, (R,): readings beyond the last level stop there."""


def nothing_said(n: int) -> Quantiles:
    """No forecast for any of n rows."""
    peak, path = np.full((2, n, len(LEVELS)), np.nan)
    level, ceiling = np.full((2, n), np.nan)
    return Quantiles(peak, path, level, ceiling)


def at_level(quantiles: FloatArray, level: FloatArray, offset: FloatArray) -> FloatArray:
    """Read (R, Q) quantiles at one level per row, (R,), or several, (K, R), along one smooth curve through all of them.

    A least-squares parabola of log(quantile + offset) over −log(1 − level), held where it would fall. The quantiles
    are estimates: a curve through each of them bends at every level, and what a price buys jumps from bend to bend.
    Levels below the first of LEVELS are read at the first, those beyond FARTHEST there.
    """
    logs = np.log(quantiles + offset[:, None])
    constant, slope, bend = ((logs * row).sum(axis=-1) for row in PARABOLA)
    tail = np.minimum(np.maximum(-np.log(1.0 - np.minimum(level, FARTHEST)), TAILS[0]), TAILS[0] + TAIL_SPAN)
    turn = np.where(bend < 0, -slope / np.where(bend < 0, 2.0 * bend, -1.0), np.inf)
    at = np.maximum(np.minimum(tail, turn), TAILS[0])
    value = constant + at * (slope + at * bend)
    lowest = constant + TAILS[0] * (slope + TAILS[0] * bend)
    return np.asarray(np.exp(np.maximum(value, lowest)) - offset)


def at_score(quantiles: FloatArray, score: FloatArray) -> FloatArray:
    """Read (R, Q) quantiles at one standard normal quantile ≥ 0 per row, (R,).

    Linear between neighbours, continued beyond the last level.
    """
    share = (score[:, None] - NORMAL_SCORES[:-1]) / SPACINGS
    share = np.maximum(np.minimum(share, MOST), 0.0)
    return np.asarray(
        quantiles[:, 0] + np.add.accumulate(share * (quantiles[:, 1:] - quantiles[:, :-1]), axis=1)[:, -1]
    )


def level_of(quantiles: FloatArray, value: FloatArray) -> FloatArray:
    """Probability that a row's quantity stays at or below `value`, (R,), by the same reading as `at_score`.

    Limited to what the grid can say: at least 0, at most 0.999; below the median it falls linearly to 0 at value 0.
    """
    median = quantiles[:, 0]
    steps = np.maximum(np.diff(quantiles, axis=1), 1e-12)
    segment = np.clip((quantiles[:, :-1] <= value[:, None]).sum(axis=1) - 1, 0, len(LEVELS) - 2)
    rows = np.arange(len(quantiles))
    share = (value - quantiles[rows, segment]) / steps[rows, segment]
    score = NORMAL_SCORES[segment] + share * (NORMAL_SCORES[segment + 1] - NORMAL_SCORES[segment])
    above = np.minimum(normal_probability(np.clip(score, 0.0, 8.0)), 0.999)
    below = 0.5 * np.clip(value / np.maximum(median, 1e-12), 0.0, 1.0)
    return np.asarray(np.where(value >= median, above, below))


def normal_probability(score: FloatArray) -> FloatArray:
    """Standard normal distribution function for score ≥ 0 (Abramowitz and Stegun 26.2.17, error below 7.5e-8)."""
    t = 1.0 / (1.0 + 0.2316419 * score)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    return np.asarray(1.0 - np.exp(-0.5 * score * score) / np.sqrt(2.0 * np.pi) * series)


def ordered(quantiles: FloatArray) -> FloatArray:
    """Make (…, Q) quantiles non-negative and non-decreasing along the levels."""
    return np.asarray(np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=-1))
