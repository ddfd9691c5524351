"""Direct quantile regression of the lead window's peak on scale-free features, one workload at a time.

Grown from Load(t) = a + b·Requests(t−1) + c·Requests(t−2): the lagged requests became logarithms of trailing means and
maxima over their level, the same windows a day, two days and a week ago, the calendar and the lead time; the load
became the quantiles of log(peak / level). Fitting minimises the pinball loss with a small ridge by iteratively
reweighted least squares (Hunter and Lange 2000, an MM algorithm: each step solves a weighted ridge problem that touches
the loss from above), each level started at its neighbour's solution.
"""

from dataclasses import dataclass

import numpy as np

from forecasting.errors import NotEnoughHistory
from forecasting.features import VOLATILITY_COLUMN, Situation, describe
from forecasting.forecast import LEVELS, FloatArray, Quantiles, ordered
from forecasting.series import History, Rows
from forecasting.training import mean_load, training_rows, window_targets


@dataclass(frozen=True, slots=True)
class RegressionConfig:
    """What a fit of the regression forecaster may use."""

    max_rows: int = 4000
    """Origins at the workload's own lead, spread evenly over the history."""
    min_rows: int = 240
    """Origins with a known window that a fit takes: four hours of minutes."""
    other_leads: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    """Leads, as multiples of the workload's own, from which a tenth as many origins join, so that h counts."""
    ridge: float = 1e-3
    """Penalty on standardised coefficients, relative to the number of rows."""
    iterations: int = 12
    """Reweighting steps per level; more change the fifth digit of the loss."""
    smoothing: float = 1e-3
    """Residual, in units of the log ratio, below which the pinball loss is treated as quadratic."""
    headroom: float = 2.0
    """A forecast exceeds the largest load of the history, or the level now, at most this many times."""


@dataclass(frozen=True, slots=True)
class RegressionParams:
    """Fitted regressions of B workloads."""

    coefficients: FloatArray
    """Of the window's peak and of its last sample at LEVELS, (B, 2, Q, F + 2); lead terms come last."""
    epsilon: FloatArray
    """Load added to both sides of a ratio, (B,)."""
    h: FloatArray
    """Lead in steps that the lead terms are relative to, (B,)."""
    ceiling: FloatArray
    """Largest load that is forecast while the level stays below its half, (B,)."""
    lowest: FloatArray
    """Smallest value of each feature at fitting, (B, F + 2): outside of what was seen nothing is extrapolated."""
    highest: FloatArray
    """Largest value of each feature at fitting, (B, F + 2)."""


def fit(history: History, h: int, *, averaged: bool, config: RegressionConfig = RegressionConfig()) -> RegressionParams:
    """Fit the one workload of `history` around lead windows of `h` steps; `averaged`: the mean instead of the peak.

    Raises:
        NotEnoughHistory: fewer than `config.min_rows` origins have a known window.
        NegativeLoad: a load is below zero.
    """
    epsilon = max(0.01 * mean_load(history), 1e-12)
    parts = [_sample(history, h, 1.0, epsilon, config, averaged=averaged)]
    if len(parts[0][0]) < config.min_rows:
        raise NotEnoughHistory(
            f"regression: {len(parts[0][0])} origins with a known lead window, {config.min_rows} needed"
        )
    parts += [_sample(history, h, times, epsilon, config, averaged=averaged) for times in config.other_leads]
    features, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
    coefficients = np.stack([_quantile_regression(features, target, config) for target in targets.T])
    ceiling = config.headroom * float(np.nanmax(history.maximum[0]))
    return RegressionParams(
        coefficients=coefficients[None],
        epsilon=np.array([epsilon]),
        h=np.array([float(h)]),
        ceiling=np.array([max(ceiling, epsilon)]),
        lowest=features.min(axis=0)[None],
        highest=features.max(axis=0)[None],
    )


def predict(
    params: RegressionParams, history: History, rows: Rows, config: RegressionConfig = RegressionConfig()
) -> Quantiles:
    """Forecast R rows; `params` has one row per workload of `history`. NaN where the recent past is empty."""
    epsilon = params.epsilon[rows.workload]
    situation = describe(history, rows, epsilon)
    seen = with_lead(situation, rows.h / params.h[rows.workload])
    features = np.minimum(np.maximum(seen, params.lowest[rows.workload]), params.highest[rows.workload])
    # An elementwise product and a sum along the last axis: a matrix product would round by the batch's shape.
    logs = (params.coefficients[rows.workload] * features[:, None, None, :]).sum(axis=-1)
    offset = epsilon[:, None, None]
    load = (situation.level[:, None, None] + offset) * np.exp(np.minimum(np.maximum(logs, -20.0), 20.0)) - offset
    ceiling = np.fmax(params.ceiling[rows.workload], config.headroom * situation.level)
    both = ordered(np.minimum(load, ceiling[:, None, None]))
    return Quantiles(both[:, 0], both[:, 1], situation.level, ceiling)


def with_lead(situation: Situation, lead_ratio: FloatArray) -> FloatArray:
    """Append the lead terms, (R, F + 2): log lead, and volatility grown with its square root."""
    volatility = situation.features[:, VOLATILITY_COLUMN]
    terms = np.stack([np.log(lead_ratio), volatility * (np.sqrt(lead_ratio) - 1.0)], axis=1)
    return np.concatenate([situation.features, terms], axis=1)


def _sample(
    history: History, h: int, times: float, epsilon: float, config: RegressionConfig, *, averaged: bool
) -> tuple[FloatArray, FloatArray]:
    steps = max(round(h * times), 1)
    rows = training_rows(history, steps, config.max_rows if times == 1.0 else config.max_rows // 10)
    situation = describe(history, rows, np.full(len(rows.h), epsilon))
    targets = np.stack(window_targets(history, rows, averaged=averaged), axis=1)
    known = ~np.isnan(targets).any(axis=1) & ~np.isnan(situation.level)
    base = np.log(situation.level[known] + epsilon)
    return with_lead(situation, rows.h / h)[known], np.log(targets[known] + epsilon) - base[:, None]


def _quantile_regression(features: FloatArray, target: FloatArray, config: RegressionConfig) -> FloatArray:
    """Coefficients per level, (Q, F), for raw features whose first column is 1."""
    centre, spread = features.mean(axis=0), features.std(axis=0)
    centre[0], spread[0] = 0.0, 1.0
    usable = spread > 1e-9
    scaled = (features[:, usable] - centre[usable]) / spread[usable]
    penalty = config.ridge * len(target) * np.eye(scaled.shape[1])
    penalty[0, 0] = 1e-9 * len(target)
    solution = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ target)
    coefficients = np.zeros((len(LEVELS), features.shape[1]))
    for level_index, level in enumerate(LEVELS):
        for _ in range(config.iterations):
            solution = _reweighted(scaled, target, solution, level, penalty, config.smoothing)
        coefficients[level_index, usable] = solution / spread[usable]
        coefficients[level_index, 0] -= (solution * centre[usable] / spread[usable]).sum()
    return coefficients


def _reweighted(
    scaled: FloatArray,
    target: FloatArray,
    solution: FloatArray,
    level: float,
    penalty: FloatArray,
    smoothing: float,
) -> FloatArray:
    residual = target - scaled @ solution
    weight = 0.5 / (np.abs(residual) + smoothing)
    weighted = scaled.T * weight
    slope = scaled.T @ np.full(len(target), level - 0.5)
    return np.asarray(np.linalg.solve(weighted @ scaled + penalty, weighted @ target + slope))
