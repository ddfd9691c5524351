"""Dynamic harmonic regression: waves of the day, the hour and the week, and errors that remember, on a logarithm.

    log(load + epsilon) = waves(t) + error(t);   error(t) = sum of echoes of earlier errors + restless · innovation(t)

A seasonal ARIMA with a season of 1,440 minutes cannot be estimated; Fourier terms for the season and autoregressive
errors around them can (Hyndman and Athanasopoulos, Forecasting, chapter 10). statsmodels estimates the errors by Burg's
method, whose echoes always fade, so that no path explodes; it is imported by a fit alone. A fit leaves arrays behind,
and a forecast takes NumPy and no more. The peak is read off sample paths: the maximum of quantiles is not the quantile
of the maximum. Innovations are drawn larger while the recent errors moved more than usual.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from forecasting.errors import NotEnoughHistory
from forecasting.features import newest
from forecasting.forecast import LEVELS, BoolArray, FloatArray, Quantiles, ordered
from forecasting.series import DAY_S, History, Rows, recent_windows
from forecasting.training import mean_load

PER_WEEK: FloatArray = np.concatenate([[1, 2, 3], 7 * np.arange(1, 48), 7 * 24 * np.arange(2, 9)]).astype(np.float64)
"""How often each wave swings in a week: thrice 1 to 3 a week, 1 to 47 a day, 2 to 8 an hour, (V,)."""
RADIANS_PER_S: FloatArray = 2 * np.pi * PER_WEEK / (7 * DAY_S)
ECHOES = 30
"""L: earlier errors that an error remembers, in buckets."""
PATHS = 256
"""N: sample paths, and points that a distribution is kept at."""
SEED = 0
"""The paths of all workloads are drawn alike, so that forecasts are deterministic."""
Small = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HarmonicConfig:
    """What a fit of the harmonic forecaster may use."""

    min_known: int = 720
    """Known buckets that a fit takes, and at least a day of them: from 18 hours it was 17 times worse than `naive`."""
    ridge: float = 1e-3
    """Penalty on the waves, relative to the number of buckets: gaps must not let them swing freely."""
    floor: float = 0.018
    """epsilon as a share of the mean load: a quarter of a replica of a fleet of twenty at 70 % load."""
    headroom: float = 1.5
    """No forecast exceeds the largest load known, or lately seen, more than this many times."""
    restless: float = 0.5
    """Share of an innovation's size that follows how much the recent errors moved."""


@dataclass(frozen=True, slots=True)
class HarmonicParams:
    """Fitted harmonic regressions of B workloads."""

    constant: FloatArray
    """Logarithm that the waves swing around, (B,)."""
    sine: FloatArray
    """(B, V)"""
    cosine: FloatArray
    """(B, V)"""
    echo: FloatArray
    """Weight of each earlier error, newest first, (B, L)."""
    usual: FloatArray
    """Mean absolute change of the errors from bucket to bucket, (B,)."""
    innovation: Small
    """Evenly spaced quantiles of the innovations, (B, N)."""
    lift: Small
    """Evenly spaced quantiles of log(largest sample / mean) of a bucket, (B, N)."""
    epsilon: FloatArray
    """Load added before logarithms are taken, (B,)."""
    ceiling: FloatArray
    """Largest load that is forecast unless as much was seen lately, (B,)."""
    averaged: BoolArray
    """Whether the window's mean is forecast instead of its peak, (B,)."""


def fit(history: History, h: int, *, averaged: bool, config: HarmonicConfig = HarmonicConfig()) -> HarmonicParams:  # noqa: ARG001 - one model answers for every lead
    """Fit the one workload of `history`; `averaged`: the mean instead of the peak. A few milliseconds.

    Raises:
        NotEnoughHistory: fewer than `config.min_known` buckets, or less than a day, are known.
        NegativeLoad: a load is below zero.
    """
    epsilon = max(config.floor * mean_load(history), 1e-12)
    mean, maximum = (part[0].astype(np.float64) for part in (history.mean, history.maximum))
    known = ~np.isnan(mean)
    least = max(config.min_known, round(DAY_S / history.bucket_s))
    if known.sum() < least:
        raise NotEnoughHistory(f"harmonic: {known.sum()} known buckets, {least} needed")
    stamp_s = history.bucket_end_s - history.bucket_s * np.arange(len(mean) - 1, -1, -1)
    logs = np.log(mean + epsilon)
    constant, sine, cosine = _waves(stamp_s[known], logs[known], history.bucket_s, config)
    angle = stamp_s[:, None] * RADIANS_PER_S
    error = logs - constant - np.sin(angle) @ sine - np.cos(angle) @ cosine
    echo = _echoes(_bridged(error[np.argmax(known) :]))
    usual, innovation = _innovations(error, echo, config)
    share = (np.arange(PATHS) + 0.5) / PATHS
    return HarmonicParams(
        np.array([constant]),
        sine[None],
        cosine[None],
        echo[None],
        np.array([usual]),
        np.quantile(innovation, share).astype(np.float32)[None],
        np.quantile(np.log(maximum[known] + epsilon) - logs[known], share).astype(np.float32)[None],
        np.array([epsilon]),
        np.array([max(config.headroom * float(np.nanmax(maximum)), epsilon)]),
        np.array([averaged]),
    )


def _waves(
    stamp_s: FloatArray, logs: FloatArray, bucket_s: float, config: HarmonicConfig
) -> tuple[float, FloatArray, FloatArray]:
    """Constant, sines and cosines by ridge regression; none of a wave too fast to see or not seen twice.

    A wave seen once follows whatever the level did and carries it on: a day of history then forecast eight times worse.
    """
    period_s = 2 * np.pi / RADIANS_PER_S
    seen = np.flatnonzero((2 * period_s <= stamp_s[-1] - stamp_s[0] + bucket_s) & (period_s > 2 * bucket_s))
    angle, centre = stamp_s[:, None] * RADIANS_PER_S[seen], float(logs.mean())
    columns = np.concatenate([np.ones((len(logs), 1)), np.sin(angle), np.cos(angle)], axis=1)
    penalty = config.ridge * len(logs) * np.eye(columns.shape[1])
    penalty[0, 0] = 0.0
    found = np.linalg.solve(columns.T @ columns + penalty, columns.T @ (logs - centre))
    sine, cosine = np.zeros((2, len(PER_WEEK)))
    sine[seen], cosine[seen] = found[1 : 1 + len(seen)], found[1 + len(seen) :]
    return centre + float(found[0]), sine, cosine


def _bridged(error: FloatArray) -> FloatArray:
    """Errors with straight lines over their gaps: Burg's method takes a whole series."""
    place, known = np.arange(len(error)), ~np.isnan(error)
    return np.interp(place, place[known], error[known])


def _echoes(error: FloatArray) -> FloatArray:
    """Autoregression of the errors, (L,); none where there is nothing to remember."""
    if error.std() < 1e-9:
        return np.zeros(ECHOES)
    from statsmodels.regression.linear_model import burg  # noqa: PLC0415 - 150 MB that only a fitting process pays for

    found, _ = burg(error, order=ECHOES, demean=False)
    return np.asarray(found, dtype=np.float64)


def _innovations(error: FloatArray, echo: FloatArray, config: HarmonicConfig) -> tuple[float, FloatArray]:
    """Usual change of the errors, and what the echoes left of each, divided by how restless the errors were then."""
    earlier = sliding_window_view(error, ECHOES)[:-1, ::-1]
    left = error[ECHOES:] - (earlier * echo).sum(axis=1)
    moved = _moved(earlier)
    known = ~np.isnan(left + moved)
    if not known.any():
        return 0.0, np.zeros(1)
    usual = float(moved[known].mean())
    return usual, left[known] / _restless(moved[known], np.array([usual]), config)


def _moved(errors: FloatArray) -> FloatArray:
    """Mean absolute change between neighbours of (n, L) errors, (n,); NaN where no two neighbours are known."""
    steps = np.abs(errors[:, 1:] - errors[:, :-1])
    known = ~np.isnan(steps)
    total = np.cumsum(np.where(known, steps, 0.0), axis=1)[:, -1]
    return np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan)


def _restless(moved: FloatArray, usual: FloatArray, config: HarmonicConfig) -> FloatArray:
    """Size of an innovation after errors that moved so much, 1 where they moved as usual, (n,)."""
    ratio = np.where(np.isnan(moved) | (usual <= 0), 1.0, moved / np.where(usual > 0, usual, 1.0))
    return np.asarray(1.0 + config.restless * (ratio - 1.0))


def predict(
    params: HarmonicParams, history: History, rows: Rows, config: HarmonicConfig = HarmonicConfig()
) -> Quantiles:
    """Forecast R rows; `params` has one row per workload of `history`. NaN where the recent past is empty."""
    recent = recent_windows(history, rows)
    mean, highest = recent.mean[:, ::-1], np.fmax.accumulate(recent.maximum, axis=1)[:, -1]
    level, epsilon = newest(mean), params.epsilon[rows.workload]
    ceiling = np.fmax(params.ceiling[rows.workload], config.headroom * highest)
    around = _Around(params, history, rows)
    error = np.log(mean[:, :ECHOES] + epsilon[:, None]) - around.waves(-np.arange(ECHOES))
    restless = _restless(_moved(error), params.usual[rows.workload], config)
    error = _carried(_carried(error)[:, ::-1])[:, ::-1]
    said = _paths(around, np.where(np.isnan(error), 0.0, error), restless, np.log(ceiling + epsilon))
    unknown = np.isnan(level)[:, None]
    peak, path = (ordered(np.where(unknown, np.nan, np.exp(logs) - epsilon[:, None])) for logs in said)
    return Quantiles(peak, path, level, ceiling)


def _carried(values: FloatArray) -> FloatArray:
    """Each unknown value of (R, L) replaced by the nearest known one on its left, if there is one."""
    place = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(values.shape[1])), axis=1)
    return np.asarray(values[np.arange(len(values))[:, None], place])


class _Around:
    """The waves of R rows around their origins."""

    def __init__(self, params: HarmonicParams, history: History, rows: Rows) -> None:
        self.params, self.workload, self.bucket_s = params, rows.workload, history.bucket_s
        self.exact = rows.h * history.step_s / history.bucket_s
        angle = rows.season_s[:, None] % (7 * DAY_S) * RADIANS_PER_S
        sine, cosine = params.sine[rows.workload], params.cosine[rows.workload]
        self._even = sine * np.sin(angle) + cosine * np.cos(angle)
        self._odd = sine * np.cos(angle) - cosine * np.sin(angle)

    def waves(self, buckets: NDArray[np.int64]) -> FloatArray:
        """Their values so many buckets after each origin, (R, n), by the sum of angles: two sines a row, not 2n."""
        turn = (buckets * self.bucket_s)[:, None] * RADIANS_PER_S
        swing = self._even[:, None] * np.cos(turn) + self._odd[:, None] * np.sin(turn)
        return np.asarray(self.params.constant[self.workload][:, None] + swing.sum(axis=-1))


def _paths(around: _Around, error: FloatArray, restless: FloatArray, cap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quantiles of the logarithm of the window's peak (or mean) and of its last bucket, (R, Q) each.

    A path is the expected one plus noise: echoes are linear, so the noise of a workload serves all of its rows.
    A window that ends inside a bucket has it on as many of the paths as its share is long.
    """
    params, workload, rng = around.params, around.workload, np.random.default_rng(SEED)
    n = np.maximum(np.floor(around.exact[:, None] + (np.arange(PATHS) + 0.5) / PATHS), 1.0)
    echo, errors, noises = params.echo[workload], list(error.T), list[FloatArray]()
    top, last = np.full((2, *n.shape), -np.inf)
    total = np.zeros(n.shape)
    for step in range(1, int(n.max(initial=1.0)) + 1):
        errors = [_echoed(echo, errors), *errors[: ECHOES - 1]]
        innovation = params.innovation[:, rng.permutation(PATHS)]
        noises = [innovation + _echoed(params.echo[:, :, None], noises), *noises[: ECHOES - 1]]
        expected = (around.waves(np.array([step]))[:, 0] + errors[0])[:, None]
        path = np.minimum(expected + restless[:, None] * noises[0][workload], cap[:, None])
        highest = np.minimum(path + params.lift[:, rng.permutation(PATHS)][workload], cap[:, None])
        inside = step <= n
        top = np.where(inside, np.maximum(top, highest), top)
        total = np.where(inside, total + np.exp(path), total)
        last = np.where(inside, path, last)
    window = np.where(params.averaged[workload][:, None], np.log(total / n), top)
    return _quantiles(window), _quantiles(last)


def _echoed(echo: FloatArray, earlier: list[FloatArray]) -> FloatArray:
    """Sum of what is left of earlier values, newest first; summed one by one, whatever stands beside a row."""
    total = np.zeros(np.broadcast_shapes(echo[:, 0].shape, earlier[0].shape)) if earlier else np.zeros(1)
    for k, value in enumerate(earlier):
        total = total + echo[:, k] * value
    return total


def _quantiles(values: FloatArray) -> FloatArray:
    """(R, N) → (R, Q), linear between the middles of the ordered paths."""
    rising, place = np.sort(values, axis=1), LEVELS * PATHS - 0.5
    below = np.floor(place).astype(np.int64)
    share = place - below
    return np.asarray(rising[:, below] * (1.0 - share) + rising[:, below + 1] * share)
